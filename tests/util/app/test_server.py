"""The app's server under real requests, hostile ones too; what fits is made up."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("uvicorn", reason="needs the extra app")

from options.app_options import AppOptions
from tests.util.app.live_server import LiveServer
from util.app import serving, uploads
from util.app.jobs import Job
from util.errors import InputError

JPEG = b"\xff\xd8\xff\xe0" + bytes(1000)
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(1000)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
SECRET = "not for visitors"


class MadeUpWork:
    """Does what the first byte behind a picture's mark says, once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.done = 0

    def __call__(self, job: Job) -> None:
        assert job.upload is not None
        while not self.gate.wait(0.01):
            job.check()
        content = job.upload.read_bytes()
        order = content[4:].split(b"\0")[0]
        stage = job.stage("landmarks")
        stage.steps, stage.energy, stage.share = 3, 0.5, 1.0
        if order == b"bad":
            raise InputError(f"{job.upload} shows no face; see {job.folder}/results")
        if order == b"defect":
            raise KeyError("oops")
        if order == b"full":
            raise OSError(28, "No space left on device", str(job.folder))
        job.found = job.faces = ({"left": 0.1, "top": 0.1, "right": 0.2, "bottom": 0.2},) * 3
        if order == b"crowd" and not job.wish.face:
            return
        files = {"face.obj": b"v 0 0 0\n" * 500, "face.glb": b"glTF", "summary.csv": b"x"}
        files |= {"index.html": b"<p>", "eg3d/dataset.json": b"{}", "a b ü.txt": b"y"}
        for name, content in files.items():
            path = job.results / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        (job.results / "link.txt").symlink_to(job.folder.parent / "secret.txt")
        job.view = json.dumps({"face": job.wish.face}).encode()
        self.done += 1


@pytest.fixture
def work() -> MadeUpWork:
    return MadeUpWork()


