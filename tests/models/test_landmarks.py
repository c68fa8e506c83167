"""Landmark groups, pixel origins and the error measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.landmarks import INNER, JAW, five_from_68, from_index, normalised_error, to_index


def test_the_public_origin_is_half_a_pixel_off_in_x_and_y():
    """In the public y-up terms row r of an image of height 224 is y = 223 - r."""
    column, row = 40.0, 60.0
    x, y_down = from_index(np.array([[column, row]]), "index")[0]
    assert x == column
    assert 224 - y_down == 223 - row


def test_the_exact_origin_is_the_centre_of_the_pixel():
    assert from_index(np.array([[40.0, 60.0]]), "centre").tolist() == [[40.5, 60.5]]


@pytest.mark.parametrize("origin", ["index", "centre"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_index_is_the_inverse(origin, dtype: str):
    points = np.arange(136).reshape(1, 68, 2).astype(dtype)
    there = from_index(points, origin)
    assert there.dtype == dtype
    np.testing.assert_array_equal(to_index(there, origin), points)
    tensor = torch.from_numpy(points)
    there = from_index(tensor, origin)
    assert there.dtype == tensor.dtype
    assert torch.equal(to_index(there, origin), tensor)
    assert torch.equal(tensor, torch.from_numpy(points))


def test_five_points_are_the_public_ones():
    points = torch.randn(3, 68, 2, dtype=torch.float64)
    five = five_from_68(points)
    for item in range(3):
        p = points[item].numpy()
        # Counted from 1: eye corners 37, 40 and 43, 46, nose 31, mouth 49, 55.
        expected = [(p[36] + p[39]) / 2, (p[42] + p[45]) / 2, p[30], p[48], p[54]]
        np.testing.assert_allclose(five[item].numpy(), np.stack(expected))


def test_normalised_error_against_a_loop():
    predicted, given = 50 * torch.rand(2, 68, 2).double(), 50 * torch.rand(2, 68, 2).double()
    inner, jaw = normalised_error(predicted, given)
    for item in range(2):
        p, g = predicted[item].numpy(), given[item].numpy()
        scale = np.hypot(*(g[45] - g[36]))
        distance = [np.hypot(*(p[n] - g[n])) / scale for n in range(68)]
        assert float(inner[item]) == pytest.approx(np.mean(distance[17:]))
        assert float(jaw[item]) == pytest.approx(np.mean(distance[:17]))


def test_groups_cover_all_landmarks_once():
    indices = list(range(68))
    assert indices[JAW] + indices[INNER] == indices
    assert len(indices[INNER]) == 51
