"""`app.py` from the outside: it starts, a real browser fits a face in it, and it leaves nothing."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("uvicorn", reason="needs the extra app")

from data.images import write_image
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.renderer import Renderer
from models.stages import reconstruct
from options.app_options import AppOptions
from options.flags import parse_command
from options.groups import APP_GROUPS
from tests.browser import Browser, find_chromium
from tests.glb_reader import Glb
from tests.test_train_command import load_script
from tests.util.app.live_server import LiveServer
from tests.video_faces import write_face_video
from util.app.guard import is_loopback
from util.app.jobs import Job, Wish
from util.app.photos import PhotoWork
from util.app.work import prepare
from util.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--face_model", "open@0", "--preset", "fast"]
TEXTURE = ("--save", "glb", "texture", "--texture_size", "128")
QUIET = ["--port", "0", "--open_browser", "False"]

command = load_script("app")


def two_people(open_face_model: FaceModel) -> np.ndarray:
    """A picture of two rendered faces side by side, on grey."""
    layout = open_face_model.layout
    flat = torch.zeros(2, layout.size)
    generator = torch.Generator().manual_seed(1)
    flat[:, layout.slices["identity"]] = 0.7 * torch.randn(2, 80, generator=generator)
    flat[:, layout.slices["angles_rad"]] = torch.tensor([[0.05, 0.2, 0.0], [0.0, -0.2, 0.05]])
    with torch.inference_mode():
        made = reconstruct(open_face_model, Renderer(), Camera.rnet(), layout.split(flat))
    assert made.rendering.image is not None
    faces = torch.where(made.rendering.mask > 0.5, made.rendering.image, torch.tensor(0.45))
    pictures = (faces.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
    return np.concatenate(list(pictures), axis=1)


def photo_job(folder: Path | str) -> Job:
    """Of the larger face in a folder's `face.png`."""
    folder = Path(folder)
    return Job(Wish("photo", "open@0", "fast", 1), folder, upload=folder / "face.png")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """With the real fitter behind it."""
    folder = tmp_path_factory.mktemp("jobs")
    options = AppOptions(preset="fast")
    with LiveServer(folder, lambda: prepare(RUN)[0], options, ("open@0", "open")) as running:
        yield running


