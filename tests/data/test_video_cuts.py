"""Cuts are found; what moves, flashes, flickers or fades in a scene is none."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.video import VideoFrame, VideoReader
from data.video_cuts import SmallView, _best_product, difference, find_cuts
from tests.video_files import write_file

SIZE = (120, 192)
"""Height and width of the frames."""


def scene(seed: int) -> np.ndarray:
    """(300, 480, 3) a made-up view: things of all sizes and colours before a shaded background."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:300, :480]
    shade = generator.uniform(40, 200, 3) + np.outer(rows / 300, generator.uniform(-60, 60, 3))
    image = shade.reshape(300, 480, 3)
    for _ in range(60):
        y, x = generator.uniform(0, 300), generator.uniform(0, 480)
        height, width = generator.uniform(10, 90, 2)
        inside = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
        image[inside] = generator.uniform(0, 255, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def shot(seed: int, count: int, pan_px: float = 0.0, zoom: float = 0.0) -> list[np.ndarray]:
    """Frames of one scene, the camera moving or zooming in, with noise."""
    image, generator = scene(seed), np.random.default_rng(seed + 1000)
    frames = []
    for number in range(count):
        height, width = (round(side * (1 - zoom * number / count)) for side in SIZE)
        left, top = 20 + round(pan_px * number), 60 + round(pan_px * number / 4)
        view = image[top : top + height, left : left + width]
        view = np.asarray(
            Image.fromarray(view).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR)
        )
        noisy = view + generator.normal(0, 4, view.shape)
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return frames


def cuts_of(pictures: Iterable[np.ndarray]) -> list[int]:
    return list(find_cuts(VideoFrame(n, n / 25, image) for n, image in enumerate(pictures)))


def test_hard_cuts_are_found_where_they_are():
    lengths = [30, 8, 45, 12, 60, 20]
    pictures = [image for n, length in enumerate(lengths) for image in shot(n, length)]
    assert cuts_of(pictures) == np.cumsum(lengths)[:-1].tolist()


@pytest.mark.parametrize("seed", range(6))
def test_cuts_between_moving_shots_are_found(seed: int):
    pictures = [*shot(seed, 40, pan_px=3), *shot(seed + 50, 40, zoom=0.4), *shot(seed + 99, 30)]
    assert cuts_of(pictures) == [40, 80]


def test_a_cut_to_a_close_up_of_the_same_is_found():
    image = scene(3)
    wide = np.asarray(Image.fromarray(image).resize((SIZE[1], SIZE[0])))
    near = image[100:220, 140:332]
    assert cuts_of([wide] * 20 + [near] * 20) == [20]


@pytest.mark.parametrize(("pan_px", "zoom"), [(4, 0), (8, 0), (0, 0.5), (3, 0.3)])
def test_a_fast_camera_is_no_cut(pan_px: float, zoom: float):
    for seed in range(4):
        still = shot(seed, 15)
        assert cuts_of([*still, *shot(seed, 30, pan_px, zoom)]) == []


def test_something_fast_in_the_picture_is_no_cut():
    frames = shot(5, 60)
    for number in range(20, 40):  # a third of the height, through the picture in 0.7 s
        right = (number - 19) * 12
        frames[number][30:70, max(right - 40, 0) : right] = (250, 240, 30)
    assert cuts_of(frames) == []


@pytest.mark.parametrize("length", [1, 2, 4])
def test_flashes_and_passers_by_are_no_cuts(length: int):
    for seed in range(4):
        frames = shot(seed, 50, pan_px=1)
        for number in range(20, 20 + length):
            frames[number] = np.clip(frames[number].astype(int) + 150, 0, 255).astype(np.uint8)
        for number in range(38, 38 + length):
            frames[number][:, 20:170] = 15
        assert cuts_of(frames) == []


def test_flicker_and_changing_light_are_no_cuts():
    frames = shot(1, 80)
    flicker = [frame * (0.75 + 0.25 * (n % 2)) for n, frame in enumerate(frames)]
    assert cuts_of(np.stack(flicker).astype(np.uint8)) == []
    dimmed = [frame * (1 - 0.7 * n / 80) for n, frame in enumerate(frames)]
    assert cuts_of(np.stack(dimmed).astype(np.uint8)) == []


def test_a_flash_at_a_cut_leaves_one_cut():
    frames = [*shot(1, 30), *shot(2, 30)]
    frames[30] = np.full_like(frames[30], 255)
    assert cuts_of(frames) == [30]


def test_black_frames_between_scenes_are_a_scene_and_noise_in_them_is_none():
    generator = np.random.default_rng(0)
    black = list(generator.integers(0, 4, (20, *SIZE, 3)).astype(np.uint8))
    assert cuts_of([*shot(1, 20), *black, *shot(2, 20)]) == [20, 40]
    assert cuts_of(black) == []


def test_short_videos_and_missing_frames():
    assert cuts_of([]) == [] == cuts_of(shot(0, 1))
    assert cuts_of([*shot(0, 1), *shot(1, 1)]) == [1]
    assert cuts_of([*shot(0, 3), *shot(1, 3)]) == [3]
    numbered = list(enumerate([*shot(0, 20), *shot(1, 20)]))
    kept = [VideoFrame(n, n / 25, image) for n, image in numbered if n not in (5, 20, 21)]
    assert list(find_cuts(kept)) == [22]


def test_a_cut_is_told_soon_and_memory_is_constant():
    told, seen = [], []
    dark, bright = shot(0, 1)[0], shot(1, 1)[0]

    def watched(count: int):
        for number in range(count):
            seen.append(number)
            image = bright if number // 50 % 2 else dark
            yield VideoFrame(number, number / 25, image)

    for cut in find_cuts(watched(300)):
        told.append((cut, seen[-1]))
    assert told == [(cut, cut + 5) for cut in range(50, 300, 50)]
    peaks = []
    for count in (100, 400):
        tracemalloc.start()
        list(find_cuts(watched(count)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 20_000


def test_the_difference_is_a_symmetric_measure():
    a, b = (SmallView.of(image) for image in (scene(0)[:120, :192], scene(1)[:120, :192]))
    assert difference(a, a) == pytest.approx(0, abs=1e-5)
    assert difference(a, b) == pytest.approx(difference(b, a), abs=1e-5)
    assert difference(a, b) > 0.3
    assert a.luminance.shape == (40, 64) and a.distributions.shape == (3, 32)
    np.testing.assert_allclose(a.distributions[:, -1], 1)


def test_a_shift_is_found_as_by_trying_all():
    a = SmallView.of(scene(0)[:120, :192]).luminance
    b = np.roll(a, (3, -5), axis=(0, 1))
    padded = np.pad(a, 12)
    tried = [
        (padded[12 - y : 52 - y, 12 - x : 76 - x] * b).sum()
        for y in range(-12, 13)
        for x in range(-12, 13)
    ]
    assert _best_product(a, b) == pytest.approx(max(tried), rel=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (16, 200), (200, 16), (720, 1280)])
def test_pictures_of_any_shape(size: tuple[int, int]):
    big = np.asarray(Image.fromarray(scene(0)).resize((size[1], size[0])))
    other = np.asarray(Image.fromarray(scene(1)).resize((size[1], size[0])))
    assert cuts_of([big] * 8 + [other] * 8) == [8]


def test_cuts_of_a_coded_video(tmp_path: Path):
    pictures = [*shot(1, 25, pan_px=2), *shot(2, 30), *shot(3, 25, zoom=0.3)]
    path = write_file(tmp_path / "a.mp4", pictures, options={"crf": "30"})
    assert list(find_cuts(VideoReader(path))) == [25, 55]
