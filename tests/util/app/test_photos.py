"""Photos that are none, or want too much, and the face models on offer."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options.app_options import AppOptions
from options.face_options import FaceModelOptions
from options.flags import parse_command
from options.groups import APP_GROUPS
from util.app.jobs import Job, Wish
from util.app.photos import PhotoWork, offered_face_models
from util.errors import InputError

pytest.importorskip("fastapi", reason="needs the extra app")

from util.app.server import PRESETS
from util.app.uploads import STEM_BYTES, photo_ending, safe_stem, video_ending

RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--face_model", "open@0"]


@pytest.fixture(scope="module")
def work() -> PhotoWork:
    return PhotoWork(parse_command(APP_GROUPS, RUN))


def job_of(content: bytes, folder: Path) -> Job:
    ending = photo_ending(content)
    assert ending is not None
    job = Job(Wish("photo", "open@0", "fast"), folder)
    job.results.mkdir()
    job.upload = folder / f"photo{ending}"
    job.upload.write_bytes(content)
    return job


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey picture that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def picture(kind: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 200)).save(buffer, kind)
    return buffer.getvalue()


def claimed(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "claims a gigapixel": (lambda: png(60000, 60000, b"\0" * 1000), "megapixels"),
    "unpacks to 64 megapixels": (lambda: png(8000, 8000, bytes(8001 * 8000)), "8000 x 8000 pixels"),
    "claims it as JPEG": (lambda: claimed(picture("JPEG"), 65000, 65000), "megapixels"),
    "cut off": (lambda: picture("PNG", (300, 300))[:-200], "damaged or incomplete"),
    "only a mark": (lambda: b"\xff\xd8\xff" + bytes(500), "not a JPEG|damaged"),
    "two pixels": (lambda: picture("BMP", (2, 2)), "too small"),
    "wrong checksum": (lambda: png(64, 64, b"").replace(b"IHDR", b"IHDX", 1), "not a JPEG|damaged"),
    "no rows": (lambda: png(500, 500, b""), "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_end_as_a_sentence(work: PhotoWork, name: str, tmp_path: Path):
    make, message = HOSTILE[name]
    content = make()
    assert len(content) < 100_000
    job, began = job_of(content, tmp_path), time.process_time()
    with pytest.raises(InputError, match=message):
        work(job)
    assert time.process_time() - began < 1  # refused before it is decoded


def test_a_photo_without_a_face_says_so(work: PhotoWork, tmp_path: Path):
    job = job_of(picture("PNG", (160, 120)), tmp_path)
    with pytest.raises(InputError, match="no face found") as raised:
        work(job)
    assert str(tmp_path) not in str(raised.value)
    assert [stage.name for stage in job.stages] == ["Find the faces"]


def test_kinds_are_told_by_content():
    for kind, ending in (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("BMP", ".bmp")):
        assert photo_ending(picture(kind)[:16]) == ending
        assert video_ending(picture(kind)[:16]) is None
    assert photo_ending(picture("GIF")[:16]) is None
    assert photo_ending(picture("TIFF")[:16]) is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Großmutter am See.jpeg", "Großmutter am See"),
        ("顔 (1).png", "顔 (1)"),
        ("हिन्दी.jpg", "हिन्दी"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\me.tar.png", "me.tar"),
        ("a\r\nset-cookie: x</script>.png", "script"),
        ("q\u202egpj.exe<b>'\"$`;|*?.jpg", "q_gpj.exe_b"),
        ("...", ""),
        (".jpg", ""),
        ("NUL.jpg", "_NUL"),
        ("con.tar.jpg", "_con.tar"),
        ("COM1.x.png", "_COM1.x"),
        ("\ud800x.png", "x"),
        ("ü" * 300 + ".jpg", "ü" * (STEM_BYTES // 2)),
    ],
)
def test_names_of_visitors_become_safe_names_of_files(name: str, stem: str):
    assert safe_stem(name) == stem


def test_presets_are_the_fitters():
    from models.fitting.fitter import PRESETS as OF_FITTER

    assert tuple(OF_FITTER) == PRESETS
    assert AppOptions().preset in PRESETS


def test_face_models_are_offered_where_their_files_are(tmp_path: Path):
    def offered(name: str = "auto") -> tuple[str, ...]:
        return offered_face_models(FaceModelOptions(face_model=name, bfm_folder=str(tmp_path)))

    assert offered() == ("open", "open@0", "open@2")
    assert offered("open@2") == ("open@2", "open", "open@0")
    assert offered("my/own.npz")[0] == "my/own.npz"
    (tmp_path / "model2019_face12.h5").touch()
    assert offered()[-1] == "bfm19"
    (tmp_path / "BFM_model_front.mat").touch()
    assert offered()[0] == "bfm09"


def test_the_faces_of_a_picture_of_two_are_offered(
    work: PhotoWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from data.detection import Face

    faces = [
        Face((10.0, 20.0, 110.0, 120.0), np.zeros((68, 2)), 1.0),
        Face((150.0, 20.0, 190.0, 60.0), np.zeros((68, 2)), 1.0),
    ]
    monkeypatch.setattr(type(work._detector), "detect", lambda *_: faces)
    job = job_of(picture("PNG", (200, 160)), tmp_path)
    work(job)
    assert [face["left"] for face in job.faces] == [0.05, 0.75]
    assert job.faces[0]["bottom"] == 0.75
    assert not job.view and not list(job.results.iterdir())
