"""Wrinkles run where faces fold, alike on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from BFM.open_model.head_mesh import HeadMesh
from BFM.open_model.wrinkles import CURVE_POINTS, Wrinkle, wrinkles


@pytest.fixture(scope="module")
def landmarks(head: HeadMesh, reference: np.ndarray) -> np.ndarray:
    return (head.subdivision @ head.control_points(reference))[head.landmark_vertices]


def test_each_side_mirrors_the_other_and_the_forehead_itself(landmarks: np.ndarray):
    found = wrinkles(landmarks)
    forehead = [wrinkle for wrinkle in found if np.ptp(np.sign(wrinkle.knots[:, 0])) == 2]
    right = [wrinkle for wrinkle in found if (wrinkle.knots[:, 0] < 0).all()]
    left = [wrinkle for wrinkle in found if (wrinkle.knots[:, 0] > 0).all()]
    assert (len(right), len(left), len(forehead)) == (13, 13, 3)
    for one, other in zip(right, left, strict=True):
        np.testing.assert_array_equal(one.knots, other.mirrored().knots)
        assert (one.depth, one.width) == (other.depth, other.width)
    for wrinkle in forehead:
        np.testing.assert_allclose(wrinkle.knots[::-1] * [-1, 1, 1], wrinkle.knots, atol=1e-12)
        assert wrinkle.knots[:, 1].min() > landmarks[17:27, 1].max()


def test_every_knot_is_near_the_face(landmarks: np.ndarray):
    """Within a finger's breadth or two of a landmark; the forehead has none."""
    for wrinkle in wrinkles(landmarks)[:26]:
        distance = np.linalg.norm(wrinkle.knots[:, None] - landmarks, axis=2).min(axis=1)
        assert distance.max() < 0.4
        assert 0 < wrinkle.depth <= 1 <= wrinkle.width * 1.25


@pytest.mark.parametrize("count", [2, 3, 7])
def test_lines_pass_their_knots_a_little_crooked(count: int):
    """A straight row of knots: all that bends is random, as long as told, and seeded."""
    knots = np.linspace([0, 0, 0], [1.0, 2, 0], count)
    wrinkle = Wrinkle(knots, 1.0)
    lines = np.stack([wrinkle.line(np.random.default_rng(seed)) for seed in range(300)])
    straight = np.linspace([0, 0, 0], [1.0, 2, 0], CURVE_POINTS)
    wobble = lines - straight
    assert np.abs(wobble.mean(axis=0)).max() < 3e-3
    # A random walk: after n steps its variance is n times that of a step.
    deviation = wobble.std(axis=(0, 2))
    np.testing.assert_allclose(deviation, 0.0012 * np.sqrt(np.arange(1, 41)), rtol=0.15)
    np.testing.assert_array_equal(wrinkle.line(np.random.default_rng(5)), lines[5])
