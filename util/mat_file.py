"""Read MATLAB files that users fetched themselves, and say what a wrong one really is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy.io import loadmat, whosmat

from util.errors import InputError

_KINDS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5)"),
    (b"MATLAB 7.3", "a MATLAB 7.3 file (save it again with -v7)"),
    (b"PK\x03\x04", "a zip archive (unpack it)"),
    (b"\x1f\x8b", "a gzip archive such as .tgz (unpack it)"),
    (b"BZh", "a bzip2 archive (unpack it)"),
    (b"\xfd7zXZ\x00", "an xz archive (unpack it)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it)"),
    (b"Rar!\x1a\x07", "a rar archive (unpack it)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
)
_TAR_MAGIC = slice(257, 262)
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml")


def foreign_kind(path: Path) -> str | None:
    """What was saved under a data file's name by mistake: a web page, an archive and the like.

    Returns:
        Words for a message, or None where the content looks like none of them.

    Raises:
        InputError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check that it is a file you may read"
        ) from error
    if not head:
        return "empty"
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    if head[_TAR_MAGIC] == b"ustar":
        return "a tar archive (unpack it)"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_MARKUP):
        return "a web page (HTML): the download gave a page in place of the file"
    return None


def read_mat(path: Path, names: Iterable[str], remedy: str) -> dict[str, np.ndarray]:
    """Read arrays by name.

    Args:
        path: MATLAB file up to version 7.
        names: all of them must be there; nothing else is read.
        remedy: end of every message: which file is the right one.

    Raises:
        InputError: the file is missing, something else, damaged, or lacks an array.
    """
    names = list(names)
    shapes = mat_shapes(path, remedy)
    for name in names:
        if name not in shapes:
            found = ", ".join(sorted(shapes)[:6]) or "nothing"
            raise InputError(f"{path} lacks the array {name} (it holds {found}); {remedy}")
    content = _read(path, lambda file: loadmat(file, variable_names=names), remedy)
    # A file that ends early may leave out its last arrays without an error.
    for name in names:
        if name not in content or content[name].dtype.kind not in "iufbU":
            raise InputError(f"{path} is damaged or cut short ({name} is no array); {remedy}")
    return {name: content[name] for name in names}


def mat_shapes(path: Path, remedy: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a MATLAB file's arrays, without reading their content.

    Raises:
        InputError: as `read_mat`.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    if kind := foreign_kind(path):
        raise InputError(f"{path} is {kind}; {remedy}")
    return {name: tuple(shape) for name, shape, _ in _read(path, whosmat, remedy)}


def _read(path: Path, reader: Callable[[IO[bytes]], Any], remedy: str) -> Any:
    try:
        with path.open("rb") as file:
            return reader(file)
    except Exception as error:
        # Garbage reaches every part of SciPy's reader, and each raises what it happens to raise.
        raise InputError(
            f"{path} is damaged, cut short or no MATLAB file ({error}); {remedy}"
        ) from error
