"""Written videos: pictures, times, sound in step with them, and nothing left after a failure."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.error import FFmpegError

import util.videos.video_file as video_file
from data.video import VideoReader
from tests.video_files import COUNT, Sound, picture, retime, shown_number, write_file
from util.atomic import atomic_file
from util.videos.video_file import VideoWriter, WrittenVideo


def write_all(path: Path, pictures: Sequence[np.ndarray], times_s: Sequence[float]) -> WrittenVideo:
    with VideoWriter(path) as writer:
        for image, time_s in zip(pictures, times_s, strict=True):
            writer.write(image, time_s)
    return writer.result


PICTURES = [picture(number) for number in range(COUNT)]
EVEN_S = [number / 25 for number in range(COUNT)]


def test_pictures_and_even_times_come_back(tmp_path: Path):
    path = tmp_path / "new" / "ä ö.mp4"
    result = write_all(path, PICTURES, EVEN_S)
    assert result == WrittenVideo(path, COUNT, result.duration_s, "", "")
    assert result.duration_s == pytest.approx(2.4)
    assert list(path.parent.iterdir()) == [path]
    reader = VideoReader(path)
    assert reader.info.codec == "h264" and reader.info.duration_s == pytest.approx(2.4)
    np.testing.assert_allclose(reader.times_s, EVEN_S, atol=1e-9)
    for frame in reader:
        assert shown_number(frame.image) == frame.number
        assert np.abs(frame.image.astype(int) - PICTURES[frame.number]).mean() < 3
    with av.open(path) as file:
        (track,) = file.streams
        assert track.duration * track.time_base == pytest.approx(2.4)  # the last frame is shown
        frame = next(file.decode(video=0))
    # As ISO/IEC 23091-2 numbers BT.709; limited range.
    tags = frame.colorspace, frame.color_range, track.codec_context.color_primaries
    assert (*tags, track.codec_context.color_trc, frame.format.name) == (1, 1, 1, 1, "yuv420p")


def test_luma_is_that_of_bt709(tmp_path: Path):
    colour = np.array([200, 80, 40])
    path = tmp_path / "a.mp4"
    write_all(path, [np.broadcast_to(colour, (64, 64, 3)).astype(np.uint8)], [0.0])
    with av.open(path) as file:
        luma = next(file.decode(video=0)).to_ndarray()[32, 32]
    assert luma == pytest.approx(16 + 219 * (colour / 255) @ [0.2126, 0.7152, 0.0722], abs=1.5)


@pytest.mark.parametrize("rate_hz", [24000 / 1001, 30000 / 1001, 60, 50, 15])
def test_usual_rates_do_not_drift(tmp_path: Path, rate_hz: float):
    times_s = [number / rate_hz for number in range(COUNT)]
    write_all(tmp_path / "a.mp4", PICTURES, times_s)
    np.testing.assert_allclose(VideoReader(tmp_path / "a.mp4").times_s, times_s, atol=1e-5)


def test_uneven_times_are_kept_and_begin_at_zero(tmp_path: Path):
    times_s = 7.3 + np.cumsum(np.random.default_rng(0).uniform(0.005, 0.3, COUNT))
    result = write_all(tmp_path / "a.mp4", PICTURES, times_s.tolist())
    reader = VideoReader(tmp_path / "a.mp4")
    np.testing.assert_allclose(reader.times_s, times_s - times_s[0], atol=1e-5)
    assert result.duration_s == pytest.approx(2 * times_s[-1] - times_s[-2] - times_s[0], abs=1e-4)
    assert [shown_number(frame.image) for frame in reader] == list(range(COUNT))


def test_odd_sizes_get_one_more_row_and_column(tmp_path: Path):
    pictures = [image[:63, :95] for image in PICTURES[:5]]
    write_all(tmp_path / "a.mp4", pictures, EVEN_S[:5])
    frames = list(VideoReader(tmp_path / "a.mp4"))
    for frame, image in zip(frames, pictures, strict=True):
        assert frame.image.shape == (64, 96, 3)
        assert np.abs(frame.image[:63, :95].astype(int) - image).mean() < 3
        assert np.abs(frame.image[63, :95].astype(int) - image[62]).mean() < 6


def test_a_picture_may_be_drawn_into_again(tmp_path: Path):
    canvas = np.zeros((64, 96, 3), np.uint8)
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for image, time_s in zip(PICTURES, EVEN_S, strict=True):
            canvas[:] = image
            writer.write(canvas, time_s)
    frames = VideoReader(tmp_path / "a.mp4")
    assert [shown_number(frame.image) for frame in frames] == list(range(COUNT))


def test_without_libx264_it_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video_file, "_ENCODERS", ("no such encoder", "mpeg4"))
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, COUNT))
    write_all(tmp_path / "a.mp4", PICTURES, times_s.tolist())
    reader = VideoReader(tmp_path / "a.mp4")
    assert reader.info.codec == "mpeg4"
    np.testing.assert_allclose(reader.times_s, times_s - times_s[0], atol=1e-5)
    for frame in reader:
        assert np.abs(frame.image.astype(int) - PICTURES[frame.number]).mean() < 3


# Sound --------------------------------------------------------------------------------------------

FLASHES = (20, 35, 50)
"""Frames of a source at which the picture turns white for a moment, and its sound beeps."""
RATE_HZ = 44100


def source_times(first_s: float) -> np.ndarray:
    """Of 80 frames, with steps of 20, 40 and 60 ms."""
    return first_s + np.cumsum([0.0, *np.tile([0.02, 0.04, 0.06, 0.04], 20)[:79]])


def write_source(
    path: Path,
    first_s: float,
    sound_s: float,
    codec: str,
    rate_hz: int = RATE_HZ,
    *,
    even: bool = False,
) -> np.ndarray:
    """A video whose pictures and sound begin at different times.

    Returns:
        Times of its frames: uneven ones, or 25 a second from 0 on, which the codec then knows.
    """
    times_s = np.arange(80) / 25 if even else source_times(first_s)
    dark, white = (np.full((64, 96, 3), value, np.uint8) for value in (20, 235))
    lit = [any(0 <= number - flash < 3 for flash in FLASHES) for number in range(len(times_s))]
    clock = np.arange(round((3.6 - sound_s) * rate_hz)) / rate_hz + sound_s
    tone = 0.8 * np.sin(2 * np.pi * 1000 * clock)
    loud = sum(((clock >= t) & (clock < t + 0.1)).astype(float) for t in times_s[list(FLASHES)])
    write_file(
        path,
        [white if on else dark for on in lit],
        None if even else times_s.tolist(),
        sound=Sound(tone * loud, rate_hz, codec, sound_s),
    )
    return times_s


def flashes(path: Path) -> np.ndarray:
    frames = [(frame.time_s, frame.image.mean() > 128) for frame in VideoReader(path)]
    starts = [t for (t, on), (_, before) in zip(frames[1:], frames, strict=False) if on > before]
    return np.array(starts)


def heard(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of all samples that a player would play."""
    times, values = [], []
    with av.open(path) as file:
        for frame in file.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            channels = frame.layout.nb_channels
            samples = samples.reshape(-1, channels).T if samples.shape[0] != channels else samples
            start = float(frame.pts * frame.time_base)
            times.append(start + np.arange(samples.shape[1]) / frame.sample_rate)
            values.append(samples[0])
    return np.concatenate(times), np.concatenate(values)


