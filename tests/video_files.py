"""Small videos for tests, written by PyAV directly, and what is done to their bytes."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (64, 96)
"""Height and width of the pictures."""
COUNT = 60


@dataclass(frozen=True)
class Sound:
    """Samples for a track of sound."""

    samples: np.ndarray
    """(n,) float, -1 to 1."""
    rate_hz: int = 44100
    codec: str = "aac"
    start_s: float = 0.0


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) colours that differ in each corner, with a bar whose place tells the number."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = np.stack(
        [60 + 120 * columns / width, 60 + 120 * rows / height, 150 - 60 * columns / width], axis=-1
    )
    left = bar_left(number, width)
    image[:, left : left + 6] = 235
    return image.astype(np.uint8)


def bar_left(number: int, width: int = SIZE[1]) -> int:
    return (number * 7) % (width - 6)


@functools.cache
def _known_rows(size: tuple[int, int]) -> np.ndarray:
    """(COUNT, rows, W, 3) some rows of every picture."""
    return np.stack([picture(n, size)[::16] for n in range(COUNT)]).astype(np.int16)


def shown_number(image: np.ndarray) -> int:
    """The number of the `picture` that a decoded one looks most like."""
    known = _known_rows(image.shape[:2])
    return int(np.abs(known - image[::16]).mean(axis=(1, 2, 3)).argmin())


def write_file(
    path: Path,
    pictures: Sequence[np.ndarray] | None = None,
    times_s: Sequence[float] | None = None,
    *,
    codec: str = "libx264",
    form: str | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    pixel_ratio: Fraction | None = None,
    b_frames: int | None = None,
    sound: Sound | None = None,
) -> Path:
    """Write a video.

    Args:
        path: its ending chooses the container unless `form` does.
        pictures: `picture` 0 to COUNT - 1 by default.
        times_s: of the pictures; 25 a second by default.
        codec: encoder of the pictures.
        form: FFmpeg's name of the container.
        pixels: pixel format.
        options: of the encoder.
        container: of the container.
        pixel_ratio: width of a pixel by its height.
        b_frames: most pictures in a row that are predicted from later ones.
        sound: a second track.
    """
    pictures = [picture(n) for n in range(COUNT)] if pictures is None else pictures
    with av.open(path, "w", format=form, options=container or {}) as file:
        track = file.add_stream(codec, rate=25, options=options or {})
        track.height, track.width = pictures[0].shape[:2]
        track.pix_fmt = pixels
        context = track.codec_context
        context.gop_size = 12
        context.thread_count = 1  # libvpx spins while its threads wait for a core
        if b_frames is not None:
            context.max_b_frames = b_frames
        if pixel_ratio is not None:
            context.sample_aspect_ratio = pixel_ratio
        clock = Fraction(1, 25 if times_s is None else 1000)
        context.time_base = clock
        voice = None
        if sound is not None:
            voice = file.add_stream(sound.codec, rate=sound.rate_hz, layout="mono")
        for number, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
            time_s = number / 25 if times_s is None else times_s[number]
            frame.pts, frame.time_base = round(Fraction(time_s) / clock), clock
            file.mux(track.encode(frame))
        file.mux(track.encode(None))
        if sound is not None and voice is not None:
            chunk = sound.rate_hz // 10
            for begin in range(0, len(sound.samples), chunk):
                part = sound.samples[None, begin : begin + chunk].astype(np.float32)
                heard = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                heard.sample_rate = sound.rate_hz
                heard.pts = begin + round(sound.start_s * sound.rate_hz)
                heard.time_base = Fraction(1, sound.rate_hz)
                file.mux(voice.encode(heard))
            file.mux(voice.encode(None))
    return path


def retime(source: Path, target: Path, ticks: Callable[[int], int | None]) -> Path:
    """Copy a video with other times of its pictures; the sound keeps its own.

    Args:
        source: the video.
        target: the copy, in a container whose muxer lets them pass, such as Matroska.
        ticks: number of a packet in the order of decoding -> its time in the clock of the source;
            None for none.
    """
    with av.open(source) as old, av.open(target, "w") as new:
        tracks = {
            stream.index: new.add_stream_from_template(stream)
            for stream in (*old.streams.video, *old.streams.audio)
        }
        number = 0
        for packet in old.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                packet.pts = ticks(number)
                # Muxers want times of decoding that rise, and none after that of presentation.
                packet.dts = None if packet.pts is None else number - 1000
                number += 1
            packet.stream = tracks[packet.stream.index]
            new.mux(packet)
    return target


def set_display_matrix(path: Path, matrix: Sequence[int]) -> None:
    """Say how an .mp4 is to be turned: a, b, c, d of its track header (ISO/IEC 14496-12, 6.2.2)."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd")
    assert content[header + 4] == 0  # the version whose times have 4 bytes
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, header + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def overwrite(path: Path, begin: int, length: int) -> None:
    """Zero a part of a file."""
    content = bytearray(path.read_bytes())
    content[begin : begin + length] = bytes(length)
    path.write_bytes(content)


def packet_places(path: Path) -> list[tuple[int, int, int, bool]]:
    """Place in the file, size, presentation number and key of each packet, as they are decoded."""
    with av.open(path) as file:
        packets = [p for p in file.demux(video=0) if p.size]
        ticks = sorted(p.pts or 0 for p in packets)
        return [(p.pos or 0, p.size, ticks.index(p.pts or 0), p.is_keyframe) for p in packets]


def hide_copies(source: Path, target: Path) -> int:
    """Copy a VP8 stream with a second, hidden packet (RFC 6386, 9.1) before each later key frame.

    Returns:
        How many.
    """
    hidden = 0
    with av.open(source) as old, av.open(target, "w") as new:
        stream = old.streams.video[0]
        track = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if not packet.size:
                continue
            if packet.is_keyframe and packet.pts:
                content = bytearray(bytes(packet))
                content[0] &= ~0x10
                copy = av.Packet(bytes(content))
                copy.pts = copy.dts = packet.pts - 1
                copy.time_base = packet.time_base
                copy.stream = track
                new.mux(copy)
                hidden += 1
            packet.stream = track
            new.mux(packet)
    return hidden
