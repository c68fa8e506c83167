"""Read videos frame by frame: every video enters the program through `VideoReader`.

Any format of the installed decoder, with constant or variable frame rate. Pictures come upright,
with square pixels, in RGB by the stream's own colour tags. What is broken is left out and told; it
never ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from data.images import MAX_MEGAPIXELS, MIN_SIDE_PX
from data.video_picture import PictureConverter, PictureForm
from data.video_stream import PacketIndex, open_video, packets_from, scan_packets
from util.errors import InputError

_WORTH_A_JUMP = 8
"""Frames that are rather decoded than jumped over: a jump empties the decoder."""
_NAMED_PARTS = 5
"""Places of damage that a sentence lists."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its frames are read."""

    path: Path
    width: int
    """Of every picture, upright and with square pixels."""
    height: int
    frame_count: int
    """Frames in the file, broken ones too."""
    frame_rate_hz: float
    """Mean over the video; the times of a recording need not be evenly spaced."""
    start_s: float
    """Time of the first frame on the clock of the file, which sound uses too; often not 0."""
    duration_s: float
    """From the first frame to the end of the last one."""
    codec: str
    """Such as `h264`."""
    rotation_deg: int
    """Counter-clockwise turn that made the pictures upright: 0, 90, 180 or 270."""
    has_audio: bool
    clock_fault: str = ""
    """What is wrong with the times in the file, and what stands in their place, for a report; ""
    for nothing."""


@dataclass(frozen=True)
class VideoFrame:
    """One picture of a video."""

    number: int
    """Place in the order of presentation, from 0; broken frames keep theirs."""
    time_s: float
    """When it is shown, on the clock of the file."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB, upright, square pixels."""


