"""Meshes laid over scans: motions are found again, distances are those that were put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tests.conftest import grid_mesh
from util.evaluation.registration import refine
from util.point_fits import Similarity
from util.surface import SurfaceTree, nearest_on_surface

NOTHING = Similarity(1.0, np.eye(3), np.zeros(3))


def dome() -> tuple[np.ndarray, np.ndarray]:
    mesh = grid_mesh()
    return mesh.vertices.numpy().astype(np.float64), mesh.triangles.numpy()


def points_on(vertices: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    inside = (np.abs(vertices[triangles][..., :2]) < 0.7).all(axis=(1, 2))
    chosen = triangles[inside][random.integers(np.count_nonzero(inside), size=count)]
    return (vertices[chosen] * random.dirichlet(np.ones(3), count)[..., None]).sum(axis=1)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_motion_is_taken_back(scaled: bool):
    vertices, triangles = dome()
    points = points_on(vertices, triangles, 400)
    turn = Rotation.from_rotvec([0.05, -0.08, 0.06]).as_matrix()
    scale = 1.07 if scaled else 1.0
    scan = scale * points @ turn.T + [0.03, -0.02, 0.04]
    found = refine(scan, SurfaceTree(vertices, triangles), NOTHING, scaled=scaled)
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)
    assert found.motion.scale == pytest.approx(scale, abs=1e-5)
    np.testing.assert_allclose(found.motion(points), scan, atol=1e-4)


def test_size_is_kept_where_it_is_measured():
    vertices, triangles = dome()
    scan = 1.05 * points_on(vertices, triangles, 400)
    surface = SurfaceTree(vertices, triangles)
    assert refine(scan, surface, NOTHING, scaled=False).motion.scale == 1
    assert refine(scan, surface, NOTHING, scaled=False).distances.mean() > 1e-3
    assert refine(scan, surface, NOTHING).distances.mean() < 1e-6


@pytest.mark.parametrize("scaled", [True, False])
def test_no_motion_has_a_smaller_energy(scaled: bool):
    """Against scipy's trust region on the same distances, numbers instead of derivatives."""
    vertices, triangles = dome()
    random = np.random.default_rng(1)
    scan = points_on(vertices, triangles, 60) + random.normal(0, 0.02, (60, 3)) + [0.02, 0.05, 0.1]
    surface = SurfaceTree(vertices, triangles)
    found = refine(scan, surface, NOTHING, scaled=scaled)

    def distances(step: np.ndarray) -> np.ndarray:
        scale = np.exp(step[6]) if scaled else 1.0
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        moved = scale * vertices @ turn.T + step[3:6]
        return nearest_on_surface(scan, moved, triangles).distances

    best = least_squares(distances, np.zeros(7 if scaled else 6), diff_step=1e-6)
    assert (found.distances**2).sum() <= 2 * best.cost * (1 + 1e-4)


def test_points_on_the_mesh_already():
    vertices, triangles = dome()
    found = refine(points_on(vertices, triangles, 50), SurfaceTree(vertices, triangles), NOTHING)
    np.testing.assert_allclose(found.distances, 0, atol=1e-9)
    np.testing.assert_allclose(found.motion.shift, 0, atol=1e-9)
