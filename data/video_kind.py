"""Whether a file may be a video, by its name and its beginning; without the decoder.

So a wrong one is refused before anything that takes seconds is imported, and before FFmpeg sees it:
it would draw text as pictures, and follow playlists to other files and machines, for minutes where
it gets no answer.
"""

from __future__ import annotations

from pathlib import Path

from data.images import heif_kind, heif_refusal, is_still_gif, is_still_picture
from util.errors import InputError
from util.model_files.file_kind import foreign_kind, is_text

VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".gif")
"""By which a video is told from a folder of photos where neither is there."""
_HEAD_LENGTH = 512
_PLAYLISTS = (b"#EXTM3U", b"ffconcat")
_JPEGS_IN_A_ROW = (".mjpeg", ".mjpg")
"""Such a video begins as a single picture does."""


def is_video_name(path: Path) -> bool:
    """Whether a path is called as videos are, and is no folder, nor a GIF that does not move."""
    named_so = path.suffix.lower() in VIDEO_ENDINGS and not path.is_dir()
    return named_so and not is_still_gif(path)


def check_video_file(path: Path) -> None:
    """Refuse what no decoder need look at; what else may be wrong, `data.video` says.

    Raises:
        InputError: no such file, a folder, empty, unreadable, text or a single picture; the message
            begins with the path, says what it is, and the remedy.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not a video; give one video file (photos have flags of their own)"
        )
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; give a video file")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_LENGTH)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); replace the file")
    if is_text(head) or head.startswith(_PLAYLISTS):
        if kind := foreign_kind(path):
            raise InputError(f"{path} is no video but {kind}")
        raise InputError(
            f"{path} is text, not a video, whatever its name says; give a video file (of a "
            "playlist, the file that it names)"
        )
    if kind := heif_kind(head):
        raise InputError(f"{path} {heif_refusal(kind)}, and give it as a photo")
    if path.suffix.lower() not in _JPEGS_IN_A_ROW and is_still_picture(path):
        raise InputError(single_picture(path))


def single_picture(path: Path) -> str:
    """What to say of a picture in place of a video."""
    return f"{path} is a single picture, not a video; give it as a photo"