@dataclass(frozen=True)
class VideoDamage:
    """What of a video could not be decoded."""

    numbers: tuple[int, ...] = ()
    """Broken frames, rising."""
    lost_at_end: int = 0
    """About how many frames are missing where the file was cut off."""

    def __bool__(self) -> bool:
        return bool(self.numbers or self.lost_at_end)

    def __or__(self, other: VideoDamage) -> VideoDamage:
        """What either reader of the same video found."""
        numbers = sorted({*self.numbers, *other.numbers})
        return VideoDamage(tuple(numbers), max(self.lost_at_end, other.lost_at_end))

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last number of each unbroken run of broken frames."""
        runs = groupby(enumerate(self.numbers), key=lambda pair: pair[1] - pair[0])
        parts = [[number for _, number in run] for _, run in runs]
        return tuple((part[0], part[-1]) for part in parts)

    def sentence(self) -> str:
        """For a report, such as `3 frames are broken and left out (40, 52-53)`; "" for none."""
        told = []
        if self.numbers:
            parts = [str(a) if a == b else f"{a}-{b}" for a, b in self.ranges]
            more = ", ..." if len(parts) > _NAMED_PARTS else ""
            frames = "1 frame is" if len(self.numbers) == 1 else f"{len(self.numbers)} frames are"
            told.append(f"{frames} broken and left out ({', '.join(parts[:_NAMED_PARTS])}{more})")
        if self.lost_at_end:
            told.append(f"the file was cut off, about {self.lost_at_end} frames are missing")
        return "; ".join(told)


class VideoReader:
    """Reads one video, from its beginning or at chosen frames, any number of times.

    It holds no open file between readings, and 17 bytes for each frame of the video; it can be sent
    to other processes, each of which then reads its part.
    """

    def __init__(self, path: Path | str) -> None:
        """List the frames and decode the first one.

        Raises:
            InputError: no such file, not a video, or no frame that can be decoded; the message
                names the file, what it is and the remedy.
        """
        self._path = Path(path)
        self._index = scan_packets(self._path)
        self._broken: set[int] = set()
        with _Decoder(self._path, self._index) as decoder:
            first = decoder.next_frame(0)
        if first is None:
            raise InputError(
                f"{self._path}: none of its {len(self._index)} frames can be decoded; copy it "
                "again, or convert it with the program that made it"
            )
        with open_video(self._path) as (container, stream):
            self._form = PictureForm.of(first[1], stream.sample_aspect_ratio)
            codec = stream.codec_context.name
            has_audio = bool(container.streams.audio)
        self.info = self._describe(codec, has_audio)

    def __len__(self) -> int:
        """Frames in the file, broken ones too."""
        return len(self._index)

    def __iter__(self) -> Iterator[VideoFrame]:
        return self.frames()

    @property
    def times_s(self) -> np.ndarray:
        """(frame_count,) float64 time of each frame, strictly rising."""
        return self._index.times_s.copy()

    @property
    def damage(self) -> VideoDamage:
        """What the readings so far could not decode, each frame once."""
        return VideoDamage(tuple(sorted(self._broken)), self._index.lost_at_end)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[VideoFrame]:
        """The frames from `start` up to before `stop`, in the order of presentation.

        Numbers that do not exist are no error, as in a slice. One picture is in memory at a time.
        Broken frames are left out; see `damage` afterwards.
        """
        return self._read(range(*slice(start, stop).indices(len(self))))

    def read(self, numbers: Iterable[int]) -> Iterator[VideoFrame]:
        """Chosen frames by rising number, each once; broken ones are left out.

        The video is gone through once, with a jump wherever that saves decoding.

        Args:
            numbers: in any order.

        Raises:
            ValueError: a frame that does not exist.
        """
        wanted = sorted(set(numbers))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise ValueError(
                f"{self._path} has frames 0 to {len(self) - 1}, not {wanted[0]} to {wanted[-1]}"
            )
        return self._read(wanted)

    def _read(self, numbers: Sequence[int]) -> Iterator[VideoFrame]:
        converter = PictureConverter(self._form)
        with _Decoder(self._path, self._index) as decoder:
            for number in numbers:
                image = decoder.picture(number, converter)
                if image is None:
                    self._broken.add(number)
                else:
                    yield VideoFrame(number, float(self._index.times_s[number]), image)

    def _describe(self, codec: str, has_audio: bool) -> VideoInfo:
        width, height = self._form.shown_size
        if width * height > MAX_MEGAPIXELS * 1e6 or min(width, height) < MIN_SIDE_PX:
            raise InputError(
                f"{self._path} is {width} x {height} pixels; each side needs at least "
                f"{MIN_SIDE_PX}, and more than {MAX_MEGAPIXELS} megapixels are not read"
            )
        times_s = self._index.times_s
        steps = np.diff(times_s)
        step_s = float(steps.mean()) if len(steps) else 1 / 25
        return VideoInfo(
            path=self._path,
            width=width,
            height=height,
            frame_count=len(self._index),
            frame_rate_hz=1 / step_s,
            start_s=float(times_s[0]),
            duration_s=float(times_s[-1] - times_s[0]) + step_s,
            codec=codec,
            rotation_deg=self._form.orientation.rotation_deg,
            has_audio=has_audio,
            clock_fault=self._index.clock_fault,
        )


class _Decoder:
    """Decodes forward to one frame after the other, jumping ahead where that is worth it."""

    def __init__(self, path: Path, index: PacketIndex) -> None:
        self._path, self._index = path, index
        self._stack = ExitStack()
        self._can_jump = index.ticks is not None
        self._asked = 0
        self._restart()

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def picture(self, number: int, converter: PictureConverter) -> np.ndarray | None:
        """A frame as RGB, None if it is broken.

        Args:
            number: not lower than in the call before.
            converter: of the stream.
        """
        found = self.next_frame(number)
        if found is None or found[0] != number:
            return None
        try:
            return converter.rgb(found[1])
        except FFmpegError:
            return None

    def next_frame(self, number: int) -> tuple[int, av.VideoFrame] | None:
        """The first whole frame from `number` on, with its number; None after the last one."""
        key = self._jump(number)
        self._asked = number
        if key is not None:
            self._at = next(self._decoded, None)
            if self._at is None or self._at[0] > key:
                # Either the key frame is broken, or the container jumps inexactly.
                self._can_jump = False
                self._restart()
        while self._at is None or self._at[0] < number:
            self._at = next(self._decoded, None)
            if self._at is None:
                break
        return self._at

    def _restart(self) -> None:
        self._stack.close()
        self._container, self._stream = self._stack.enter_context(open_video(self._path))
        self._decoded = self._decode()
        self._at: tuple[int, av.VideoFrame] | None = None

    def _jump(self, number: int) -> int | None:
        """Go to the key frame where the decoding of a frame begins, if that lies well ahead."""
        reached = self._at[0] if self._at else self._asked
        if not self._can_jump or number - reached <= _WORTH_A_JUMP:
            return None
        assert self._index.ticks is not None
        key = self._index.key_before(number)
        if key - reached <= _WORTH_A_JUMP:
            return None
        try:
            self._container.seek(int(self._index.ticks[key]), stream=self._stream)
        except FFmpegError:
            self._can_jump = False
            self._restart()
            return None
        self._decoded, self._at = self._decode(), None
        return key

    def _decode(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Whole frames with rising numbers, from where the container stands."""
        ticks = self._index.ticks
        number = -1
        for packet in packets_from(self._container, self._stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                # Where frames are known by their times, the missing one shows by its gap.
                number += ticks is None
                continue
            for frame in frames:
                number += 1
                if ticks is not None and frame.pts is not None:
                    number = max(self._index.number(frame.pts), number)
                if number >= len(self._index):
                    return
                # What a decoder patches up from neighbours is no picture of this moment.
                if not frame.is_corrupt:
                    yield number, frame