def test_a_browser_chooses_a_face_and_turns_it(
    server: LiveServer, open_face_data: FaceModelData, tmp_path: Path
):
    chromium = find_chromium()
    photo = tmp_path / "größe <b>'1'.png"
    write_image(photo, two_people(FaceModel(open_face_data)))
    with Browser(chromium, tmp_path / "profile", (700, 600)) as page:
        page.open(server.address)
        page.wait_for("document.body?.dataset.ready === 'true'", 120)
        assert page.run("$('presets').querySelector(':checked').value") == "fast"

        # A file that is none, then two people.
        page.choose_file("#file", Path(__file__))
        page.wait_for("document.body.dataset.state === 'failed'")
        assert "not a JPEG" in page.run("$('problem').textContent")
        page.choose_file("#file", photo)
        page.wait_for("document.body.dataset.state === 'choosing'")
        assert page.run("$('title').textContent") == photo.name
        assert page.run("document.querySelectorAll('#boxes button').length") == 2
        page.run("document.querySelector('#faces button:nth-child(2)').focus()")
        page.press("Enter", 13)
        page.wait_for("document.body.dataset.state === 'done'", 120)

        # The face is drawn, keys turn it, a slider opens its mouth.
        assert page.run("document.body.dataset.viewer") == "ready"
        page.run("window.before = viewer.pixels().slice(); $('canvas').focus()")
        drawn = "before.filter((v, i) => i % 4 === 3 && v > 0).length"
        assert page.run(f"{drawn} / before.length") > 0.02
        for _ in range(3):
            page.press("ArrowRight", 39)
        changed = "viewer.pixels().filter((v, i) => Math.abs(v - before[i]) > 8).length"
        assert page.run(f"{changed} / before.length") > 0.01
        page.press("Home", 36)
        assert page.run(changed) == 0
        page.run("$('unit-jawOpen').value = 1; $('unit-jawOpen').dispatchEvent(new Event('input'))")
        assert page.run(changed) > 0

        # Files can be taken, and the other face is still on offer.
        links = page.run("[...document.querySelectorAll('#files a')].map((a) => a.href)")
        assert links[0].endswith("/files.zip")
        names = {unquote(link.rpartition("/")[2]) for link in links[1:]}
        stem = "größe _b_1_2"  # the second face's
        endings = (".obj", ".glb", ".mat", ".json", "_report.html")
        assert {stem + ending for ending in endings} <= names
        size = "then((answer) => answer.arrayBuffer()).then((bytes) => bytes.byteLength)"
        assert page.run(f"fetch('{links[1]}').{size}") > 100
        assert not page.run("$('others').hidden")

        # On a phone nothing sticks out.
        phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        page.call("Emulation.setDeviceMetricsOverride", **phone)
        assert page.run("document.documentElement.scrollWidth") <= 390
        tops = "['view-front', 'zoom-out', 'zoom-in'].map((id) => $(id).offsetTop)"
        assert len(set(page.run(tops))) == 1, "the view's buttons stand in one line"
        # And the face stays in sight of its sliders.
        page.run("$('unit-jawOpen').scrollIntoView()")
        top, bottom, slider = page.run(
            "[$('canvas').getBoundingClientRect().top, $('canvas').getBoundingClientRect().bottom,"
            " $('unit-jawOpen').getBoundingClientRect().top]"
        )
        assert top >= 0 and top + 250 < bottom < slider < 800
        page.call("Emulation.clearDeviceMetricsOverride")

        # Whoever does not wait is at the beginning.
        page.run("$('other').click()")
        page.choose_file("#file", photo)
        page.wait_for("!$('progress').hidden")
        page.run("$('cancel').click()")
        assert page.run("document.body.dataset.state") == "start"

        # The camera's picture goes the same way as a file.
        page.run("window.realSend = send")
        page.run("send = (picture, name) => { window.got = [picture.type, picture.size, name]; }")
        page.run("$('camera').click()")
        page.wait_for("document.body.dataset.state === 'camera' && $('live').videoWidth > 0")
        page.run("$('snap').click()")
        page.wait_for("window.got")
        kind, size_bytes, name = page.run("window.got")
        assert (kind, name) == ("image/jpeg", "Camera") and size_bytes > 1000
        page.run("$('no-camera').click()")
        assert page.run("$('live').srcObject") is None

        # Several photos: one at a time, the next when the visitor wants it; another choice ends it.
        # The server is played, in which the second photo has no face.
        page.run("""send = realSend; showFiles = () => {};
          window.realFetch = fetch; window.sent = [];
          window.fetch = async (path, { method } = {}) => {
            const url = new URL(path, location), name = url.searchParams.get('name');
            if (method === 'DELETE') return new Response(null, { status: 204 });
            if (method === 'POST') { sent.push(name); return Response.json({ id: name }); }
            const job = { state: 'done', stages: [], files: [] };
            const failed = { state: 'failed', stages: [], error: 'no face found' };
            return Response.json(url.pathname.endsWith('b.png') ? failed : job); }""")
        page.run("take(['a', 'b', 'c'].map((name) => new File(['x'], name + '.png')))")
        said = "[sent.join(' '), $('next').hidden, $('next').textContent]"
        page.wait_for("document.body.dataset.state === 'done'")
        assert page.run(said) == ["a.png", False, "Next: b.png (2 left)"]
        page.run("$('next').click()")
        page.wait_for("document.body.dataset.state === 'failed'")
        assert page.run("$('problem').textContent") == "No face found"
        assert page.run(said) == ["a.png b.png", False, "Next: c.png (1 left)"]
        page.run("$('next').click()")
        page.wait_for("document.body.dataset.state === 'done'")
        assert page.run(said)[:2] == ["a.png b.png c.png", True]
        page.run("take([new File(['x'], 'd.png'), new File(['x'], 'e.png')])")
        page.wait_for("document.body.dataset.state === 'done'")
        page.run("$('other').click()")
        assert page.run("app.queue.length === 0 && $('next').hidden")
        page.run("window.fetch = realFetch")

        # The other tab, by keyboard.
        page.run("$('tab-photo').focus()")
        page.press("ArrowRight", 39)
        assert page.run("document.activeElement.id") == "tab-video"
        assert "video" in page.run("$('drop-what').textContent")
        assert page.run("$('camera-bar').hidden && $('error').hidden")
        assert page.run("$('file').multiple") is False
        page.run("take([new File(['x'], 'd.mp4'), new File(['x'], 'e.mp4')])")
        assert "One video at a time" in page.run("$('problem').textContent")
        # Not even sent, since only the size that videos may have would be spoken of.
        page.run("take([new File(['x'], 'd.jpg', { type: 'image/jpeg' })])")
        said = page.run("$('problem').textContent")
        assert said.startswith("The file is a photo, not a video: choose Photo at the top")
        page.run("restart('photo')")
        page.run("take([new File(['x'], 'd.mp4', { type: 'video/mp4' })])")
        said = page.run("$('problem').textContent")
        assert said.startswith("The file is a video, not a photo: choose Video at the top")
        marks = ("exceptionDetails", "Content Security")
        assert not [said for said in page.events if any(mark in str(said) for mark in marks)]


