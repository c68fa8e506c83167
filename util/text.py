"""Text files as users write them: on any system, with or without a byte-order mark."""

from __future__ import annotations

import codecs

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_text(content: bytes) -> str:
    """UTF-8, or the UTF-16 that Windows' PowerShell writes; a byte-order mark is left out.

    Raises:
        UnicodeDecodeError: neither.
    """
    return content.decode("utf-16" if content.startswith(_UTF_16_MARKS) else "utf-8-sig")
