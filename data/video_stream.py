"""Open a video file for decoding, and list its frames by a pass over its packets alone.

Nothing is decoded for the list, so that it costs little more than reading the file: 20 ms for 20
seconds of 720p. It gives every frame its number in the order of presentation, which stays the same
whether a frame is reached from the beginning or by a jump, and where others are broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.container
import av.stream
import av.video.stream
import numpy as np
from av.error import FFmpegError

from util.errors import InputError
from util.model_files.file_kind import foreign_kind, is_text

DECODER_THREADS = 2
"""Of each open video; several are open where processes share the work."""
_HEAD_LENGTH = 512
_DEFAULT_RATE_HZ = 25.0
"""Frames a second where a stream says nothing."""
_LEAST_STEP_S = 1e-4
"""Between two frames that claim the same time: they stay apart, also in coarser clocks."""
_MOST_REORDERED = 64
"""Packets that may lie between a frame's places in the order of decoding and of presentation;
codecs allow 16. Times that jump further start again somewhere, as in joined recordings."""
_WITHOUT_PRESENTATION_TIMES = ("avi",)
"""Containers that know the order of decoding alone: their times belong to other frames where a
codec reorders them."""
_PLAYLISTS = (b"#EXTM3U", b"ffconcat")
_PICTURE_STREAMS = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


@dataclass(frozen=True)
class PacketIndex:
    """The frames of a video stream in the order of presentation; 17 bytes for each."""

    ticks: np.ndarray | None
    """(N,) int64, rising: presentation times in the stream's clock, which decoded frames carry too.
    None where they do not identify a frame; frames are then counted as they are decoded."""
    times_s: np.ndarray
    """(N,) float64, strictly rising: on the clock that the file's streams share."""
    keys: np.ndarray
    """(N,) bool: decoding can begin here."""
    lost_at_end: int = 0
    """About how many more frames the container announces than it holds: the file was cut off."""

    def __len__(self) -> int:
        return len(self.times_s)

    def number(self, ticks: int) -> int:
        """The number of the frame that is shown at a time, the nearest before it if none is."""
        assert self.ticks is not None
        found = int(np.searchsorted(self.ticks, ticks))
        exact = found < len(self.ticks) and self.ticks[found] == ticks
        return found if exact else max(found - 1, 0)

    def key_before(self, number: int) -> int:
        """The last frame up to `number` where decoding can begin; 0 if there is no other."""
        before = np.flatnonzero(self.keys[: number + 1])
        return int(before[-1]) if len(before) else 0


