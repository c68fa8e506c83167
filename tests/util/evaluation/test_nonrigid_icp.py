"""Bending a surface onto points: it reaches them, and its energy is the one that is written."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from tests.scan_files import dome
from util.evaluation.nonrigid_icp import STIFFNESS, _Bending, bend_onto

RIGHT = np.array([0.5, 0, 0])


def small() -> tuple[np.ndarray, np.ndarray]:
    mesh = dome(9, 10)
    return mesh.vertices / 10, mesh.triangles  # REALY's scans are about as small


def test_a_surface_on_its_targets_stays():
    vertices, triangles = small()
    bent = bend_onto(vertices, triangles, vertices)
    np.testing.assert_allclose(bent, vertices, atol=1e-9)


def test_a_smooth_bend_is_followed():
    vertices, triangles = small()
    target = vertices + 0.3 * np.sin(vertices[:, [1, 2, 0]] / 5)
    bent = bend_onto(vertices, triangles, target)
    before = np.linalg.norm(vertices - target, axis=1).mean()
    assert np.linalg.norm(bent - target, axis=1).mean() < 0.4 * before


def test_keypoints_pull():
    vertices, triangles = small()
    chosen = np.array([11, 17, 44, 47, 71, 78])
    aim = vertices[chosen] + RIGHT
    bent = bend_onto(vertices, triangles, vertices + RIGHT, chosen, aim)
    np.testing.assert_allclose(bent[chosen], aim, atol=0.02)


def test_one_step_minimises_its_energy():
    """Against scipy, on a surface of five vertices."""
    vertices = np.array([[0.0, 0, 0], [1, 0, 0.2], [0, 1, 0.1], [1, 1, 0], [2, 0.5, 0.4]])
    triangles = np.array([[0, 1, 2], [1, 3, 2], [1, 4, 3]])
    edges = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (1, 4), (3, 4)]
    random = np.random.default_rng(0)
    aims = vertices + random.normal(0, 0.2, vertices.shape)
    weights, g = np.array([1.0, 0, 2, 1, 1]), np.array([2.0, 2, 3, 2])
    bending = _Bending(vertices, triangles, aims)
    bending._step(STIFFNESS, g, [(weights, aims)])

    def energy(flat: np.ndarray) -> float:
        motions = flat.reshape(5, 4, 3)
        homogeneous = np.concatenate([vertices, np.ones((5, 1))], axis=1)
        placed = np.einsum("vk,vkd->vd", homogeneous, motions)
        data = ((weights[:, None] * (placed - aims)) ** 2).sum()
        stiff = sum(((g[:, None] * (motions[a] - motions[b])) ** 2).sum() for a, b in edges)
        return float(data + STIFFNESS**2 * stiff)

    found = bending._motions.ravel()
    least = energy(found)
    for _ in range(20):
        assert energy(found + random.normal(0, 1e-3, found.shape)) > least
    assert minimize(energy, found, method="BFGS", options={"maxiter": 20}).fun > least * (1 - 1e-6)


def test_parts_without_key_points_stay_where_they_are():
    """In the first step nothing else holds them."""
    vertices, triangles = small()
    beside = np.concatenate([vertices, vertices + 60 * RIGHT])
    both = np.concatenate([triangles, triangles + len(vertices)])
    chosen = np.array([11, 17, 44, 47, 71, 78])
    bent = bend_onto(beside, both, beside, chosen, vertices[chosen])
    np.testing.assert_allclose(bent, beside, atol=1e-3)
