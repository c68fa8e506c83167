"""Text files of any system."""

from __future__ import annotations

import codecs

import pytest

from util.text import decode_text

TEXT = "1.5 2\r\nJosé/facé.png\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8 with mark", "utf-16", "utf-16 big-endian"],
)
def test_encodings_are_recognised_and_marks_left_out(content: bytes):
    assert decode_text(content) == TEXT


def test_nothing_is_nothing():
    assert decode_text(b"") == decode_text(codecs.BOM_UTF8) == ""


@pytest.mark.parametrize("content", ["é".encode("latin-1"), codecs.BOM_UTF16_LE + b"1"])
def test_other_bytes_are_refused(content: bytes):
    with pytest.raises(UnicodeDecodeError):
        decode_text(content)