def beeps(path: Path) -> np.ndarray:
    times, values = heard(path)
    loud = times[np.abs(values) > 0.3 * np.abs(values).max()]
    return loud[np.concatenate([[True], np.diff(loud) > 0.2])]


SOURCES = [
    ("a.mp4", "aac", "copied"),
    ("a.ts", "aac", "copied"),
    ("a.mkv", "libmp3lame", "copied"),
    ("a.mkv", "ac3", "copied"),
    ("a.mkv", "libopus", "copied"),
    ("a.mkv", "pcm_s16le", "coded again"),
    ("a.mkv", "flac", "coded again"),
]


@pytest.mark.parametrize("starts", [(0.48, 0.2), (0.2, 0.52), (0.0, 0.0)])
@pytest.mark.parametrize(("name", "codec", "kind"), SOURCES)
def test_sound_stays_with_the_pictures(
    tmp_path: Path, name: str, codec: str, kind: str, starts: tuple[float, float]
):
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {codec}")
    source, path = tmp_path / name, tmp_path / "out.mp4"
    write_source(source, *starts, codec, 48000 if codec == "libopus" else RATE_HZ)
    reader = VideoReader(source)
    offset_s = beeps(source) - flashes(source)  # what the source itself is out of step
    assert np.abs(offset_s).max() < 0.03
    for start, stop in ((0, len(reader)), (13, 62)):
        with VideoWriter(path, audio_from=source) as writer:
            for frame in reader.frames(start, stop):
                writer.write(frame.image, frame.time_s)
        assert (writer.result.audio, writer.result.problem) == (kind, "")
        seen = flashes(path)
        np.testing.assert_allclose(seen, (reader.times_s - reader.times_s[start])[list(FLASHES)])
        np.testing.assert_allclose(beeps(path) - seen, offset_s, atol=0.003)
        times, _ = heard(path)
        assert times[0] > -0.003
        assert times[-1] < writer.result.duration_s + 0.06  # no more than a packet


def test_sound_stays_with_pictures_whose_clock_is_broken(tmp_path: Path):
    """As far as may be: both begin together, and the codec knows the rate."""
    source = tmp_path / "source.mkv"
    times_s = write_source(source, 0.0, 0.0, "aac", even=True)
    source = retime(source, tmp_path / "broken.mkv", lambda number: 100_000 - 10 * number)
    with VideoWriter(tmp_path / "copy.mp4", audio_from=source) as writer:
        for frame in VideoReader(source):
            writer.write(frame.image, frame.time_s)
    expected = times_s[list(FLASHES)]
    np.testing.assert_allclose(flashes(writer.result.path), expected, atol=1e-3)
    np.testing.assert_allclose(beeps(writer.result.path), expected, atol=0.05)