@pytest.fixture
def server(work: MadeUpWork, tmp_path: Path) -> Iterator[LiveServer]:
    """One of its own for each test: jobs of a test before would go while folders are counted."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
    options = AppOptions(photo_mb=0.1, video_mb=0.2, waiting=4, kept=3)
    with LiveServer(folder, lambda: work, options) as running:
        yield running
        work.gate.set()


def folders(server: LiveServer) -> int:
    return sum(path.is_dir() for path in server.folder.iterdir())


def order(text: str) -> bytes:
    return JPEG[:4] + text.encode() + bytes(100)


def test_a_photo_becomes_files_to_take(server: LiveServer):
    job_id = server.send("photo", JPEG, "?face_model=other&preset=best")
    job = server.ended(job_id)
    assert (job["state"], job["error"]) == ("done", "")
    assert (job["face_model"], job["preset"]) == ("other", "best")
    (stage,) = job["stages"]
    assert (stage["name"], stage["steps"], stage["energy"]) == ("landmarks", 3, 0.5)
    # Whatever lies in the results, but for what is of many faces; and nothing outside them.
    assert job["files"] == {"a b ü.txt": 1, "eg3d/dataset.json": 2, "face.glb": 4, "face.obj": 4000}
    status, content, headers = server.ask("GET", f"/api/jobs/{job_id}/files/face.obj")
    assert status == 200 and content == b"v 0 0 0\n" * 500
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-type"] == "application/octet-stream"
    for name in ("eg3d/dataset.json", "a%20b%20%C3%BC.txt"):
        assert server.ask("GET", f"/api/jobs/{job_id}/files/{name}")[0] == 200
    assert server.ask("GET", f"/api/jobs/{job_id}/view")[1] == {"face": 0}
    status, content, _ = server.ask("GET", f"/api/jobs/{job_id}/files.zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(job["files"])


def test_several_faces_are_chosen_from(server: LiveServer):
    job_id = server.send("photo", order("crowd"))
    job = server.ended(job_id)
    assert job["state"] == "choosing" and len(job["faces"]) == 3
    assert server.ask("GET", f"/api/jobs/{job_id}/view")[0] == 409
    status, answer, _ = server.ask("POST", f"/api/jobs/{job_id}/fits?face=2&preset=fast")
    assert status == 202 and answer["id"] != job_id
    # The new one has its own copy of the photo.
    assert server.ask("DELETE", f"/api/jobs/{job_id}")[0] == 204
    again = server.ended(answer["id"])
    assert (again["state"], again["face"], again["preset"]) == ("done", 2, "fast")
    for face in ("4", "-1", "x"):
        status, answer2, _ = server.ask("POST", f"/api/jobs/{answer['id']}/fits?face={face}")
        assert status == 400 and "face" in answer2["error"]


def test_removing_a_job_stops_it_and_leaves_nothing(server: LiveServer, work: MadeUpWork):
    work.gate.clear()
    before, done = folders(server), work.done
    running = server.send("photo", JPEG)
    waiting = server.send("photo", JPEG)
    assert server.job(waiting)["before"] == 1
    for job_id in (waiting, running):
        assert server.ask("DELETE", f"/api/jobs/{job_id}")[0] == 204
        assert server.ask("GET", f"/api/jobs/{job_id}")[0] == 404
    until = time.monotonic() + 60
    while folders(server) > before and time.monotonic() < until:
        time.sleep(0.02)
    assert folders(server) == before and work.done == done


def test_only_the_newest_results_are_kept(server: LiveServer):
    ids = [server.send("photo", JPEG) for _ in range(1)]
    for _ in range(4):
        server.ended(ids[-1])
        ids.append(server.send("photo", JPEG))
    server.ended(ids[-1])
    assert [server.ask("GET", f"/api/jobs/{job_id}")[0] for job_id in ids] == [404] * 2 + [200] * 3
    # Files go after the last job has been told to have ended.
    until = time.monotonic() + 60
    while folders(server) > 3 and time.monotonic() < until:
        time.sleep(0.02)
    assert folders(server) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bad", "the photo shows no face; see results"),
        ("defect", "a defect of the program (KeyError)"),
        ("full", "the results cannot be written (No space left on device)"),
    ],
)
def test_what_fails_is_said_without_our_folders(
    server: LiveServer, text: str, message: str, capsys: pytest.CaptureFixture[str]
):
    job = server.ended(server.send("photo", order(text)))
    assert job["state"] == "failed" and message in job["error"]
    assert str(server.folder) not in json.dumps(job)
    assert ("Traceback" in capsys.readouterr().err) == (text != "bad")
    assert server.ended(server.send("photo", JPEG))["state"] == "done"


WRONG = {
    "empty": (b"", 400),
    "text": (b"hello, this is a text and no picture", 415),
    "gif": (b"GIF89a" + bytes(100), 415),
    "page": (b"<html><script>alert(1)</script>" + bytes(100), 415),
    "pickle": (b"\x80\x04\x95" + bytes(100), 415),
    "video": (MP4, 415),
    "svg": (b'<?xml version="1.0"?><svg/>' + bytes(20), 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF" + bytes(100), 415),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_files_are_refused(server: LiveServer, name: str):
    content, wanted = WRONG[name]
    before = folders(server)
    status, answer, _ = server.ask("POST", "/api/photos", content)
    assert status == wanted
    assert "photo" in answer["error"] or "picture" in answer["error"]
    assert folders(server) == before


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    ],
)
def test_playlists_that_name_other_files_are_no_videos(server: LiveServer, content: bytes):
    status, answer, _ = server.ask("POST", "/api/videos", content)
    assert status == 415 and "MP4" in answer["error"]


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("photo", MP4, r"is a video, not a photo: choose Video at .* to /api/videos"),
        ("video", JPEG, r"is a photo, not a video: choose Photo at .* to /api/photos"),
        ("photo", HEIC, r"is a picture of the kind HEIC, .* save it as JPEG or PNG"),
        ("video", HEIC, r"is a picture of the kind HEIC, .* save it as JPEG or PNG"),
    ],
)
def test_a_file_at_the_others_place_is_told_where_it_belongs(
    server: LiveServer, kind: str, content: bytes, said: str
):
    status, answer, _ = server.ask("POST", f"/api/{kind}s", content)
    assert status == 415 and re.search(said, answer["error"])


def test_what_is_too_large_is_refused_declared_or_not(server: LiveServer):
    large = JPEG + bytes(200_000)
    before = folders(server)

    def in_pieces() -> Iterator[bytes]:
        for at in range(0, len(large), 5000):
            yield large[at : at + 5000]

    for body in (large, in_pieces()):
        status, answer, _ = server.ask("POST", "/api/photos", body)
        assert status == 413 and "0.1 megabytes" in answer["error"]
    assert server.ask("POST", "/api/videos", MP4 + bytes(150_000))[0] == 202
    assert server.ask("POST", "/api/videos", MP4 + bytes(250_000))[0] == 413
    until = time.monotonic() + 60
    while folders(server) > before + 1 and time.monotonic() < until:
        time.sleep(0.02)
    assert folders(server) == before + 1
    # Far too much is not waited for.
    began = time.monotonic()
    declared = {"Content-Length": str(99_000_000_000)}
    assert server.ask("POST", "/api/photos", None, declared)[0] == 413
    assert time.monotonic() - began < uploads.SILENCE_S / 2


def test_an_upload_that_stops_gives_its_place_back(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploads, "SILENCE_S", 0.2)
    head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    before = folders(server)
    with socket.create_connection(("127.0.0.1", server.port), 10) as silent:
        silent.sendall(f"{head}Content-Length: 90000\r\n\r\n".encode() + JPEG)
        assert b" 408 " in silent.recv(1000).splitlines()[0]
    with socket.create_connection(("127.0.0.1", server.port), 10) as broken:
        broken.sendall(f"{head}Content-Length: 90000\r\n\r\n".encode() + JPEG)
    until = time.monotonic() + 60
    while folders(server) > before and time.monotonic() < until:
        time.sleep(0.02)
    assert folders(server) <= before  # finished ones may have gone meanwhile


def test_an_upload_that_trickles_gives_its_place_back(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
):
    """It is never silent for long."""
    monkeypatch.setattr(uploads, "GRACE_S", 0.3)
    head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    before = folders(server)
    with socket.create_connection(("127.0.0.1", server.port), 10) as slow:
        slow.sendall(f"{head}Content-Length: 90000\r\n\r\n".encode() + JPEG[:20])
        slow.settimeout(0.05)
        answer, until = b"", time.monotonic() + 60
        while not answer and time.monotonic() < until:
            slow.sendall(b"x")
            try:
                answer = slow.recv(1000)
            except TimeoutError:
                continue
    assert b" 408 " in answer.splitlines()[0]
    until = time.monotonic() + 60
    while folders(server) > before and time.monotonic() < until:
        time.sleep(0.02)
    assert folders(server) <= before


def test_open_connections_are_limited(
    work: MadeUpWork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(serving, "CONNECTIONS", 4)
    with LiveServer(tmp_path, lambda: work, AppOptions()) as server:
        assert server.ask("GET", "/api/state")[0] == 200
        with ExitStack() as held:
            for _ in range(4):
                held.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            assert server.ask("GET", "/api/state")[0] == 503
        until = time.monotonic() + 60
        while server.ask("GET", "/api/state")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_full_disk_is_said(server: LiveServer, monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = folders(server)
    monkeypatch.setattr("util.app.server.receive", fail)
    status, answer, _ = server.ask("POST", "/api/photos", JPEG)
    assert status == 507 and answer["error"] == "the server cannot write (No space left on device)"
    assert folders(server) == before


def test_an_archive_that_fails_leaves_no_part(server: LiveServer, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    job_id = server.send("photo", JPEG)
    server.ended(job_id)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "write", fail)
        assert server.ask("GET", f"/api/jobs/{job_id}/files.zip")[0] == 507
    assert not list((server.folder / job_id).glob("*.part"))
    assert server.ask("GET", f"/api/jobs/{job_id}/files.zip")[0] == 200
    assert not list((server.folder / job_id).glob("*.part"))


@pytest.mark.parametrize("path", ["/files.zip", "/files/face.obj", ""])
def test_files_that_go_while_they_are_asked_for_are_not_there(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, path: str
):
    job_id = server.send("photo", JPEG)
    server.ended(job_id)
    gone = server.folder / job_id / "results" / "gone.obj"
    monkeypatch.setattr(Job, "files", lambda _: {"face.obj": gone})
    status, answer, _ = server.ask("GET", f"/api/jobs/{job_id}{path}")
    assert status == 404 and "not there any more" in answer["error"]


PATHS = (
    *("../secret.txt", "../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt"),
    *("..%5c..%5csecret.txt", "/etc/passwd", "%2fetc%2fpasswd", "....//secret.txt"),
    *("link.txt", "summary.csv", "face.obj%00.txt", "eg3d/../../../secret.txt", "", "eg3d"),
)


@pytest.mark.parametrize("path", PATHS)
def test_names_are_no_paths(server: LiveServer, path: str):
    job_id = server.send("photo", JPEG)
    server.ended(job_id)
    status, content, _ = server.ask("GET", f"/api/jobs/{job_id}/files/{path}")
    assert status == 404 and SECRET not in str(content) and "root:" not in str(content)
    status, content, _ = server.ask("GET", f"/api/jobs/{path}/view")
    assert status == 404 and SECRET not in str(content)


def test_face_models_are_those_on_offer(server: LiveServer):
    for query in ("face_model=/etc/passwd", "face_model=../x.npz", "preset=slow"):
        status, answer, _ = server.ask("POST", f"/api/photos?{query}", JPEG)
        assert status == 400 and "must be one of" in answer["error"]
    assert server.ask("POST", "/api/jobs", JPEG)[0] in (400, 405)


def test_what_it_cannot_take_is_said_in_words(server: LiveServer):
    """Each of these was a bare `Not Found`, or the complaint about the head of a form."""
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + JPEG + b"\r\n--x--\r\n"
    before = folders(server)
    address = f"127.0.0.1:{server.port}"
    for kind, content in (("photo", body), ("video", body)):
        status, answer, _ = server.ask("POST", f"/api/{kind}s?name=a.jpg", content, form)
        assert status == 415
        assert answer["error"] == (
            f"this is a form; send the {kind} itself as the body of the request, as `curl "
            f"--data-binary @FILE http://{address}/api/{kind}s` does"
        )
    status, answer, _ = server.ask("GET", "/api/photo")
    assert status == 404 and "nothing at /api/photo; the page is at /" in answer["error"]
    status, answer, headers = server.ask("PUT", "/api/photos", JPEG)
    assert status == 405 and answer["error"] == "PUT is not for /api/photos; it takes POST"
    assert headers["allow"] == "POST"
    assert folders(server) == before


def test_two_hundred_at_once_are_served_or_refused(server: LiveServer, work: MadeUpWork):
    work.gate.clear()
    kinds = [JPEG + bytes(20_000), JPEG + bytes(150_000), b"no picture at all, but long enough"]

    def visit(number: int) -> tuple[int, object]:
        status, answer, _ = server.ask("POST", "/api/photos", kinds[min(number % 10, 2)])
        return status, answer

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(visit, range(200)))
    statuses = [status for status, _ in answers]
    assert set(statuses) <= {202, 413, 415, 429}
    assert 1 <= statuses.count(202) <= 5  # one is being fitted, four wait
    assert statuses.count(429) > 50
    work.gate.set()
    for status, answer in answers:
        assert isinstance(answer, dict)
        if status == 202:
            until = time.monotonic() + 60
            # Done, or gone since newer ones are.
            while server.ask("GET", f"/api/jobs/{answer['id']}")[1].get("state", "done") != "done":
                assert time.monotonic() < until
                time.sleep(0.02)
        else:
            assert answer["error"]
    assert server.ended(server.send("photo", JPEG))["state"] == "done"


@pytest.mark.parametrize(
    ("method", "path", "headers", "wanted"),
    [
        ("GET", "/", {"Host": "evil.example"}, 421),
        ("GET", "/api/state", {"Host": "evil.example:80"}, 421),
        ("GET", "/api/state", {"Host": "localhost"}, 200),
        ("GET", "/", {"Host": "127.0.0.1.evil.example"}, 421),
        ("POST", "/api/photos", {"Origin": "http://evil.example"}, 403),
        ("POST", "/api/photos", {"Origin": "null"}, 403),
        ("POST", "/api/photos", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", "/api/state", {"Sec-Fetch-Site": "same-site"}, 403),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site"}, 200),
        ("GET", "/docs", {}, 404),
        ("GET", "/openapi.json", {}, 404),
        ("PUT", "/api/photos", {}, 405),
        ("OPTIONS", "/api/photos", {"Origin": "http://evil.example"}, 403),
    ],
)
def test_strangers_are_kept_out(
    server: LiveServer, method: str, path: str, headers: dict[str, str], wanted: int
):
    # Without a body: they are refused before it is read, and a connection that is closed with bytes
    # on their way may lose its answer.
    status, answer, found = server.ask(method, path, None, headers)
    assert status == wanted, answer
    assert "access-control-allow-origin" not in found
    assert found["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in found["content-security-policy"]
    if path != "/" and status != 200:
        assert isinstance(answer, dict) and answer["error"]


def test_its_own_page_is_let_in(server: LiveServer):
    headers = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
    assert server.ask("POST", "/api/photos", JPEG, headers)[0] == 202
    foreign = {"Host": f"localhost:{server.port}", "Origin": server.address}
    assert server.ask("POST", "/api/photos", JPEG, foreign)[0] == 403


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_the_page_loads_nothing_and_runs_only_what_its_policy_names(server: LiveServer):
    status, content, headers = server.ask("GET", "/")
    text = content.decode()
    page = Page(text)
    assert status == 200 and len(content) < 80_000
    for _, attributes in page.elements:
        assert not {"src", "style"} & attributes.keys()
        assert attributes.get("href") in (None, "data:,")
        assert not [name for name in attributes if name.startswith("on")]
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "unsafe" not in headers["content-security-policy"]
    assert not re.findall(r"https?://(?!www\.w3\.org)", text)
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        assert tag != "img" or attributes.get("alt")
        assert tag != "video" or attributes.get("aria-label")
