"""Random changes move image, mask and landmarks alike, to a fraction of a pixel."""

import numpy as np
import pytest

from data.augmentation import Warp
from data.base_dataset import FaceSample
from data.landmarks import MIRROR_ORDER
from options.data_options import AugmentationOptions
from util.errors import InputError

SIZE = (224, 224)


def dot_sample(column: int, row: int) -> FaceSample:
    """A soft dot with its landmark, as image and as mask."""
    rows, columns = np.mgrid[:224, :224]
    dot = 255 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 7.0**2))
    image = np.repeat(dot[..., None], 3, axis=-1).round().astype(np.uint8)
    landmarks = np.tile([float(column), float(row)], (68, 1))
    return FaceSample(image, "dot", landmarks, image[..., 0])


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    weights = image.astype(float)
    rows, columns = np.indices(weights.shape)
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize(
    "warp",
    [
        Warp(flip=True),
        Warp(shift_px=(7, -9)),
        Warp(scale=1.1),
        Warp(scale=0.9),
        Warp(angle_rad=0.17),
        Warp(flip=True, shift_px=(-10, 4), scale=1.07, angle_rad=-0.12),
    ],
)
@pytest.mark.parametrize("place", [(50, 90), (150, 140), (111, 112)])
def test_image_mask_and_landmarks_go_together(warp: Warp, place: tuple[int, int]) -> None:
    moved = warp.apply(dot_sample(*place))
    assert moved.landmarks is not None
    assert moved.mask is not None
    np.testing.assert_allclose(centre_of_mass(moved.image[..., 0]), moved.landmarks[0], atol=0.03)
    np.testing.assert_allclose(centre_of_mass(moved.mask), moved.landmarks[0], atol=0.03)


def test_a_flip_is_exact_and_restores_the_order() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    landmarks = random.uniform(0, 223, (68, 2))
    flipped = Warp(flip=True).apply(FaceSample(image, "x", landmarks, image[..., 1]))
    np.testing.assert_array_equal(flipped.image, image[:, ::-1])
    np.testing.assert_array_equal(flipped.mask, image[:, ::-1, 1])
    # Column c goes to 223 - c, in the place of the landmark on the other side.
    expected = landmarks[MIRROR_ORDER] * [-1, 1] + [223, 0]
    assert flipped.landmarks is not None
    np.testing.assert_allclose(flipped.landmarks, expected, atol=1e-12)
    again = Warp(flip=True).apply(flipped)
    np.testing.assert_array_equal(again.image, image)
    assert again.landmarks is not None
    np.testing.assert_allclose(again.landmarks, landmarks, atol=1e-12)


def test_a_whole_shift_is_exact() -> None:
    image = np.random.default_rng(0).integers(1, 256, (224, 224, 3), dtype=np.uint8)
    moved = Warp(shift_px=(5, -3)).apply(FaceSample(image, "x")).image
    np.testing.assert_array_equal(moved[:-3, 5:], image[3:, :-5])
    assert (moved[-3:] == 0).all()
    assert (moved[:, :5] == 0).all()


def test_masks_are_bilinear_and_images_bicubic() -> None:
    """A bicubic mask would overshoot beside an edge; a bilinear one cannot."""
    edge = np.zeros((224, 224), np.uint8)
    edge[:, 112:] = 200
    sample = FaceSample(np.repeat(edge[..., None], 3, -1), "x", None, edge)
    moved = Warp(angle_rad=0.1).apply(sample)
    assert moved.mask is not None
    assert moved.mask.max() == 200
    assert moved.image.max() > 200


def test_rotation_is_clockwise() -> None:
    matrix = Warp(angle_rad=np.pi / 2).matrix(SIZE)
    np.testing.assert_allclose(matrix @ [212, 112, 1], [112, 212], atol=1e-9)  # right to bottom


def test_samples_without_landmarks_or_mask() -> None:
    sample = Warp(flip=True, scale=1.1).apply(FaceSample(np.zeros((224, 224, 3), np.uint8), "x"))
    assert sample.landmarks is None
    assert sample.mask is None


@pytest.mark.parametrize(
    "kinds",
    ["shift_scale_rot_flip", "shift_scale", "shift", "shift_rot_flip", "flip", "none", "rot"],
)
def test_any_subset_of_preprocess(kinds: str) -> None:
    options = AugmentationOptions(preprocess=kinds)
    warps = [Warp.draw(options, np.random.default_rng(seed)) for seed in range(300)]
    assert any(w.flip for w in warps) == ("flip" in kinds)
    assert any(w.shift_px != (0, 0) for w in warps) == ("shift" in kinds)
    assert any(w.scale != 1 for w in warps) == ("scale" in kinds)
    assert any(w.angle_rad != 0 for w in warps) == ("rot" in kinds)


def test_public_ranges_are_filled() -> None:
    random = np.random.default_rng(0)
    warps = [Warp.draw(AugmentationOptions(), random) for _ in range(4000)]
    shifts = np.array([w.shift_px for w in warps])
    assert sorted(set(shifts[:, 0])) == list(range(-10, 11))
    assert sorted(set(shifts[:, 1])) == list(range(-10, 11))
    scales = np.array([w.scale for w in warps])
    assert 0.9 <= scales.min() < 0.905
    assert 1.095 < scales.max() <= 1.1
    angles = np.degrees([w.angle_rad for w in warps])
    assert -10 <= angles.min() < -9.9
    assert 9.9 < angles.max() <= 10
    assert 0.45 < np.mean([w.flip for w in warps]) < 0.55


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preprocess": "shift_zoom"}, "--preprocess shift_zoom: 'zoom' is unknown"),
        ({"shift_pixs": -1}, "--shift_pixs is -1"),
        ({"scale_delta": 1.5}, "--scale_delta is 1.5"),
    ],
)
def test_bad_options(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AugmentationOptions(**fields)
