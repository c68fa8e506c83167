"""Where FLAME is looked for, and which file is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from util.errors import InputError
from util.model_files.flame_folder import NAMES, check_flame, find_flame


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("below", ["", "FLAME", "FLAME2020", "FLAME2023"])
def test_the_file_is_found(tmp_path: Path, below: str, name: str):
    assert find_flame(tmp_path) is None
    path = put(tmp_path / below / name)
    assert find_flame(tmp_path) == check_flame(tmp_path) == path


def test_the_newest_is_taken(tmp_path: Path):
    old, new = (put(tmp_path / name) for name in ("generic_model.pkl", "flame2023.pkl"))
    assert find_flame(tmp_path) == new
    new.unlink()
    assert find_flame(tmp_path) == old


def test_what_lies_nearest_is_taken(tmp_path: Path):
    """Whoever put a file there by hand meant it, whatever archive is unpacked beside it."""
    put(tmp_path / "FLAME2023/flame2023.pkl")
    for name in ("FLAME/flame.pkl", "flame.npz"):
        path = put(tmp_path / name)
        assert find_flame(tmp_path) == path


def test_newer_archives_come_before_older_ones(tmp_path: Path):
    put(tmp_path / "FLAME2020/generic_model.pkl")
    newer = put(tmp_path / "FLAME2023/flame2023.pkl")
    assert find_flame(tmp_path) == newer


@pytest.mark.parametrize("name", ["female_model.pkl", "FLAME2023.zip", "deep/flame2023.pkl"])
def test_others_are_none(tmp_path: Path, name: str):
    put(tmp_path / name)
    assert find_flame(tmp_path) is None
    with pytest.raises(InputError) as raised:
        check_flame(tmp_path)
    said = str(raised.value)
    assert said.startswith(f"{tmp_path} holds none of ") and all(each in said for each in NAMES)
    assert "flame.is.tue.mpg.de" in said and "(--bfm_folder), or give its path" in said


def test_a_folder_of_that_name_is_no_file(tmp_path: Path):
    (tmp_path / "flame2023.pkl").mkdir()
    assert find_flame(tmp_path) is None
    old = put(tmp_path / "generic_model.pkl")
    assert find_flame(tmp_path) == old


def test_there_need_be_no_such_folder(tmp_path: Path):
    assert find_flame(tmp_path / "gone") is None
