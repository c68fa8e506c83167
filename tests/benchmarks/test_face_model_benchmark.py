"""The figures' command: which model it measures, and what it refuses before it measures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import face_model
from data.images import write_image
from models.face_model import FaceModelData
from util.errors import InputError
from util.model_files.face_model_file import write_face_model

SPEED = ["--only", "speed", "--repeats", "1"]


def test_speed_is_that_of_the_named_model(
    tmp_path: Path, tiny_face_data: FaceModelData, capsys: pytest.CaptureFixture[str]
):
    write_face_model(tmp_path / "mine.npz", tiny_face_data)
    face_model.main([*SPEED, "--face_model", str(tmp_path / "mine.npz")])
    shown = capsys.readouterr().out
    (line,) = shown.splitlines()
    count = len(tiny_face_data.mean_shape)
    assert line.startswith(f"{tmp_path / 'mine.npz'}: {count} vertices")
    face_model.main([*SPEED, "--face_model", "open@0"])
    assert re.findall(r"^(\S+): ", capsys.readouterr().out, re.M) == ["open@0"]


def test_geometry_needs_a_border(
    tmp_path: Path, tiny_face_data: FaceModelData, capsys: pytest.CaptureFixture[str]
):
    write_face_model(tmp_path / "mine.npz", tiny_face_data)
    face_model.main(["--only", "geometry", "--face_model", str(tmp_path / "mine.npz")])
    assert "geometry: left out, tiny does not say" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--photos", "nowhere"], "--photos nowhere: "),
        (["--photos", "empty"], "--photos empty: "),
        (["--face_model", "flame"], "--face_model flame: BFM holds none"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    named: str,
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(InputError, match=named):
        face_model.main(argv)
    assert capsys.readouterr().out == ""


def test_photos_that_are_there_pass(tmp_path: Path, tiny_face_data: FaceModelData):
    write_image(tmp_path / "photos" / "a.png", np.zeros((8, 8, 3), np.uint8))
    write_face_model(tmp_path / "mine.npz", tiny_face_data)
    model = ["--face_model", str(tmp_path / "mine.npz")]
    face_model.main([*SPEED, *model, "--photos", str(tmp_path / "photos")])
