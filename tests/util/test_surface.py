"""Nearest points of meshes: against a search by optimisation, and at every kind of place."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.conftest import grid_mesh
from util.surface import LEAF, SurfaceTree, nearest_on_surface

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.2, 0.3, 0.7), (0.5, 0.2, 0.3)),  # above the inside
        ((0.4, -1, 0), (0.6, 0.4, 0)),  # each edge
        ((-1, 0.4, 0), (0.6, 0, 0.4)),
        ((1, 1, 5), (0, 0.5, 0.5)),
        ((-1, -1, 2), (1, 0, 0)),  # each corner
        ((3, -1, 0), (0, 1, 0)),
        ((-1, 3, 0), (0, 0, 1)),
    ],
)
def test_every_part_of_a_triangle(point: tuple[float, ...], expected: tuple[float, ...]):
    found = nearest_on_surface(np.array([point]), TRIANGLE, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(found.barycentrics[0], expected, atol=1e-12)
    distance = np.linalg.norm(np.array(expected) @ TRIANGLE - point)
    assert found.distances[0] == pytest.approx(distance)


def test_it_is_the_nearest_of_all_triangles():
    mesh = grid_mesh(6, 7)
    vertices, triangles = mesh.vertices.numpy().astype(np.float64), mesh.triangles.numpy()
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (6, 3))
    found = nearest_on_surface(points, vertices, triangles)
    for point, distance in zip(points, found.distances, strict=True):
        best = np.inf
        for corners in vertices[triangles]:
            # Weights as squares over their sum: a smooth problem without bounds.
            def apart(root: np.ndarray, corners=corners, point=point) -> float:
                weights = root**2 / (root**2).sum()
                return float(np.square(weights @ corners - point).sum())

            best = min(best, minimize(apart, np.full(3, 0.6), method="BFGS").fun)
        assert distance == pytest.approx(np.sqrt(best), abs=2e-4)


def test_points_of_the_surface_are_found_where_they_are():
    mesh = grid_mesh()
    vertices, triangles = mesh.vertices.numpy(), mesh.triangles.numpy()
    random = np.random.default_rng(1)
    chosen = random.integers(len(triangles), size=50)
    weights = random.dirichlet(np.ones(3), 50)
    points = (vertices[triangles[chosen]] * weights[..., None]).sum(axis=1)
    found = nearest_on_surface(points, vertices, triangles)
    np.testing.assert_allclose(found.distances, 0, atol=1e-9)
    np.testing.assert_array_equal(found.triangles, chosen)
    np.testing.assert_allclose(found.mix(vertices.astype(np.float64)), points, atol=1e-9)


def test_values_of_any_shape_are_mixed():
    values = np.arange(12.0).reshape(3, 2, 2)
    found = nearest_on_surface(np.array([[0.25, 0.25, 1]]), TRIANGLE, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(
        found.mix(values), [0.5 * values[0] + 0.25 * (values[1] + values[2])]
    )


def test_triangles_without_area():
    flat = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    found = nearest_on_surface(np.array([[1.5, 1, 0], [9, 0, 0]]), flat, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(found.distances, [1, 7])
    point = np.zeros((3, 3))
    found = nearest_on_surface(np.array([[1.0, 0, 0]]), point, np.array([[0, 1, 2]]))
    assert found.distances[0] == 1 and found.barycentrics.sum() == 1


@pytest.mark.parametrize("count", [1, LEAF, LEAF + 1, 84])
def test_the_tree_finds_what_the_search_finds(count: int):
    mesh = grid_mesh(7, 8)
    vertices, triangles = mesh.vertices.numpy(), mesh.triangles.numpy()[:count]
    points = np.random.default_rng(2).uniform(-1.5, 1.5, (200, 3))
    slow = nearest_on_surface(points, vertices, triangles)
    fast = SurfaceTree(vertices, triangles).nearest(points)
    np.testing.assert_allclose(fast.distances, slow.distances, rtol=1e-12)
    doubles = vertices.astype(np.float64)
    np.testing.assert_allclose(fast.mix(doubles), slow.mix(doubles), atol=1e-9)
    np.testing.assert_array_equal(triangles[fast.triangles], fast.corners)


def test_a_surface_without_triangles_is_refused():
    with pytest.raises(ValueError, match="needs triangles"):
        SurfaceTree(TRIANGLE, np.zeros((0, 3), int))
