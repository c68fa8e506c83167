"""The fast skin mask against the formula pixel by pixel."""

import numpy as np
import pytest

from data.skin_mask import NOT_SKIN, SKIN, skin_mask, skin_mask_reference


def test_all_over_the_colour_cube() -> None:
    """Every 15th level of each channel, the corners among them."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)
    expected = skin_mask_reference(image).astype(int)
    found = skin_mask(image).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() <= 1e-3


def test_on_a_portrait(astronaut) -> None:
    part = np.ascontiguousarray(astronaut[60:160, 160:260])
    expected = skin_mask_reference(part).astype(int)
    difference = np.abs(skin_mask(part) - expected)
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 1


def test_chunks_do_not_show(astronaut) -> None:
    """An image of several chunks, the last one incomplete, against its rows alone."""
    image = astronaut[:101, :333]
    whole = skin_mask(image)
    assert whole.shape == (101, 333)
    assert whole.dtype == np.uint8
    for row in (0, 50, 100):
        np.testing.assert_array_equal(whole[row], skin_mask(image[row : row + 1])[0])


def test_skin_is_found_on_skin(astronaut, hopper) -> None:
    assert skin_mask(astronaut)[90:150, 200:250].mean() > 200
    assert skin_mask(hopper)[200:280, 220:300].mean() > 200
    others = [[0, 0, 255], [0, 200, 0], [60, 120, 200], [128, 128, 128], [10, 60, 20]]
    assert skin_mask(np.array([others], np.uint8)).max() < 100
    skin_tones = np.array([[[224, 172, 105], [198, 134, 66], [141, 85, 36]]], np.uint8)
    assert skin_mask(skin_tones).min() > 220


@pytest.mark.parametrize("mixture", [SKIN, NOT_SKIN])
def test_published_figures_agree_with_each_other(mixture) -> None:
    """Weights sum to one, inverses are positive definite and have the stated determinants."""
    assert sum(mixture.weights) == pytest.approx(1, abs=1e-6)
    for component, determinant in enumerate(mixture.determinants):
        inverse = mixture.inverse_covariance(component)
        assert np.linalg.eigvalsh(inverse).min() > 0
        assert 1 / np.linalg.det(inverse) == pytest.approx(determinant, rel=2e-4)
