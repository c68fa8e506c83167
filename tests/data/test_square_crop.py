"""Crops of SynergyNet: where they lie, what they show, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.square_crop import SquareCrop, resize_linear
from tests.conftest import landmark_plan
from util.errors import InputError


def landmarks(centre: tuple[float, float], size: float) -> np.ndarray:
    """68 pixel indices whose box has this longer side."""
    plan = landmark_plan() * [1, -1]
    low, high = plan.min(axis=0), plan.max(axis=0)
    return (plan - (low + high) / 2) * size / (high - low).max() + centre - 0.5


def test_about_landmarks():
    points = landmarks((200, 150), 100)
    crop = SquareCrop.about_landmarks(points, (400, 300))
    half = 50 * np.sqrt(2)
    expected = (200 - half, 150 - half, 200 + half, 150 + half)
    assert crop.corners == tuple(round(edge) for edge in expected)
    assert crop.scale == pytest.approx(120 / 142, abs=1e-2)


def test_about_a_detection_by_the_public_rule():
    """By hand: floor(1.2 * 101 / 2) = 60 about (50.5, 80.5)."""
    crop = SquareCrop.about_detection(np.array([10, 30, 91, 131]), (300, 300))
    assert crop.corners == (round(-9.5), round(20.5), round(110.5), round(140.5))


def test_a_crop_beyond_the_photo_is_black_there():
    image = np.full((60, 80, 3), 200, np.uint8)
    crop = SquareCrop((80, 60), -30, -10, 30, 50, 60)
    cut = crop.cut(image)
    assert cut.shape == (60, 60, 3)
    assert (cut[:10] == 0).all() and (cut[:, :30] == 0).all() and (cut[10:, 30:] == 200).all()


def test_points_go_back_to_where_they_were():
    """A dot that the photo shows is found in the crop, and sent back."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:44, 60:64] = 255  # centre at (62, 42)
    crop = SquareCrop((100, 100), 30, 20, 90, 80, 120)
    rows, columns = np.nonzero(crop.cut(image)[..., 0] > 127)
    centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5, 4.0])
    np.testing.assert_allclose(crop.to_photo(centre), [62, 42, 2], atol=0.1)
    matrix = crop.inverse_matrix
    np.testing.assert_allclose(matrix[:, :2] @ centre[:2] + matrix[:, 2], [62, 42], atol=0.1)


@pytest.mark.parametrize("shape", [(31, 47), (300, 200), (120, 120), (1, 5)])
def test_scaling_is_torchs_bilinear(shape: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    expected = torch.nn.functional.interpolate(
        tensor, (120, 120), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)
    off = np.abs(resize_linear(image, 120).astype(float) - expected.numpy())
    assert off.max() <= 0.51


def test_crops_that_show_nothing():
    with pytest.raises(InputError, match="has no pixels"):
        SquareCrop((80, 60), 10, 10, 10, 20)
    with pytest.raises(InputError, match="outside of the photo of 80 x 60"):
        SquareCrop((80, 60), 80, 10, 100, 30)
    with pytest.raises(InputError):
        SquareCrop.about_landmarks(np.zeros((68, 2)), (80, 60))