@contextmanager
def open_video(
    path: Path,
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """Open a file and choose its video stream: the one with the most pixels.

    Raises:
        InputError: no such file, or not a video; the message names the file, what it is and the
            remedy.
    """
    _check_file(path)
    try:
        # The prefix keeps a name such as `pipe:0` a name.
        container = av.open(f"file:{path}")
    except FFmpegError as error:
        raise InputError(_refused(path, error)) from error
    with container:
        yield container, _choose_stream(path, container)


def scan_packets(path: Path) -> PacketIndex:
    """List the frames of a video without decoding any.

    Raises:
        InputError: not a video, or one without frames.
    """
    ticks: list[int | None] = []
    keys: list[bool] = []
    unshown = 0
    with open_video(path) as (container, stream):
        vp8 = stream.codec_context.name in ("vp8", "libvpx")
        for packet in packets_from(container, stream):
            if packet.dts is None and packet.pts is None and not packet.size:
                continue  # the end, as the decoder is told
            # Parts that an edit list cuts away are decoded, but not shown.
            if packet.is_discard or not packet.size or (vp8 and _is_hidden(packet)):
                unshown += 1
            else:
                ticks.append(packet.pts)
                keys.append(packet.is_keyframe)
        if not ticks:
            raise InputError(
                f"{path} has a video stream without a single frame; record or copy it again"
            )
        rate_hz = float(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE_HZ)
        by_ticks = container.format.name not in _WITHOUT_PRESENTATION_TIMES
        clock_s = float(stream.time_base or 0)
        stated = _stated_count(stream, unshown)
        stated_end_s = _stated_end_s(stream)
    order = _presentation_order(ticks)
    if order is None or not clock_s:
        times_s = np.arange(len(ticks)) / rate_hz
        return PacketIndex(None, times_s, np.array(keys), max(stated - len(ticks) - unshown, 0))
    shown = np.array(ticks, np.int64)[order]
    times_s = _apart(shown * clock_s)
    lost = stated - len(ticks) - unshown
    if stated_end_s is not None:
        lost = round((stated_end_s - times_s[-1]) * rate_hz) - 1
    return PacketIndex(
        shown if by_ticks else None, times_s, np.array(keys)[order], max(int(lost), 0)
    )


def packets_from(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.Packet]:
    """The packets from where the container stands; a file that breaks off ends them quietly.

    What is lost by that is known from `PacketIndex`.
    """
    try:
        yield from container.demux(stream)
    except FFmpegError:
        return


def _apart(times_s: np.ndarray) -> np.ndarray:
    """Times that never fall, made to rise strictly: (N,)."""
    steps = np.arange(len(times_s)) * _LEAST_STEP_S
    return np.maximum.accumulate(times_s - steps) + steps


def _presentation_order(ticks: list[int | None]) -> np.ndarray | None:
    """Places of the packets in the order in which they are shown: (N,).

    None where their times do not say: they have none, or begin again somewhere.
    """
    if None in ticks:
        return None
    order = np.argsort(np.array(ticks, np.int64), kind="stable")
    return order if np.abs(order - np.arange(len(order))).max() <= _MOST_REORDERED else None


def _stated_count(stream: av.video.stream.VideoStream, unshown: int) -> int:
    """Packets that the container announces, 0 where it does not."""
    # An .mp4 lists its packets; edit lists may take some away from the list and hide others. PyAV
    # before 18 does not give the list, only how long it was at first.
    listed = len(getattr(stream, "index_entries", ()))
    if stream.frames and listed:
        return min(stream.frames, listed)
    return 0 if unshown else stream.frames


def _stated_end_s(stream: av.video.stream.VideoStream) -> float | None:
    """When the last frame of a Matroska or WebM stream ends by its tag, such as 00:01:02.5."""
    match = re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if not match:
        return None
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _is_hidden(packet: av.Packet) -> bool:
    """Whether a VP8 packet only improves the prediction of others (RFC 6386, 9.1: show_frame)."""
    return not bytes(packet)[0] & 0x10


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not a video; give one video file (--img_path takes a folder of "
            "photos)"
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
    # Before FFmpeg sees it: it would draw text as pictures, and follow playlists to other files and
    # machines, for minutes where it gets no answer.
    if is_text(head) or head.startswith(_PLAYLISTS):
        if kind := foreign_kind(path):
            raise InputError(f"{path} is no video but {kind}")
        raise InputError(
            f"{path} is text, not a video, whatever its name says; give a video file (of a "
            "playlist, the file that it names)"
        )


def _choose_stream(
    path: Path, container: av.container.InputContainer
) -> av.video.stream.VideoStream:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise InputError(f"{path} is a single picture, not a video; give it as --img_path")
    # Cover pictures of music, and the thumbnails of a player, are stored as video streams.
    streams = [s for s in container.streams.video if not s.disposition & _PICTURE_STREAMS]
    if not streams:
        others = sorted({s.type for s in container.streams if s.type != "video"})
        only = f", only {' and '.join(others)}" if others else ""
        raise InputError(f"{path} has no video{only}; give a file with a picture track")
    stream = max(streams, key=lambda s: s.width * s.height if s.codec_context else 0)
    if stream.codec_context is None:
        raise InputError(
            f"{path}: the installed decoder does not know how its video is coded; convert it, for "
            f"instance by `ffmpeg -i {path.name} converted.mp4`"
        )
    stream.codec_context.thread_count = DECODER_THREADS
    # Threads over frames lose whole frames at the end of a file whose last one is broken.
    stream.codec_context.thread_type = "SLICE"
    return stream


def _refused(path: Path, error: FFmpegError) -> str:
    """Why a file cannot be opened, and what to do."""
    if isinstance(error, OSError):
        return f"{path} cannot be read: {error.strerror or error}"
    if kind := foreign_kind(path):
        return f"{path} is no video but {kind}"
    with path.open("rb") as file:
        head = file.read(_HEAD_LENGTH)
    if head[4:8] == b"ftyp":
        return (
            f"{path} cannot be played: its end is missing, where an .mp4 or .mov keeps the list of "
            "its frames; copy or record it again"
        )
    return (
        f"{path} is no video that the installed decoder knows, or is damaged from its beginning "
        f"({error.strerror}); copy it again, or convert it, for instance by "
        f"`ffmpeg -i {path.name} converted.mp4`"
    )
