"""Motions and spheres are found again, also where points do not fit exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from util.point_fits import fit_similarity, fit_sphere, nearest_rotation


def test_similarities_are_recovered():
    random = np.random.default_rng(0)
    points = random.normal(size=(9, 3))
    rotation = Rotation.from_rotvec([0.3, -2, 0.4]).as_matrix()
    found = fit_similarity(points, 1.7 * points @ rotation.T + [1, 2, 3])
    assert found.scale == pytest.approx(1.7)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found(np.zeros((1, 3))), [[1, 2, 3]], atol=1e-12)
    np.testing.assert_allclose(found.back(found(points)), points, atol=1e-12)


def test_rigid_motions_keep_the_size():
    points = np.random.default_rng(1).normal(size=(9, 3))
    rotation = Rotation.from_rotvec([1, 2, -0.5]).as_matrix()
    found = fit_similarity(points, 1.2 * points @ rotation.T + 3, scaled=False)
    assert found.scale == 1
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found(points).mean(axis=0), (1.2 * points @ rotation.T + 3).mean(0))


@pytest.mark.parametrize("scaled", [True, False])
def test_no_other_motion_comes_nearer(scaled: bool):
    random = np.random.default_rng(2)
    points, target = random.normal(size=(2, 20, 3))
    found = fit_similarity(points, target, scaled)
    error = np.square(found(points) - target).sum()
    for _ in range(50):
        turn = Rotation.from_rotvec(random.normal(0, 0.05, 3)).as_matrix()
        scale = found.scale * (1 + random.normal(0, 0.05) * scaled)
        other = scale * points @ (turn @ found.rotation).T + found.shift + random.normal(0, 0.05, 3)
        assert np.square(other - target).sum() > error


def test_weights_are_as_many_points():
    random = np.random.default_rng(5)
    points, target = random.normal(size=(2, 8, 3))
    counts = np.array([1, 3, 1, 2, 1, 1, 5, 1])
    found = fit_similarity(points, target, weights=counts.astype(float))
    expected = fit_similarity(points.repeat(counts, axis=0), target.repeat(counts, axis=0))
    assert found.scale == pytest.approx(expected.scale)
    np.testing.assert_allclose(found(points), expected(points), atol=1e-12)


def test_a_mirror_image_is_met_by_a_rotation():
    points = np.random.default_rng(1).normal(size=(9, 3))
    found = fit_similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_rotations_agree_with_scipy():
    """Many at once; SciPy solves the same problem of Wahba one by one."""
    random = np.random.default_rng(3)
    points, target = random.normal(size=(2, 30, 7, 3))
    found = nearest_rotation(np.einsum("npi,npj->nij", points, target))
    for rotation, source, aim in zip(found, points, target, strict=True):
        expected = Rotation.align_vectors(aim, source)[0]
        np.testing.assert_allclose(rotation.T, expected.as_matrix(), atol=1e-9)


def test_spheres_are_recovered_from_a_cap_of_float32():
    directions = np.random.default_rng(4).normal(size=(60, 3))
    directions = directions[directions[:, 2] > 0]
    points = 0.15 * directions / np.linalg.norm(directions, axis=1, keepdims=True) + [0.3, 7.2, 1.2]
    found = fit_sphere(points.astype(np.float32))
    np.testing.assert_allclose(found.centre, [0.3, 7.2, 1.2], atol=1e-4)
    assert found.radius == pytest.approx(0.15, abs=1e-4)
