"""Recognise files that were saved under another file's name by mistake: web pages and the like."""

from __future__ import annotations

import codecs
from pathlib import Path

from util.errors import InputError

_KINDS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, which only stands for the file; run `git lfs pull` where it was "
        "cloned, or download the file itself",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file (.h5), another format, such as Keras and the Basel Face Models of 2017 and "
        "2019 have",
    ),
    (b"\x1f\x8b", "a gzip archive such as .tgz; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!\x1a\x07", "a rar archive; unpack it"),
)
TAR = "a tar archive; unpack it"
_TAR_CHECKSUM, _TAR_MAGIC = slice(148, 156), slice(257, 262)
_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"
_TEXT_LENGTH = 512
"""Bytes that are looked at to tell text from other contents."""
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml")


def foreign_kind(path: Path) -> str | None:
    """What lies in place of a weights file, with the remedy.

    Returns:
        The end of a message "x.pth is ...", or None where the content looks like none of them.

    Raises:
        InputError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check that it is a file you may read"
        ) from error
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    if head[_TAR_MAGIC] == b"ustar" or _has_tar_checksum(head):
        return TAR
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_MARKUP):
        return (
            "a web page (HTML), which the download gave in place of the file; download it again "
            "in a browser"
        )
    return None


def foreign_to_npz(path: Path) -> str | None:
    """What lies in place of a `.npz` file: as `foreign_kind`, or anything that is no zip archive.

    Raises:
        InputError: the file cannot be opened.
    """
    if kind := foreign_kind(path):
        return kind
    with path.open("rb") as file:
        head = file.read(_TEXT_LENGTH)
    if head.startswith(_ZIP):
        return None  # what else may be wrong with it, its reader says
    if not head:
        return "empty"
    if head.startswith(_NPY):
        return "a single array (.npy)"
    return "text" if is_text(head) else "no zip archive, as .npz files are"


def is_text(head: bytes) -> bool:
    """Whether a file that begins like this holds characters; the last one may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _has_tar_checksum(head: bytes) -> bool:
    """Whether this is a header of a tar archive, marked as one or, as the oldest are, not.

    Each holds the sum of its bytes, in octal, those of the sum itself counted as spaces.
    """
    if len(head) < 512 or not head[0]:
        return False
    try:
        stated = int(head[_TAR_CHECKSUM].strip(b" \0"), 8)
    except ValueError:
        return False
    length = _TAR_CHECKSUM.stop - _TAR_CHECKSUM.start
    return stated == sum(head) - sum(head[_TAR_CHECKSUM]) + length * ord(" ")
