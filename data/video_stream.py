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

from data.video_kind import check_video_file, single_picture
from util.errors import InputError
from util.model_files.file_kind import foreign_kind

DECODER_THREADS = 2
"""Of each open video; several are open where processes share the work."""
_HEAD_LENGTH = 512
_DEFAULT_RATE_HZ = 25.0
"""Frames a second where neither a stream nor its sound says anything."""
_LIKELY_RATES_HZ = (1.0, 500.0)
"""Others are no rates of recordings: muxers that are given no times count up in their own clock."""
_MOST_REORDERED = 32
"""Packets that may lie between a frame's places in the order of decoding and of presentation;
codecs allow 16 frames, which interlaced streams store in two packets each. Times that jump further
run backwards, or start again somewhere, as in joined recordings."""
_SAME_START_S = 0.3
"""Most by which pictures and sound of a recording begin apart: encoders hold back a few frames."""
_WITHOUT_PRESENTATION_TIMES = ("avi",)
"""Containers that know the order of decoding alone: their times belong to other frames where a
codec reorders them."""
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
    clock_fault: str = ""
    """What is wrong with the times in the file, and what stands in their place; "" for nothing."""
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
    check_video_file(path)
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
        is_sorted = not stream.codec_context.has_b_frames
        by_ticks = container.format.name not in _WITHOUT_PRESENTATION_TIMES
        clock_s = float(stream.time_base or 0)
        stated = _stated_count(stream, unshown)
        stated_end_s = _stated_end_s(stream)
        rates = (stream.average_rate, stream.guessed_rate, stream.codec_context.framerate)
    rates = [float(rate) for rate in rates if rate]
    lost = max(stated - len(ticks) - unshown, 0)
    order, fault = _presentation_order(ticks, clock_s, is_sorted=is_sorted and by_ticks)
    if order is None:
        start_s, heard_s = _sound(path)
        # The average is that of the times; what the codec says knows nothing of them.
        rate_hz = _rate_hz(rates[::-1], len(ticks), heard_s)
        first = next((tick * clock_s for tick in ticks if tick is not None), 0.0)
        # Times of which some are wrong say less about the first frame than the sound does.
        if start_s is not None and abs(first - start_s) > _SAME_START_S:
            first = start_s
        fault += f"; frames are taken as {rate_hz:.4g} a second"
        fault += ", and may be out of step with the sound" if start_s is not None else ""
        times_s = first + np.arange(len(ticks)) / rate_hz
        # Containers without presentation times promise none.
        return PacketIndex(None, times_s, np.array(keys), fault if by_ticks else "", lost)
    shown = np.array(ticks, np.int64)[order]
    rate_hz = _rate_hz(rates, len(ticks))
    times_s, shared = _apart(shown * clock_s, rate_hz)
    if shared and by_ticks:
        have = "frame has" if shared == 1 else "frames have"
        fault = f"{shared} of its {len(ticks)} {have} the time of the one before; such are spread "
        fault += "evenly up to the next time"
    if stated_end_s is not None:
        lost = max(round((stated_end_s - times_s[-1]) * rate_hz) - 1, 0)
    identified = by_ticks and not shared
    return PacketIndex(shown if identified else None, times_s, np.array(keys)[order], fault, lost)


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


def _apart(times_s: np.ndarray, rate_hz: float) -> tuple[np.ndarray, int]:
    """Times that never fall, made to rise: frames of one time share what is left until the next.

    Args:
        times_s: (N,)
        rate_hz: of the stream, by which frames follow one another at the last time.

    Returns:
        (N,) times; how many frames had that of the one before.
    """
    is_first = np.diff(times_s, prepend=-np.inf) > 0
    firsts = np.flatnonzero(is_first)
    counts = np.diff(firsts, append=len(times_s))
    until = np.diff(times_s[firsts], append=times_s[-1] + counts[-1] / rate_hz)
    run = np.cumsum(is_first) - 1
    later = np.arange(len(times_s)) - firsts[run]
    return times_s + later * (until / counts)[run], int((~is_first).sum())


def _presentation_order(
    ticks: list[int | None], clock_s: float, *, is_sorted: bool
) -> tuple[np.ndarray | None, str]:
    """Places of the packets in the order in which they are shown: (N,).

    Args:
        ticks: times of the packets in the order of decoding.
        clock_s: length of a tick.
        is_sorted: the codec shows frames in the order of decoding.

    Returns:
        None and what is wrong where the times do not say: they lack, stand still, run backwards or
        begin again somewhere.
    """
    lacking, count = ticks.count(None), len(ticks)
    if lacking == count or not clock_s:
        return None, "its frames have no times"
    if lacking:
        have = "frame has" if lacking == 1 else "frames have"
        return None, f"{lacking} of its {count} {have} no time"
    times = np.array(ticks, np.int64)
    lasts_s = float(np.ptp(times)) * clock_s
    if count > 1 and not lasts_s:
        return None, f"all its {count} frames have one time"
    order = np.argsort(times, kind="stable")
    moved = int(np.abs(order - np.arange(count)).max())
    if moved > (0 if is_sorted else _MOST_REORDERED):
        return None, "the times of its frames do not rise"
    if count > 1 and (count - 1) / lasts_s > _LIKELY_RATES_HZ[1]:
        return None, f"its {count} frames are said to last {lasts_s:.2g} seconds"
    return order, ""


def _rate_hz(stated: list[float], count: int, heard_s: float = 0.0) -> float:
    """Frames a second by what a stream states, else so that frames last as long as the sound.

    Args:
        stated: rates, the most trustworthy first.
        count: of the frames.
        heard_s: length of the sound; 0 for none.
    """
    low, high = _LIKELY_RATES_HZ
    likely = [rate for rate in (*stated, count / heard_s if heard_s else 0) if low <= rate < high]
    return likely[0] if likely else _DEFAULT_RATE_HZ


def _sound(path: Path) -> tuple[float | None, float]:
    """When the sound of a video begins, None without any, and how long it is: both in seconds."""
    with open_video(path) as (container, _):
        stream = container.streams.best("audio")
        if stream is None or not stream.time_base:
            return None, 0.0
        begins, length = None, 0
        try:
            for packet in container.demux(stream):
                begins = packet.pts if begins is None else begins
                length += packet.duration or 0
        except FFmpegError:
            pass  # a file that breaks off
        clock_s = float(stream.time_base)
        return (begins or 0) * clock_s, length * clock_s


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


def _choose_stream(
    path: Path, container: av.container.InputContainer
) -> av.video.stream.VideoStream:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise InputError(single_picture(path))
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