@pytest.mark.parametrize("save", [(), TEXTURE])
def test_what_save_names_is_among_the_files(
    save: tuple[str, ...], open_face_data: FaceModelData, tmp_path: Path
):
    job = photo_job(tmp_path)
    assert job.upload is not None
    write_image(job.upload, two_people(FaceModel(open_face_data)))
    PhotoWork(parse_command(APP_GROUPS, [*RUN, *save]))(job)
    files = job.files()
    glb = Glb.parse(files["face.glb"].read_bytes())
    glb.check()
    assert glb.target_names[0] == "photo" and "jawOpen" in glb.target_names
    assert bool(glb.json.get("images")) == bool(save)
    # The page and the report show the texture where it was asked for.
    assert bool(json.loads(job.view)["data"]["mesh"]["texture"]) == bool(save)
    assert ("face_textured.png" in files) == bool(save)
    report = files["face_report.html"].read_text(encoding="utf-8")
    assert ("face_textured.obj" in report) == bool(save) and "face.glb" in report
    if save:
        texture = Image.open(io.BytesIO(files["face_textured.png"].read_bytes()))
        assert texture.size == (128, 128)


def test_its_numbers_are_those_of_the_command(open_face_data: FaceModelData, tmp_path: Path):
    """The same photo, preset and face model give the same coefficients, camera and landmarks."""
    people = two_people(FaceModel(open_face_data))
    job = Job(Wish("photo", "open@0", "fast"), tmp_path / "job")
    job.upload = tmp_path / "photos" / "one.png"
    write_image(job.upload, people[:, : people.shape[1] // 2].repeat(4, axis=0).repeat(4, axis=1))
    prepare(RUN)[0](job)
    argv = [str(job.upload), "--res_folder", str(tmp_path / "fit"), *RUN]
    load_script("fit").main(argv)
    ours, theirs = job.files(), tmp_path / "fit"
    for name in ("one.mat", "one.obj", "one.glb"):
        kept = ours[name].read_bytes(), (theirs / name).read_bytes()
        if name == "one.mat":
            app, fit = (loadmat(io.BytesIO(content)) for content in kept)
            assert app.keys() == fit.keys()
            for key in app:
                if not key.startswith("__"):
                    np.testing.assert_array_equal(app[key], fit[key], err_msg=key)
        else:
            assert kept[0] == kept[1]
    assert ours["one.json"].read_bytes() == (theirs / "one.json").read_bytes()


COMPILES_NOTHING = """
import gc, sys
from numba.core.dispatcher import Dispatcher
from tests.test_app_command import RUN, TEXTURE, photo_job
from util.app.work import prepare

def compiled():
    made = [one for one in gc.get_objects() if issubclass(type(one), Dispatcher)]
    return {(one.__qualname__, kinds) for one in made for kinds in one.overloads}

told = []
work, _ = prepare([*RUN, *TEXTURE], lambda: told.append(True))
before = compiled()
assert before and told, "an empty cache: the warm-up compiles"
job = photo_job(sys.argv[1])
work(job)
assert "face_textured.obj" in job.files()
assert compiled() == before, compiled() - before
"""


@pytest.mark.slow
def test_the_first_photo_waits_for_no_compiler(open_face_data: FaceModelData, tmp_path: Path):
    """All loops that it needs, those that write files too, come with the warm-up.

    In a process of its own without a cache: this one has compiled for other tests already.
    """
    write_image(tmp_path / "face.png", two_people(FaceModel(open_face_data)))
    subprocess.run(
        [sys.executable, "-c", COMPILES_NOTHING, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        check=True,
        timeout=600,
    )


def test_the_warm_up_does_all_that_a_photo_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It fits and writes every file of `--save`, and has nothing to complain of."""
    done: list[tuple[bytes, set[str]]] = []
    fit = PhotoWork._fit

    def fit_and_keep(self: PhotoWork, job: Job, *rest) -> None:
        fit(self, job, *rest)
        done.append((job.view, set(job.files())))

    monkeypatch.setattr(PhotoWork, "_fit", fit_and_keep)
    prepare([*RUN, *TEXTURE])
    ((view, files),) = done
    endings = (".glb", "_textured.obj", "_textured.mtl", "_textured.png", "_report.html")
    assert view and {"warm_up" + ending for ending in endings} <= files
    said = capsys.readouterr()
    assert "warm_up" not in said.out + said.err


def test_a_warm_up_that_fails_is_told(monkeypatch: pytest.MonkeyPatch):
    def fail(*_) -> None:
        raise InputError("no such thing")

    monkeypatch.setattr(PhotoWork, "_fit", fail)
    with pytest.raises(InputError, match="no such thing"):
        prepare(RUN)


@pytest.mark.slow
def test_a_video_becomes_a_video_and_an_animated_mesh(
    server: LiveServer, open_face_data: FaceModelData, tmp_path: Path
):
    video = write_face_video(tmp_path / "face.mp4", FaceModel(open_face_data), 12)
    job_id = server.send("video", video.path.read_bytes(), "?preset=fast&face_model=open@0")
    job = server.ended(job_id, 280)
    assert job["state"] == "done", job["error"]
    assert {"video_fit.mp4", "video.glb", "video.npz", "video_report.json"} <= set(job["files"])
    status, content, headers = server.ask("GET", f"/api/jobs/{job_id}/files/video_fit.mp4")
    assert status == 200 and content[4:8] == b"ftyp" and headers["content-type"] == "video/mp4"
    numbers = server.ask("GET", f"/api/jobs/{job_id}/view")[1]["numbers"]
    assert numbers[:2] == [["Frames", "12"], ["With a face", "12"]]


def test_the_page_does_not_wait_for_torch():
    """It is up in a second; the fitter takes several."""
    program = (
        "import sys, app, util.app.serving, util.app.server; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_process_that_ends_leaves_nothing(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "app.py", *QUIET, *RUN],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        port = int(first.partition("http://127.0.0.1:")[2].partition("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/api/photos", b"\xff\xd8\xff" + bytes(5000))
        answer = connection.getresponse()
        assert answer.status == 202 and json.loads(answer.read())["id"]
        connection.close()
        (folder,) = tmp_path.glob("face3d_app_*")
        assert folder.stat().st_mode & 0o077 == 0
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and rest.endswith("stopped\n")
    assert not list(tmp_path.glob("face3d_app_*"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--prot", "1"], "unrecognized arguments: --prot 1 .did you mean --port"),
        (["--save", "glbb"], "--save glbb: there is no such kind of file; did you mean glb"),
        (["--face_model", "no_such"], "--face_model no_such is unknown"),
        (["--port", "70000"], "--port is 70000"),
        (["--waiting", "0"], "--waiting is 0; it must be at least 1"),
        (["--photo_mb", "nan"], "--photo_mb is nan; it must be above 0"),
        (["--host", "300.1.1.1"], "--host 300.1.1.1 --port 0 cannot be listened on"),
    ],
)
def test_wrong_flags_end_it_with_a_sentence(argv: list[str], message: str):
    """Also those that are read after the page is there."""
    with pytest.raises(InputError, match=message):
        command.main([*QUIET, "--gpu_ids", "-1", *argv])


def test_a_port_that_is_taken_is_named(server: LiveServer):
    with pytest.raises(InputError, match=f"--port {server.port} cannot be listened on"):
        command.main(["--port", str(server.port), "--open_browser", "False"])


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install '\.\[app\]'"):
        command.main(QUIET)


def test_help_lists_all_flags(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    text = capsys.readouterr().out
    assert "--photo_megapixels" in text and "--detector" in text and "--w_landmarks" in text


def test_only_this_computer_unless_asked():
    assert is_loopback(parse_command(APP_GROUPS, [])[AppOptions].host)
