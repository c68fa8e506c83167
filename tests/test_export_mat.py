"""`python -m BFM.export_mat`: a face model in the public code's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from BFM import export_mat
from models.face_model import FaceModelData
from util.errors import InputError
from util.model_files.bfm_file import read_bfm_model


def test_the_open_model_is_exported(
    tmp_path: Path, open_face_data: FaceModelData, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "new folder" / "open.mat"
    export_mat.main(["--face_model", "open", "--output", str(path)])
    assert f"{path}: {open_face_data.card}" in capsys.readouterr().out
    assert read_bfm_model(path)[0].card == open_face_data.card
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"--output .*open\.mat exists"):
        export_mat.main(["--face_model", "open", "--output", str(path)])
    assert path.read_bytes() == content


def test_an_unknown_model_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="--face_model nothing"):
        export_mat.main(["--face_model", "nothing", "--output", str(tmp_path / "a.mat")])
