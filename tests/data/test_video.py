"""Videos as users have them: formats, clocks, cameras held any way, colours, and broken files."""

from __future__ import annotations

import contextlib
import gc
import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import data.video as video_module
from data.images import write_image
from data.video import VideoDamage, VideoFrame, VideoReader
from tests.video_files import (
    COUNT,
    SIZE,
    Sound,
    hide_copies,
    overwrite,
    packet_places,
    picture,
    retime,
    set_display_matrix,
    shown_number,
    write_file,
)
from util.errors import InputError


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames with B-frames, a key frame every 12, the list of frames in front."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_file(path, container={"movflags": "faststart"})


@pytest.fixture
def own_clip(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "own.mp4"
    path.write_bytes(clip.read_bytes())
    return path


def numbers(frames: list[VideoFrame]) -> list[int]:
    return [frame.number for frame in frames]


def count_packets(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """A list that grows by each packet that goes to the decoder from now on."""
    decoded: list[int | None] = []
    packets_from = video_module.packets_from

    def counted(*arguments):
        for packet in packets_from(*arguments):
            decoded.append(packet.pts)
            yield packet

    monkeypatch.setattr(video_module, "packets_from", counted)
    return decoded


FORMATS = {
    "a.mp4": {},
    "a.mkv": {},
    "a.mov": {"codec": "mpeg4"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "a.webm": {"codec": "libvpx-vp9"},
    "vp8.webm": {"codec": "libvpx"},
    "a.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "a.ts": {},
    "a.mpg": {"codec": "mpeg2video"},
    "a.flv": {},
    "a.gif": {"codec": "gif", "pixels": "rgb8"},
    "raw.h264": {"form": "h264"},
    "ä ö 顔%d.mp4": {},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_frame_comes_in_order_with_its_time(tmp_path: Path, name: str):
    settings = FORMATS[name]
    if settings.get("codec", "libx264") not in av.codecs_available:
        pytest.skip(f"PyAV was built without {settings['codec']}")
    reader = VideoReader(write_file(tmp_path / name, **settings))
    frames = list(reader)
    assert numbers(frames) == list(range(COUNT)) and len(reader) == COUNT
    assert [shown_number(frame.image) for frame in frames] == numbers(frames)
    steps = np.diff([frame.time_s for frame in frames])
    np.testing.assert_allclose(steps, 0.04, atol=1e-6)
    np.testing.assert_array_equal(reader.times_s, [frame.time_s for frame in frames])
    assert all(frame.image.shape == (*SIZE, 3) for frame in frames)
    assert all(frame.image.dtype == np.uint8 for frame in frames)
    assert not reader.damage and reader.damage.sentence() == ""
    info = reader.info
    assert bool(info.clock_fault) == (name == "raw.h264")
    assert (info.height, info.width, info.frame_count) == (*SIZE, COUNT)
    assert info.frame_rate_hz == pytest.approx(25) and info.duration_s == pytest.approx(2.4)
    assert info.start_s == frames[0].time_s and info.rotation_deg == 0 and not info.has_audio
    wanted = [59, 3, 40, 41]
    for frame in reader.read(wanted):
        np.testing.assert_array_equal(frame.image, frames[frame.number].image)


def test_uneven_times_and_a_late_start_are_kept(tmp_path: Path):
    steps = np.random.default_rng(0).integers(8, 200, COUNT) / 1000
    times_s = 3.7 + np.cumsum(steps)
    path = write_file(tmp_path / "a.mkv", times_s=times_s.tolist())
    reader = VideoReader(path)
    np.testing.assert_allclose([f.time_s for f in reader], times_s, atol=1e-3)
    assert reader.info.start_s == pytest.approx(times_s[0], abs=1e-3)
    assert reader.info.frame_rate_hz == pytest.approx(59 / (times_s[-1] - times_s[0]), rel=1e-3)


# How a camera that is held one of eight ways stores an upright picture, and how it says so: each
# matrix by where it moves the first stored pixel's right and lower neighbours (ISO/IEC 14496-12).
HELD = {
    "upright": (lambda p: p, (1, 0, 0, 1), 0),
    "shown clockwise": (lambda p: np.rot90(p, 1), (0, 1, -1, 0), 270),
    "upside down": (lambda p: np.rot90(p, 2), (-1, 0, 0, -1), 180),
    "shown counter-clockwise": (lambda p: np.rot90(p, -1), (0, -1, 1, 0), 90),
    "mirrored": (lambda p: p[:, ::-1], (-1, 0, 0, 1), 0),
    "mirrored upside down": (lambda p: p[::-1], (1, 0, 0, -1), 180),
    "transposed": (lambda p: p.swapaxes(0, 1), (0, 1, 1, 0), 270),
    "transposed upside down": (lambda p: np.rot90(p, 2).swapaxes(0, 1), (0, -1, -1, 0), 90),
}


@pytest.mark.parametrize("name", HELD)
def test_pictures_come_upright(tmp_path: Path, name: str):
    store, matrix, rotation_deg = HELD[name]
    upright = [picture(n) for n in range(3)]
    path = write_file(tmp_path / "a.mp4", [np.ascontiguousarray(store(p)) for p in upright])
    set_display_matrix(path, matrix)
    reader = VideoReader(path)
    assert reader.info.rotation_deg == rotation_deg
    assert (reader.info.height, reader.info.width) == SIZE
    for frame in reader:
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - upright[frame.number]).mean() < 4


@pytest.mark.parametrize(
    ("ratio", "shape"),
    [(Fraction(4, 3), (64, 128)), (Fraction(3, 4), (85, 96)), (Fraction(1), SIZE)],
)
def test_pixels_become_square(tmp_path: Path, ratio: Fraction, shape: tuple[int, int]):
    path = write_file(tmp_path / "a.mp4", pixel_ratio=ratio)
    reader = VideoReader(path)
    frame = next(iter(reader))
    assert frame.image.shape == (*shape, 3)
    assert (reader.info.height, reader.info.width) == shape
    wide = np.asarray(
        Image.fromarray(picture(0)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    )
    assert np.abs(frame.image.astype(int) - wide).mean() < 4
    set_display_matrix(path, (0, 1, -1, 0))
    assert next(iter(VideoReader(path))).image.shape == (*shape[::-1], 3)


def yuv_to_rgb(yuv: tuple[int, int, int], red: float, blue: float, full: bool) -> np.ndarray:
    """ITU-T H.273, equations 38 to 46, in floating point: weights of red and blue in luma."""
    y, u, v = yuv
    luma = y / 255 if full else (y - 16) / 219
    u_part, v_part = ((c - 128) / (255 if full else 224) for c in (u, v))
    r = luma + 2 * (1 - red) * v_part
    b = luma + 2 * (1 - blue) * u_part
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.array([r, g, b]), 0, 255)


BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


@pytest.mark.parametrize(
    ("tag", "full", "size", "weights"),
    [
        (1, False, (64, 96), BT709),
        (1, True, (64, 96), BT709),
        (5, False, (64, 96), BT601),
        (6, True, (64, 96), BT601),
        (6, False, (720, 1280), BT601),
        # Without a tag the size decides, as in players.
        (2, False, (576, 720), BT601),
        (2, False, (720, 1280), BT709),
    ],
)
def test_colours_follow_the_tags(
    tmp_path: Path, tag: int, full: bool, size: tuple[int, int], weights: tuple[float, float]
):
    yuv = (120, 90, 180)
    height, width = size
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as file:
        track = file.add_stream("ffv1", rate=25)
        track.height, track.width, track.pix_fmt = height, width, "yuv420p"
        context = track.codec_context
        context.colorspace, context.color_range = tag, 2 if full else 1
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, value in zip(frame.planes, yuv, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace, frame.color_range, frame.pts = tag, 2 if full else 1, 0
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    image = next(iter(VideoReader(path))).image
    expected = yuv_to_rgb(yuv, *weights, full=full)
    # libswscale's fast conversion is up to two levels darker.
    np.testing.assert_allclose(image[height // 2, width // 2], expected, atol=2.5)


def test_chosen_frames_are_those_of_the_whole_pass_with_little_decoded(
    clip: Path, monkeypatch: pytest.MonkeyPatch
):
    reader = VideoReader(clip)
    whole = {frame.number: frame.image for frame in reader}
    decoded = count_packets(monkeypatch)
    chosen = list(reader.read(iter([50, 3, 50, 4])))
    assert numbers(chosen) == [3, 4, 50]
    for frame in chosen:
        np.testing.assert_array_equal(frame.image, whole[frame.number])
    assert len(decoded) < 30
    assert list(reader.read([])) == []
    for wrong in ([0, COUNT], [-1]):
        with pytest.raises(ValueError, match="has frames 0 to 59"):
            reader.read(wrong)


def test_parts_join_to_the_whole_also_in_another_process(clip: Path):
    reader = VideoReader(clip)
    whole = list(reader)
    copy = pickle.loads(pickle.dumps(reader))
    joined = [*copy.frames(0, 31), *reader.frames(31, 45), *copy.frames(45)]
    assert numbers(joined) == numbers(whole)
    for a, b in zip(joined, whole, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert numbers(list(reader.frames(57, 1000))) == [57, 58, 59]
    assert list(reader.frames(10, 10)) == [] == list(reader.frames(100))


def test_memory_does_not_grow_with_the_length(tmp_path: Path):
    size = (240, 320)
    pictures = [picture(n, size) for n in range(40)] * 5
    path = write_file(tmp_path / "a.mp4", pictures, codec="mpeg4")
    reader = VideoReader(path)
    tracemalloc.start()
    try:
        count = sum(1 for _ in reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 200
    assert peak < 4 * 3 * size[0] * size[1]


def times_open(path: Path) -> int:
    """How often this process holds the file open; what other tests leave to the garbage collector
    does not count."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since it was listed
            targets.append(link.resolve())
    return targets.count(path.resolve())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_reading_that_is_given_up_closes_its_file(clip: Path):
    reader = VideoReader(clip)
    for _ in reader:
        assert times_open(clip) == 1
        break
    gc.collect()
    assert times_open(clip) == 0


# Broken files ------------------------------------------------------------------------------------


def test_a_broken_frame_is_left_out_and_told(own_clip: Path):
    whole = {frame.number: frame.image for frame in VideoReader(own_clip)}
    places = packet_places(own_clip)
    begin, size, number, key = next(place for place in places[20:] if place[1] > 60)
    keys = sorted(place[2] for place in places if place[3])
    first, after = max(k for k in keys if k < number), min(k for k in keys if k > number)
    assert not key
    overwrite(own_clip, begin, size)
    reader = VideoReader(own_clip)
    assert len(reader) == COUNT and not reader.damage
    for _ in range(2):  # told once, however often it is met
        frames = list(reader)
        damage = reader.damage
        assert number in damage.numbers and len(damage.numbers) < 6
        assert sorted([*numbers(frames), *damage.numbers]) == list(range(COUNT))
    for frame in frames:
        assert frame.time_s == pytest.approx(frame.number * 0.04)
        if not first < frame.number < after:  # what is predicted from it may show traces
            np.testing.assert_array_equal(frame.image, whole[frame.number])
    assert f"{len(damage.numbers)} frame" in damage.sentence()
    assert "broken and left out" in damage.sentence()
    assert numbers(list(reader.read([number, 59]))) == [59]
    assert numbers(list(reader.read([number]))) == []


def test_a_broken_key_frame_does_not_mislead_a_jump(own_clip: Path):
    whole = {frame.number: frame.image for frame in VideoReader(own_clip)}
    begin, size, number, _ = [place for place in packet_places(own_clip) if place[3]][2]
    overwrite(own_clip, begin, size)
    reader = VideoReader(own_clip)
    assert numbers(list(reader.read([number]))) == []
    assert number in reader.damage.numbers
    (last,) = reader.read([59])
    np.testing.assert_array_equal(last.image, whole[59])


@pytest.mark.parametrize("name", ["own.mp4", "a.mkv"])
def test_a_file_that_was_cut_off_gives_what_is_there(own_clip: Path, tmp_path: Path, name: str):
    path = tmp_path / name
    if path != own_clip:
        write_file(path)
    whole = {frame.number: frame.image for frame in VideoReader(path)}
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    reader = VideoReader(path)
    frames = list(reader)
    assert 20 < len(frames) <= len(reader) < COUNT
    for frame in frames[:-3]:
        np.testing.assert_array_equal(frame.image, whole[frame.number])
    assert abs(len(reader) + reader.damage.lost_at_end - COUNT) <= 1
    assert "was cut off" in reader.damage.sentence()


def test_a_broken_end_is_not_decoded_again_for_each_of_its_frames(
    own_clip: Path, monkeypatch: pytest.MonkeyPatch
):
    places = [place for place in packet_places(own_clip) if place[2] >= 40]
    for begin, size, _, _ in places:
        overwrite(own_clip, begin, size)
    reader = VideoReader(own_clip)
    decoded = count_packets(monkeypatch)
    assert len(list(reader)) >= 30 and set(range(48, COUNT)) <= set(reader.damage.numbers)
    assert len(decoded) == COUNT + 1  # and the end


def test_garbage_anywhere_is_never_an_exception_in_the_middle(own_clip: Path):
    content = own_clip.read_bytes()
    begin = content.index(b"mdat") + 4
    generator = np.random.default_rng(0)
    for _ in range(15):
        damaged = bytearray(content)
        for place in generator.integers(begin, len(content), 5):
            damaged[place : place + 9] = generator.bytes(9)
        own_clip.write_bytes(damaged[: len(content)])
        try:
            reader = VideoReader(own_clip)
        except InputError:
            continue
        frames = list(reader)
        assert numbers(frames) == sorted({*range(len(reader))} - {*reader.damage.numbers})


def test_damage_is_merged_and_told_briefly():
    first = VideoDamage((1, 2, 3, 7), 0)
    both = first | VideoDamage((3, 4, 9), 5)
    assert both == VideoDamage((1, 2, 3, 4, 7, 9), 5)
    assert both.ranges == ((1, 4), (7, 7), (9, 9))
    assert both.sentence() == (
        "6 frames are broken and left out (1-4, 7, 9); the file was cut off, about 5 frames are "
        "missing"
    )
    assert VideoDamage((8,)).sentence() == "1 frame is broken and left out (8)"
    assert VideoDamage(tuple(range(0, 40, 2))).sentence().endswith("(0, 2, 4, 6, 8, ...)")
    assert not VideoDamage() and VideoDamage(lost_at_end=1)


# Containers that tell less than they should -------------------------------------------------------


def test_reordered_frames_in_a_container_without_their_times(tmp_path: Path):
    path = write_file(tmp_path / "a.avi", b_frames=2)
    with av.open(path) as file:
        ticks = [frame.pts for frame in file.decode(video=0)]
    assert ticks != sorted(ticks)  # the times belong to other frames
    frames = list(VideoReader(path))
    assert [shown_number(frame.image) for frame in frames] == list(range(COUNT))
    assert np.all(np.diff([frame.time_s for frame in frames]) > 0)


def test_joined_recordings_whose_clock_begins_again(tmp_path: Path):
    path = write_file(tmp_path / "a.ts")
    path.write_bytes(path.read_bytes() * 3)
    reader = VideoReader(path)
    frames = list(reader)
    assert numbers(frames) == list(range(len(frames))) and len(frames) >= 3 * COUNT - 3
    shown = [shown_number(frame.image) for frame in frames]
    assert shown[:COUNT] == list(range(COUNT)) and shown[-10:] == list(range(50, COUNT))
    assert np.all(np.diff([frame.time_s for frame in frames]) > 0)
    assert "do not rise; frames are taken as 25 a second" in reader.info.clock_fault


def test_packets_that_show_nothing_are_no_frames(tmp_path: Path):
    if "libvpx" not in av.codecs_available:
        pytest.skip("PyAV was built without libvpx")
    hidden = hide_copies(write_file(tmp_path / "a.webm", codec="libvpx"), tmp_path / "b.webm")
    with av.open(tmp_path / "b.webm") as file:
        assert sum(1 for packet in file.demux(video=0) if packet.size) == COUNT + hidden
    assert hidden >= 4
    reader = VideoReader(tmp_path / "b.webm")
    frames = list(reader)
    assert numbers(frames) == list(range(COUNT)) and not reader.damage
    assert [shown_number(frame.image) for frame in frames] == numbers(frames)


def test_frames_that_an_edit_list_cuts_away_are_none(own_clip: Path):
    content = bytearray(own_clip.read_bytes())
    entry = content.index(b"elst") + 12  # version, flags, count, then the first entry
    duration, begin = (int.from_bytes(content[entry + i : entry + i + 4], "big") for i in (0, 4))
    cut = 15 * 512  # of 12800 ticks a second
    content[entry + 4 : entry + 8] = (begin + cut).to_bytes(4, "big")
    content[entry : entry + 4] = (duration - 600).to_bytes(4, "big")  # milliseconds
    own_clip.write_bytes(content)
    reader = VideoReader(own_clip)
    frames = list(reader)
    assert [shown_number(frame.image) for frame in frames] == list(range(15, COUNT))
    assert numbers(frames) == list(range(COUNT - 15)) and not reader.damage
    assert frames[0].time_s == pytest.approx(0)


JPEGS: dict[str, Any] = {"codec": "mjpeg", "pixels": "yuvj420p"}
"""Frames that are shown in the order of decoding."""


def test_frames_of_one_time_share_what_is_left_until_the_next(tmp_path: Path):
    source = write_file(tmp_path / "a.mkv", **JPEGS)
    stands = range(20, 30)
    path = retime(source, tmp_path / "b.mkv", lambda n: 40 * (20 if n in stands else n))
    reader = VideoReader(path)
    frames = list(reader)
    assert [shown_number(frame.image) for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose(reader.times_s, 0.04 * np.arange(COUNT), atol=1e-9)
    assert reader.info.clock_fault.startswith("9 of its 60 frames have the time of the one before;")
    assert [frame.number for frame in reader.read([3, 25, 59])] == [3, 25, 59]
    pairs = VideoReader(retime(source, tmp_path / "c.mkv", lambda n: 40 * (n // 2)))
    np.testing.assert_allclose(pairs.times_s[:-1], 0.02 * np.arange(COUNT - 1), atol=1e-9)


ANYHOW = np.random.default_rng(0).integers(0, 2400, COUNT).tolist()
BROKEN_CLOCKS = {
    "stands still": (lambda n: 0, "all its 60 frames have one time"),
    "runs backwards": (lambda n: 100_000 - 40 * n, "the times of its frames do not rise"),
    "in no order": (lambda n: ANYHOW[n], "the times of its frames do not rise"),
    "begins again": (lambda n: 40 * (n % 40), "the times of its frames do not rise"),
    # What a muxer makes of packets that it gets no times of.
    "missing": (lambda n: None, "its 60 frames are said to last 0.059 seconds"),
}


@pytest.mark.parametrize("name", BROKEN_CLOCKS)
def test_a_broken_clock_is_told_and_a_constant_rate_taken(tmp_path: Path, name: str):
    """By the length of the sound, since no other rate is left; it begins where the sound does."""
    ticks, fault = BROKEN_CLOCKS[name]
    late = Sound(np.zeros(int(44100 * 2.4)), codec="pcm_s16le", start_s=0.2)
    source = write_file(tmp_path / "a.mkv", sound=late, **JPEGS)
    reader = VideoReader(retime(source, tmp_path / "b.mkv", ticks))
    frames = list(reader)
    assert numbers(frames) == [shown_number(frame.image) for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose(np.diff(reader.times_s), 0.04, atol=1e-4)
    assert reader.times_s[0] == pytest.approx(0.2, abs=0.3)  # of two wrong clocks the sound's
    told = f"{fault}; frames are taken as 25 a second, and may be out of step with the sound"
    assert reader.info.clock_fault == told
    assert reader.info.frame_rate_hz == pytest.approx(25, abs=0.05) and not reader.damage


def test_reordered_frames_with_a_broken_clock_come_in_order(tmp_path: Path):
    """The rate is the codec's own, and nothing is said of a sound that is not there."""
    source = write_file(tmp_path / "a.mkv", b_frames=2)
    reader = VideoReader(retime(source, tmp_path / "b.mkv", lambda n: 100_000 - 10 * n))
    assert [shown_number(frame.image) for frame in reader] == list(range(COUNT))
    np.testing.assert_allclose(reader.times_s - reader.times_s[0], 0.04 * np.arange(COUNT))
    fault = "the times of its frames do not rise; frames are taken as 25 a second"
    assert reader.info.clock_fault == fault


def test_frames_without_times(tmp_path: Path):
    reader = VideoReader(write_file(tmp_path / "raw.h264", form="h264"))
    fault = "its frames have no times; frames are taken as 25 a second"
    assert reader.info.clock_fault == fault


# What is no video ---------------------------------------------------------------------------------


def wrong_files(folder: Path) -> dict[str, str]:
    """Names, and what their messages say."""
    write_image(folder / "photo.jpg", picture(0))
    write_image(folder / "photo.png", picture(0))
    (folder / "renamed.mp4").write_bytes((folder / "photo.jpg").read_bytes())
    (folder / "text.txt").write_text("hello world\n" * 40, encoding="utf-8")
    (folder / "text.mp4").write_text("hello world\n" * 40, encoding="utf-8")
    (folder / "page.mp4").write_text("<!DOCTYPE html><html>" + "a" * 999, encoding="utf-8")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "zeros.mkv").write_bytes(bytes(9999))
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(9999))
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\nhttp://127.0.0.1:9/a.ts\n"
    (folder / "list.m3u8").write_text(playlist, encoding="utf-8")
    (folder / "odd_list.m3u8").write_bytes(playlist.encode() + b"#\x00\xff\n")
    headless = write_file(folder / "headless.mp4")
    headless.write_bytes(headless.read_bytes()[:-900])
    broken = write_file(folder / "broken.mp4", container={"movflags": "faststart"})
    places = packet_places(broken)
    overwrite(broken, places[0][0], sum(place[1] for place in places))
    write_file(folder / "tiny.mp4", [picture(n, (8, 12)) for n in range(3)])
    with av.open(folder / "sound.wav", "w") as file:
        track = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        file.mux(track.encode(silence))
    frameless = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(folder / "no_frames.mp4", "w", options=frameless) as file:
        track = file.add_stream("mpeg4", rate=25)
        track.height, track.width, track.pix_fmt = 64, 64, "yuv420p"
        file.start_encoding()
    return {
        "photo.jpg": "a single picture, not a video; give it as a photo",
        "photo.png": "a single picture",
        "renamed.mp4": "a single picture",
        "text.txt": "is text, not a video",
        "text.mp4": "is text, not a video",
        "page.mp4": "web page",
        "empty.mp4": "0 bytes",
        "zeros.mkv": "no video that the installed decoder knows",
        "noise.avi": "no video that the installed decoder knows",
        "list.m3u8": "is text, not a video.*playlist",
        "odd_list.m3u8": "is text",
        "headless.mp4": "its end is missing.*record it again",
        "broken.mp4": "none of its 60 frames can be decoded",
        "tiny.mp4": "12 x 8 pixels",
        "sound.wav": "has no video, only audio",
        "no_frames.mp4": "without a single frame",
        "": "is a folder, not a video",
        "nowhere.mp4": "does not exist",
        "pipe:0": "does not exist",
    }


def test_what_is_no_video_is_named_with_the_remedy(tmp_path: Path):
    for name, words in wrong_files(tmp_path).items():
        with pytest.raises(InputError, match=words) as error:
            VideoReader(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_a_track_of_sound_is_seen(tmp_path: Path):
    path = write_file(tmp_path / "a.mp4", sound=Sound(np.zeros(44100)))
    assert VideoReader(path).info.has_audio
