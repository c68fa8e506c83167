"""Write videos that every player takes: H.264 in .mp4, with the sound of the source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, cast

import av
import av.container
import av.video.stream
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from util.atomic import atomic_file
from util.videos.video_audio import AudioTrack, open_audio

CLOCK_HZ = 60000
"""Ticks a second: the usual frame rates, 1/1.001 of them too, are whole numbers of ticks, but for
23.976 Hz, where times are rounded by 8 microseconds. MPEG-4's encoder takes no finer clock."""
_ENCODERS = ("libx264", "mpeg4")
"""The first that PyAV was built with. All wheels have both."""
_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "18"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(118 * 3)},
}
"""Hardly to be told from the source: libx264's constant rate factor, and a quantiser of 3 in the
units of libavcodec."""
_ENCODER_THREADS = 2
_BT709, _LIMITED = 1, 1
"""Colour tags of ISO/IEC 23091-2, and limited range as libavutil numbers it."""
_LAST_FRAME_S = 1 / 25
"""How long a single frame is shown."""


@dataclass(frozen=True)
class WrittenVideo:
    """What became of a video that was written."""

    path: Path
    frame_count: int
    duration_s: float
    audio: str
    """`copied`, `coded again`, or "" for none."""
    problem: str
    """Why the sound was not kept, "" if it was or there is none."""