def test_sound_with_holes_stays_with_the_pictures(tmp_path: Path):
    whole, source, path = tmp_path / "a.mkv", tmp_path / "b.mkv", tmp_path / "out.mp4"
    times_s = write_source(whole, 0.0, 0.0, "pcm_s16le")
    with av.open(whole) as old, av.open(source, "w") as new:
        tracks = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            time_s = float((packet.pts or 0) * packet.time_base)
            if not packet.size or (packet.stream.type == "audio" and 1.0 < time_s < 1.3):
                continue
            packet.stream = tracks[packet.stream.index]
            new.mux(packet)
    with VideoWriter(path, audio_from=source) as writer:
        for frame in VideoReader(source):
            writer.write(frame.image, frame.time_s)
    np.testing.assert_allclose(beeps(path), times_s[list(FLASHES)], atol=0.01)
    assert writer.result.audio == "coded again" and len(times_s) == writer.result.frame_count


def test_sound_that_cannot_be_kept_is_told_and_the_pictures_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source, path = tmp_path / "a.mkv", tmp_path / "out.mp4"
    write_source(source, 0.0, 0.0, "pcm_s16le")
    reader = VideoReader(source)

    def refuse(*_: Any) -> None:
        raise FFmpegError(1, "no such resampler")

    monkeypatch.setattr(av, "AudioResampler", refuse)
    with VideoWriter(path, audio_from=source) as writer:
        for frame in reader:
            writer.write(frame.image, frame.time_s)
    assert writer.result.audio == ""
    assert "a.mkv is not kept: no such resampler" in writer.result.problem
    assert len(VideoReader(path)) == len(reader) and not VideoReader(path).info.has_audio


def test_a_source_without_sound_is_no_problem(tmp_path: Path):
    source, path = write_file(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    with VideoWriter(path, audio_from=source) as writer:
        writer.write(PICTURES[0], 0.0)
    assert (writer.result.audio, writer.result.problem) == ("", "")
    assert writer.result.duration_s == pytest.approx(0.04)


def test_sound_of_a_damaged_source_is_copied_as_far_as_it_goes(tmp_path: Path):
    source, path = tmp_path / "a.mkv", tmp_path / "out.mp4"
    times_s = write_source(source, 0.0, 0.0, "aac")
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 3 // 4])
    with VideoWriter(path, audio_from=source) as writer:
        for frame in VideoReader(source):
            writer.write(frame.image, frame.time_s)
    assert writer.result.audio == "copied"
    count = len(beeps(path))
    assert 1 <= count < 3
    np.testing.assert_allclose(beeps(path), times_s[list(FLASHES[:count])], atol=0.01)


# Failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, b"the old file"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(
    tmp_path: Path, old: bytes | None, error: type[BaseException]
):
    path = tmp_path / "a.mp4"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error, match="by the caller"), VideoWriter(path) as writer:
        for image, time_s in zip(PICTURES, EVEN_S, strict=True):
            writer.write(image, time_s)
        raise error("by the caller")
    assert list(tmp_path.iterdir()) == ([] if old is None else [path])
    assert old is None or path.read_bytes() == old
    with pytest.raises(RuntimeError, match="is not written yet"):
        _ = writer.result


class SmallDisk:
    """A file on a disk that fills up."""

    def __init__(self, file: Any, space: int) -> None:
        self._file, self._space = file, space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes) -> int:
        if self._file.tell() + len(content) > self._space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(content)


@pytest.mark.parametrize("space", [0, 40_000])
def test_a_full_disk_is_an_os_error_with_the_name_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int
):
    @contextmanager
    def small(path: Path):
        with atomic_file(path) as file:
            yield SmallDisk(file, space)

    monkeypatch.setattr(video_file, "atomic_file", small)
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 64, 96, 3)).astype(np.uint8)
    with pytest.raises(OSError, match="No space") as error:
        write_all(path, list(noise), EVEN_S)
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError), VideoWriter(tmp_path / "file" / "a.mp4"):
        pass


def test_wrong_frames_are_refused(tmp_path: Path):
    path = tmp_path / "a.mp4"
    for wrong, time_s, words in (
        (PICTURES[1][:32], 0.04, "of one size"),
        (PICTURES[1].astype(np.float32), 0.04, "float32"),
        (PICTURES[1], 0.0, "must rise"),
        (PICTURES[1], -1.0, "must rise"),
        (PICTURES[1], float("nan"), "must rise"),
    ):
        with pytest.raises(ValueError, match=words), VideoWriter(path) as writer:
            writer.write(PICTURES[0], 0.0)
            writer.write(wrong, time_s)
    with pytest.raises(ValueError, match="of one size"), VideoWriter(path) as writer:
        writer.write(PICTURES[0][..., 0], 0.0)
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_length(tmp_path: Path):
    source = tmp_path / "a.mkv"
    write_source(source, 0.0, 0.0, "pcm_s16le")
    image = picture(0, (240, 320))
    tracemalloc.start()
    try:
        with VideoWriter(tmp_path / "a.mp4", audio_from=source) as writer:
            for number in range(300):
                writer.write(image, number / 25)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * image.nbytes
