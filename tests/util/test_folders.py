"""Folders and files that results shall go to: looked at before the work, made after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from util.errors import InputError
from util.folders import check_file, check_folder, make_folder


@pytest.mark.parametrize("name", ["", "new", "new/deep/er"])
def test_what_can_be_made_passes_and_is_not_made_yet(tmp_path: Path, name: str):
    check_folder(tmp_path / name, "out")
    assert list(tmp_path.iterdir()) == []
    make_folder(tmp_path / name, "out")
    check_folder(tmp_path / name, "out")


def test_a_relative_name_counts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    check_folder("new/er", "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out file.er: file is no folder, .* another --out"):
        check_folder("file/er", "out")


def test_no_name_is_no_folder():
    with pytest.raises(InputError, match=r"--out is empty; name a folder, or give \. for the one"):
        check_folder("", "out")
    check_folder(".", "out")


@pytest.mark.parametrize("name", ["file", "file/a", "file/a/b"])
def test_a_file_is_no_folder(tmp_path: Path, name: str):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is no folder"):
        check_folder(tmp_path / name, "res_folder")


def test_a_link_to_nowhere_is_no_folder(tmp_path: Path):
    try:
        (tmp_path / "link").symlink_to(tmp_path / "gone")
    except OSError:
        pytest.skip("no links may be made here")
    with pytest.raises(InputError, match="link is no folder"):
        check_folder(tmp_path / "link", "out")


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody keeps root from writing: the system's answer is replaced."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(InputError, match=r"cannot be written by this user; give another --out"):
        check_folder(tmp_path / "new", "out")


def test_a_file_needs_a_name_and_a_folder(tmp_path: Path):
    check_file(tmp_path / "new" / "a.mp4", "out")
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        check_file(tmp_path, "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is no folder"):
        check_file(tmp_path / "file" / "a.mp4", "out")