class VideoWriter:
    """Writes frames at their own times; the file appears when the `with` block succeeds.

    Until then there is a temporary file beside it, which is gone after any exception. Memory does
    not grow with the length.
    """

    def __init__(self, path: Path | str, audio_from: Path | str | None = None) -> None:
        """Set up; nothing is written yet.

        Args:
            path: the .mp4 to write.
            audio_from: video whose sound is kept. The times that `write` gets are then those of
                its clock, as `data.video.VideoFrame.time_s` is.
        """
        self._path = Path(path)
        self._audio_from = Path(audio_from) if audio_from is not None else None
        self._result: WrittenVideo | None = None

    @property
    def result(self) -> WrittenVideo:
        """What was written; only after the `with` block."""
        if self._result is None:
            raise RuntimeError(f"{self._path} is not written yet")
        return self._result

    def __enter__(self) -> VideoWriter:
        self._encoder: _Encoder | None = None
        self._audio: AudioTrack | None = None
        self._problem = ""
        self._count = 0
        self._writing = self._open()
        self._writing.__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool | None:
        return self._writing.__exit__(*raised)

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) uint8 RGB, all of one size.
            time_s: when it is shown, in seconds, later than the frame before. The first one becomes
                the beginning of the file; the last one is shown as long as the one before it.

        Raises:
            ValueError: another size or type, or a time that does not rise.
            OSError: no space, no permission.
        """
        with self._disk.refusals():
            if self._encoder is None:
                self._start(image, time_s)
            assert self._encoder is not None
            self._encoder.write(image, time_s)
            self._sound_until(self._encoder.ended_s)
        self._count += 1

    @contextmanager
    def _open(self) -> Iterator[None]:
        with atomic_file(self._path) as file:
            self._disk = _Disk(file, self._path)
            try:
                yield
                with self._disk.refusals():
                    self._finish()
            finally:
                self._close()

    def _start(self, image: np.ndarray, time_s: float) -> None:
        self._container = av.open(self._disk, "w", format="mp4")
        self._encoder = _Encoder(self._container, image, time_s)
        if self._audio_from is not None:
            self._audio, self._problem = open_audio(self._audio_from)
        if self._audio is not None:
            self._audio.start(self._container, time_s)

    def _sound_until(self, end_s: float) -> None:
        if self._audio is not None:
            self._add_sound(self._audio.until(end_s))

    def _add_sound(self, packets: Iterator[av.Packet]) -> None:
        """Put packets of sound into the file; what it refuses ends the sound, not the video."""
        try:
            for packet in packets:
                self._container.mux(packet)
        except FFmpegError as error:
            if self._disk.refused is not None or self._audio is None:
                raise
            self._problem = f"the sound of {self._audio_from} ends early: {error.strerror or error}"
            self._audio.close()
            self._audio = None

    def _finish(self) -> None:
        if self._encoder is None:
            raise ValueError(f"no frame was written to {self._path}")
        self._encoder.finish()
        self._sound_until(self._encoder.ended_s)
        if self._audio is not None:
            self._add_sound(self._audio.finish())
        self._container.close()
        self._disk.flush()
        audio = self._audio.kind if self._audio is not None else ""
        self._result = WrittenVideo(
            self._path, self._count, self._encoder.ended_s, audio, self._problem
        )

    def _close(self) -> None:
        if self._audio is not None:
            self._audio.close()
        if self._encoder is not None:
            # After a failure the file cannot be completed, and that is no news.
            with suppress(FFmpegError, OSError, ValueError):
                self._container.close()


class _Encoder:
    """The track of pictures: codes each frame once it is known how long it is shown."""

    def __init__(
        self, container: av.container.OutputContainer, image: np.ndarray, start_s: float
    ) -> None:
        self._container = container
        self._start_s = start_s
        self._shape = image.shape
        self._waiting: tuple[np.ndarray, int] | None = None
        self._ended = 0
        self._durations: dict[int, int] = {}
        self._last_duration = round(_LAST_FRAME_S * CLOCK_HZ)
        self._reformatter = VideoReformatter()
        height, width = (side + side % 2 for side in image.shape[:2])
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = container.add_stream(name, rate=25, options=_OPTIONS[name])
        self._stream = cast(av.video.stream.VideoStream, stream)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, CLOCK_HZ)
        context.thread_count = _ENCODER_THREADS
        context.color_range = _LIMITED
        context.colorspace = context.color_primaries = context.color_trc = _BT709

    @property
    def ended_s(self) -> float:
        """End of the last frame whose duration is known, from the beginning of the file on."""
        return self._ended / CLOCK_HZ

    def write(self, image: np.ndarray, time_s: float) -> None:
        if image.dtype != np.uint8 or image.shape != self._shape or image.shape[2:] != (3,):
            raise ValueError(
                f"frames of a video are (H, W, 3) uint8 of one size; got {image.dtype} "
                f"{image.shape} after {self._shape}"
            )
        if not math.isfinite(time_s):
            raise ValueError(f"times of frames must rise, not be {time_s}")
        tick = round((time_s - self._start_s) * CLOCK_HZ)
        if self._waiting is not None:
            if tick <= self._waiting[1]:
                raise ValueError(f"times of frames must rise; {time_s} s comes after a later one")
            self._encode(*self._waiting, tick - self._waiting[1])
        # A copy, since the caller may draw the next frame into the same array.
        self._waiting = image.copy(), tick

    def finish(self) -> None:
        assert self._waiting is not None
        self._encode(*self._waiting, self._last_duration)
        self._mux(self._stream.encode(None))

    def _encode(self, image: np.ndarray, tick: int, duration: int) -> None:
        self._last_duration = self._durations[tick] = duration
        self._ended = tick + duration
        odd_rows, odd_columns = (side % 2 for side in image.shape[:2])
        if odd_rows or odd_columns:  # 4:2:0 stores a colour for two by two pixels
            image = np.pad(image, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(image, "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )
        frame.colorspace, frame.color_range = _BT709, _LIMITED
        frame.pts, frame.time_base = tick, Fraction(1, CLOCK_HZ)
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # Without it the last frame would have no length, and players would not show it.
            if packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)


class _Disk:
    """The file as the encoder writes it; remembers what the disk refused, which PyAV may hide."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self.refused: OSError | None = None

    def write(self, content: bytes) -> int:
        with self._remembered():
            return self._file.write(content)

    def flush(self) -> None:
        with self._remembered():
            self._file.flush()

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._remembered():  # which writes what is buffered
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Let what the disk refused in this block be seen, with the name of the file."""
        try:
            yield
        except Exception as error:
            if self.refused is None:
                raise
            refused = self.refused
            raise OSError(refused.errno, refused.strerror, str(self._path)) from error

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.refused = self.refused or error
            raise
