"""Lists of masks: what a line means, and which lists are refused before anything is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data.photo_lists import check_list, listed_masks
from util.errors import InputError


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "masks.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def masks(path: Path, root: Path = Path()) -> list[tuple[int, Path]]:
    return list(listed_masks(path, root, "--flist"))


def test_lines_keep_their_numbers_and_order(tmp_path: Path):
    path = write(tmp_path, "\nb/mask/2.png\n\n  a/mask/1.png \t\nb/mask/2.png")
    assert masks(path) == [
        (2, Path("b/mask/2.png")),
        (4, Path("a/mask/1.png")),
        (5, Path("b/mask/2.png")),
    ]


def test_relative_paths_count_from_the_root_and_absolute_ones_stay(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere/mask/x.png"
    path = write(tmp_path, f"faces/mask/a.png\n{elsewhere}\n../mask/b.png\n")
    found = [mask for _, mask in masks(path, tmp_path / "root")]
    assert found == [
        tmp_path / "root/faces/mask/a.png",
        elsewhere,
        tmp_path / "root/../mask/b.png",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_other_systems(tmp_path: Path, encoding: str):
    path = write(tmp_path, "fäces\\mask\\größe 1.png\r\nmask/2.png\r\n".encode(encoding))
    assert masks(path) == [(1, Path("fäces/mask/größe 1.png")), (2, Path("mask/2.png"))]


def test_a_backslash_in_a_name_is_no_folder(tmp_path: Path):
    """Where the path as it stands lies in a folder of masks; file systems but Windows' allow it."""
    assert masks(write(tmp_path, "faces/mask/a\\b.png\n")) == [(1, Path("faces/mask/a\\b.png"))]


@pytest.mark.parametrize("line", ["faces/a.png", "masks/a.png", "mask", "faces/mask/deep/a.png"])
def test_a_line_that_is_no_mask_is_named(tmp_path: Path, line: str):
    path = write(tmp_path, f"faces/mask/a.png\n{line}\n")
    with pytest.raises(InputError, match=rf"--flist .*masks\.txt, line 2: {line} does not lie in"):
        masks(path)


def test_masks_before_a_wrong_line_come_first(tmp_path: Path):
    """They come as they are read: a list of millions is never held."""
    found = listed_masks(write(tmp_path, "mask/a.png\nwrong.png\n"), Path(), "--flist")
    assert next(found) == (1, Path("mask/a.png"))
    with pytest.raises(InputError, match="line 2"):
        next(found)


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_a_list_without_masks(tmp_path: Path, content: str):
    with pytest.raises(InputError, match=r"--flist .*names no masks; make it with data_prepar"):
        masks(write(tmp_path, content))


def test_what_is_no_list(tmp_path: Path):
    with pytest.raises(InputError, match=r"--flist .*gone\.txt cannot be read \(No such file"):
        masks(tmp_path / "gone.txt")
    with pytest.raises(InputError, match=r"--flist .* cannot be read"):
        masks(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read \(it is no text\)"):
        masks(write(tmp_path, b"mask/a.png\n\xff\xfe\xfd\x00"))


class TestEarlyCheck:
    """`check_list`, which looks at the first line alone."""

    def test_a_good_one_passes_though_its_photos_are_not_there(self, tmp_path: Path):
        check_list(write(tmp_path, "faces/mask/a.png\n"), tmp_path, "--flist")

    def test_only_the_first_line_is_looked_at(self, tmp_path: Path):
        check_list(write(tmp_path, "mask/a.png\nwrong.png\n"), tmp_path, "--flist")
        with pytest.raises(InputError, match="line 1"):
            check_list(write(tmp_path, "wrong.png\nmask/a.png\n"), tmp_path, "--flist")

    def test_the_flag_is_named(self, tmp_path: Path):
        with pytest.raises(InputError, match=r"^--flist_val .*gone\.txt does not exist; make it"):
            check_list(tmp_path / "gone.txt", tmp_path, "--flist_val")

    def test_relative_paths_need_their_root(self, tmp_path: Path):
        path, root = write(tmp_path, "faces/mask/a.png\n"), tmp_path / "gone"
        message = f"--data_root {root} is no folder; .*{re.escape(str(root / 'faces/mask/a.png'))}"
        with pytest.raises(InputError, match=message):
            check_list(path, root, "--flist")

    def test_absolute_ones_do_not(self, tmp_path: Path):
        path = write(tmp_path, f"{tmp_path / 'faces/mask/a.png'}\n")
        check_list(path, tmp_path / "gone", "--flist")
