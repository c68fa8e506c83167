"""EG3D's crop: the part that the published chain of crops shows, in one warp."""

from __future__ import annotations

import numpy as np
import pytest
from PIL.Image import Resampling

from data.images import resample_box
from data.portrait_crop import SIDE_PX, PortraitCrop
from tests.util.photos.test_photo_camera import make_alignment


def blobs(size: tuple[int, int], places: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) with soft dots at continuous pixels."""
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    distance = np.linalg.norm(np.stack([columns, rows], -1) - places[:, None, None], axis=-1)
    light = 255 * np.exp(-(distance**2) / 18).sum(axis=0).clip(0, 1)
    return np.repeat(light[..., None], 3, axis=2).astype(np.uint8)


def centre_near(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Centre of the light around a place, continuous pixels."""
    column, row = np.rint(place).astype(int)
    part = image[row - 14 : row + 14, column - 14 : column + 14, 0].astype(float)
    rows, columns = np.mgrid[row - 14 : row + 14, column - 14 : column + 14] + 0.5
    return np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum()


def test_content_lies_where_the_matrix_says():
    alignment = make_alignment()
    crop = PortraitCrop.around(alignment)
    places = np.array([[80.3, 90.6], [200.2, 60.9], [140.5, 220.1]])
    picture = crop.cut(blobs(alignment.photo_size, places))
    assert picture.shape == (SIDE_PX, SIDE_PX, 3)
    matrix = SIDE_PX * crop.matrix[:2]
    for place in places:
        expected = matrix[:, :2] @ place + matrix[:, 2]
        np.testing.assert_allclose(centre_near(picture, expected), expected, atol=0.05)


def test_it_is_the_r_net_s_crop_at_another_zoom():
    """u = .5 + (p - 112) / 238."""
    alignment = make_alignment()
    photo = np.array([[10.0, 20.0, 1.0], [300.0, 200.0, 1.0]])
    in_crop = photo @ alignment.matrix.T
    expected = 0.5 + (in_crop - 112) / 238
    found = photo @ PortraitCrop.around(alignment).matrix.T
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-12)


def test_beyond_the_photo_it_is_black():
    alignment = make_alignment()  # the face lies high on the left
    picture = PortraitCrop.around(alignment).cut(np.full((407, 613, 3), 200, np.uint8))
    assert not picture[:, :2].any() and (picture[-60:, -60:] == 200).all()


@pytest.mark.parametrize("margin", [0, 8])
def test_a_box_of_whole_pixels_is_copied(margin: int):
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    found = resample_box(image, (10.0, 20.0, 42.0, 52.0), 32, Resampling.LANCZOS, margin)
    np.testing.assert_array_equal(found, image[20:52, 10:42])
