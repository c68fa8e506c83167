"""What lies in place of a weights file."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from util.errors import InputError
from util.model_files.file_kind import foreign_kind, foreign_to_npz


def old_tar(name: str) -> bytes:
    """The header of an archive from before the mark `ustar`."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"\xef\xbb\xbf  \r\n<Html lang='en'>", "web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08", "unpack"),
        (b"BZh91AY", "unpack"),
        (b"\xfd7zXZ\x00", "unpack"),
        (b"7z\xbc\xaf\x27\x1c", "unpack"),
        (b"Rar!\x1a\x07\x00", "unpack"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (old_tar("sys_info"), "tar archive; unpack"),
        (b"PublicMM1/".ljust(257, b"\0") + b"ustar", "tar archive; unpack"),
    ],
)
def test_other_files_are_recognised(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "x.pth"
    path.write_bytes(content + bytes(600))
    assert words in (foreign_kind(path) or "")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"PK\x03\x04", b"\x80\x02\x8a\nl", b"\x08\x07\x12\x07pyt"),
        *(bytes(600), b"\x01" * 600, b" " * 600, b"0" * 600),
        old_tar("sys_info").replace(b"sys", b"sit"),
    ],
)
def test_weights_are_none_of_them(tmp_path: Path, content: bytes):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert foreign_kind(path) is None


def test_what_cannot_be_opened_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        foreign_kind(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        ("ein Gesicht: größe".encode(), "text"),
        # A character may be cut at the end of what is looked at.
        (("a" + 600 * "ö").encode(), "text"),
        (b"\x93NUMPY\x01\x00", "a single array (.npy)"),
        (bytes(range(256)), "no zip archive, as .npz files are"),
        (b"PK\x03\x04", None),
    ],
)
def test_what_is_no_npz_is_named(tmp_path: Path, content: bytes, kind: str | None):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert foreign_to_npz(path) == kind
