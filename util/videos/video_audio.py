"""The sound of a source video for the file that is made from it: copied, or coded again.

Times are kept, so that sound and pictures stay together wherever the pictures begin and end: the
new file's clock starts with its first picture, and sound from before that or after the last picture
is left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Protocol, cast

import av
import av.audio.stream
import av.container
import numpy as np
from av.error import FFmpegError

COPIED_CODECS = ("aac", "mp3", "ac3", "eac3", "alac", "opus")
"""What players expect in an .mp4. The container takes more, such as PCM, which few play."""
_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATE_ELSE_HZ = 48000
_JOINED_S = 0.05
"""Gaps and overlaps of the sound up to this long are inaccurate times, not silence."""


class AudioTrack(Protocol):
    """Gives a file's sound as it is needed, so that little of it is in memory."""

    kind: str
    """`copied` or `coded again`."""

    def start(self, container: av.container.OutputContainer, start_s: float) -> None:
        """Add the track to a file whose clock begins at `start_s` of the source's."""
        ...

    def until(self, end_s: float) -> Iterator[av.Packet]:
        """What is heard from the last call on up to a time of the new file."""
        ...

    def finish(self) -> Iterator[av.Packet]:
        """What the encoder still holds."""
        ...

    def close(self) -> None:
        """Close the source."""
        ...


def open_audio(path: Path) -> tuple[AudioTrack | None, str]:
    """The sound of a video, ready to be put into an .mp4.

    Args:
        path: the video that sounds.

    Returns:
        The track, or None where the video has no sound or it cannot be kept; and a sentence that
        says why it cannot, "" otherwise.
    """
    stack = ExitStack()
    try:
        source = stack.enter_context(av.open(f"file:{path}"))
        stream = source.streams.best("audio")
        if stream is None:
            stack.close()
            return None, ""
        if stream.codec_context is None:
            raise FFmpegError(0, "no decoder for it is installed")
        if stream.codec_context.codec.canonical_name in COPIED_CODECS and _fits(stream):
            return _CopiedTrack(source, stream), ""
        return _CodedTrack(source, stream), ""
    except FFmpegError as error:
        stack.close()
        return None, f"the sound of {path} is not kept: {error.strerror or error}"


def _fits(stream: av.audio.stream.AudioStream) -> bool:
    """Whether an .mp4 begins well with this stream: tried on an empty one."""
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as container:
            container.add_stream_from_template(stream)
            container.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


class _CopiedTrack:
    """Packets as they are."""

    kind = "copied"

    def __init__(
        self, source: av.container.InputContainer, stream: av.audio.stream.AudioStream
    ) -> None:
        self._source, self._stream = source, stream

    def start(self, container: av.container.OutputContainer, start_s: float) -> None:
        self._start_s = start_s
        self._track = container.add_stream_from_template(self._stream)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def until(self, end_s: float) -> Iterator[av.Packet]:
        while self._next is not None:
            packet, time_s = self._next
            if time_s >= end_s:
                return
            self._next = next(self._packets, None)
            yield packet

    def finish(self) -> Iterator[av.Packet]:
        return iter(())

    def close(self) -> None:
        self._source.close()

    def _read(self) -> Iterator[tuple[av.Packet, float]]:
        """Packets with their times in the new file, from the one before its beginning on.

        That one is not heard (an edit list hides it), but a decoder needs it to start with the next
        one as it was.
        """
        waiting: tuple[av.Packet, float] | None = None
        last = None
        for packet in _packets(self._source, self._stream):
            clock = packet.time_base
            shift = round(Fraction(self._start_s) / clock)
            packet.pts = packet.dts = (packet.pts or 0) - shift
            packet.stream = self._track
            time_s = float(packet.pts * clock)
            if last is not None and packet.dts <= last:
                continue  # the clock runs backwards, which no container takes
            last = packet.dts
            if time_s + float((packet.duration or 0) * clock) <= 0:
                waiting = packet, time_s
                continue
            if waiting is not None:
                yield waiting
                waiting = None
            yield packet, time_s


class _CodedTrack:
    """Decoded, cut to the sample, and coded as AAC."""

    kind = "coded again"

    def __init__(
        self, source: av.container.InputContainer, stream: av.audio.stream.AudioStream
    ) -> None:
        context = stream.codec_context
        self._source, self._stream = source, stream
        self._rate_hz = context.rate if context.rate in _AAC_RATES_HZ else _AAC_RATE_ELSE_HZ
        self._layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self._resampler = av.AudioResampler("fltp", self._layout, self._rate_hz)

    def start(self, container: av.container.OutputContainer, start_s: float) -> None:
        self._start_s = start_s
        track = container.add_stream("aac", rate=self._rate_hz, layout=self._layout)
        self._track = cast(av.audio.stream.AudioStream, track)
        self._chunks = self._read()
        self._chunk: tuple[int, np.ndarray] | None = next(self._chunks, None)
        self._written = 0

    def until(self, end_s: float) -> Iterator[av.Packet]:
        end = round(end_s * self._rate_hz)
        while self._written < end and self._chunk is not None:
            begin, samples = self._chunk
            if begin >= end:
                return
            joined = round(_JOINED_S * self._rate_hz)
            if begin > self._written + joined:
                # Not all silence at once, however long it is.
                gap = min(begin - self._written, self._rate_hz)
                yield from self._encode(np.zeros((len(samples), gap), np.float32))
                continue
            skip = self._written - begin if begin < self._written - joined else 0
            count = max(end - self._written, 0)
            part, rest = samples[:, skip : skip + count], samples[:, skip + count :]
            yield from self._encode(part)
            self._chunk = (self._written, rest) if rest.shape[1] else next(self._chunks, None)

    def finish(self) -> Iterator[av.Packet]:
        yield from self._track.encode(None)

    def close(self) -> None:
        self._source.close()

    def _encode(self, samples: np.ndarray) -> Iterator[av.Packet]:
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self._layout)
        frame.sample_rate = self._rate_hz
        frame.time_base = Fraction(1, self._rate_hz)
        frame.pts = self._written
        self._written += samples.shape[1]
        yield from self._track.encode(frame)

    def _read(self) -> Iterator[tuple[int, np.ndarray]]:
        """Place of the first sample in the new file, and (channels, n) float32 samples."""
        for packet in _packets(self._source, self._stream):
            try:
                decoded = packet.decode()
            except FFmpegError:
                continue  # heard as silence
            for frame in decoded:
                if frame.pts is None:
                    continue
                begin = round((float(frame.pts * frame.time_base) - self._start_s) * self._rate_hz)
                frame.pts = None
                for part in self._resampler.resample(frame):
                    samples = part.to_ndarray()
                    before = min(max(-begin, 0), samples.shape[1])
                    if before < samples.shape[1]:
                        yield begin + before, samples[:, before:]
                    begin += samples.shape[1]


def _packets(
    source: av.container.InputContainer, stream: av.audio.stream.AudioStream
) -> Iterator[av.Packet]:
    """The packets that have a time, up to where the file breaks off."""
    try:
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet
    except FFmpegError:
        return
