"""Uploads: known formats only, by their first bytes, and never more bytes than agreed."""

from __future__ import annotations

import asyncio
import re
import time
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request

from data.images import heif_kind, heif_refusal

SILENCE_S = 20.0
"""An upload of which nothing arrives for so long is given up: it holds a place in the line."""
GRACE_S = 120.0
"""That every upload may take, and a second more for each `BYTES_PER_S` that have arrived."""
BYTES_PER_S = 50_000
DRAINED_BYTES = 32_000_000
"""Of a refused upload that are still read, and dropped: browsers look at the answer only after."""
WRITTEN_BYTES = 1_000_000
"""That arrive before they are written together."""
STEM_BYTES = 100
_SIGNS = " ._-+()"
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)
"""Names that Windows keeps for itself, whatever follows a dot."""


class Refused(Exception):
    """A request that gets an error and nothing else."""

    def __init__(self, status: int, message: str) -> None:
        """HTTP status, and what the visitor should know."""
        super().__init__(message)
        self.status, self.message = status, message


def photo_ending(head: bytes) -> str | None:
    """The ending of a picture's file by its first 16 bytes; None if it is none of ours."""
    if head.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head.startswith(b"BM"):
        return ".bmp"
    return None


def video_ending(head: bytes) -> str | None:
    """The same of a video.

    Only files that hold their pictures themselves: the decoder also knows playlists, which name
    other files and addresses for it to read.
    """
    if head[4:8] == b"ftyp" and not heif_kind(head):
        return ".mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ".mkv"  # WebM too
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ".avi"
    return None


NAMELESS = {"photo": "face", "video": "video"}
"""What uploads are called that came without a name, and so their results."""
KINDS = {
    "photo": (photo_ending, "a JPEG, PNG, WebP or BMP picture"),
    "video": (video_ending, "an MP4, MOV, WebM, Matroska or AVI video"),
}


def safe_stem(name: str) -> str:
    """The name of a visitor's file as ours may be called: without folders, ending and odd signs.

    Letters of all scripts stay. What no file system takes, or what means something to shells and
    web pages, becomes a `_`.

    Returns:
        At most `STEM_BYTES` as UTF-8; empty where nothing of the name is left.
    """
    stem = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    stem = re.sub(r"\.\w{1,5}$", "", stem)
    stem = "".join(c if c in _SIGNS or _is_of_words(c) else "_" for c in stem)
    stem = re.sub(r"_{2,}", "_", stem)
    stem = stem.encode("utf-8", "ignore")[:STEM_BYTES].decode("utf-8", "ignore")
    stem = stem.strip(" ._-")
    return f"_{stem}" if _DEVICES.fullmatch(stem.partition(".")[0].strip()) else stem


def _is_of_words(character: str) -> bool:
    """Letters, digits, and the marks that belong to letters."""
    return unicodedata.category(character)[0] in "LMN"


async def receive(
    request: Request, kind: str, folder: Path, most_mb: float, name: str = ""
) -> Path:
    """Write the body of a request into a folder, under a name that is safe.

    Args:
        request: whose body is the file itself.
        kind: "photo" or "video".
        folder: for it.
        most_mb: megabytes that it may have.
        name: of the visitor's file, after which ours is called.

    Raises:
        Refused: too large, empty, of another kind, in a form, or it stopped arriving.
    """
    ending_of, wanted = KINDS[kind]
    most = most_mb * 1e6
    too_large = Refused(413, f"the {kind} has more than {most_mb:g} megabytes; make it smaller")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Refused(
            415,
            f"this is a form; send the {kind} itself as the body of the request, as "
            f"`curl --data-binary @FILE http://{request.url.netloc}{request.url.path}` does",
        )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large
    chunks = _chunks(request)
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= 16:
            break
    if not head:
        raise Refused(400, f"no {kind} arrived")
    ending = ending_of(head)
    if ending is None:
        raise Refused(
            415, _what_it_is(head, kind) or f"the file is not {wanted}, whatever its name says"
        )
    path, size = folder / f"{safe_stem(name) or NAMELESS[kind]}{ending}", len(head)
    # Disks may be slow: others are answered meanwhile.
    file = await asyncio.to_thread(path.open, "xb")
    try:
        waiting = bytearray(head)
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                break
            waiting += chunk
            if len(waiting) >= WRITTEN_BYTES:
                await asyncio.to_thread(file.write, waiting)
                waiting = bytearray()
        await asyncio.to_thread(file.write, waiting)
    finally:
        await asyncio.to_thread(file.close)
    if size > most:
        raise too_large
    return path


def _what_it_is(head: bytes, kind: str) -> str:
    """What to say of a file in the other kind's place, or of a picture that is not read.

    Empty for all else.
    """
    if still := heif_kind(head):
        return f"the file {heif_refusal(still)}"
    for other, (ending_of, _) in KINDS.items():
        if other != kind and ending_of(head):
            return (
                f"the file is a {other}, not a {kind}: choose {other.capitalize()} at the top of "
                f"the page and give it there (by a program: POST it to /api/{other}s)"
            )
    return ""


async def drain(request: Request) -> None:
    """Read and drop what is left of a refused upload; nothing of one that is beyond the limit."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > DRAINED_BYTES:
        return
    read = 0
    try:
        async for chunk in _chunks(request):
            read += len(chunk)
            if read > DRAINED_BYTES:
                return
    except Exception:  # whatever is wrong with it, it is refused already
        return


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Unlike `request.stream`, it can be gone on with."""
    if not hasattr(request.state, "until"):
        request.state.until = time.monotonic() + GRACE_S
    while not getattr(request.state, "is_read", False):
        left_s = request.state.until - time.monotonic()
        if left_s <= 0:
            raise Refused(408, "the upload is too slow; send a smaller file, or by a faster way")
        request.state.is_read = True  # unless more is announced
        try:
            message = await asyncio.wait_for(request.receive(), min(SILENCE_S, left_s))
        except asyncio.TimeoutError:
            raise Refused(408, "the upload stopped arriving; send it again") from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "the upload was broken off")
        request.state.is_read = not message.get("more_body", False)
        if message.get("body"):
            request.state.until += len(message["body"]) / BYTES_PER_S
            yield message["body"]
