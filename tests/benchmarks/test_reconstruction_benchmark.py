"""The mesh of the benchmark: as many vertices as it says, and the same surface."""

from __future__ import annotations

import numpy as np

from benchmarks.reconstruction import halved
from tests.conftest import grid_mesh


def area(vertices: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_halved_edges_keep_the_surface():
    mesh = grid_mesh()
    vertices, triangles = mesh.vertices.numpy().astype(float), mesh.triangles.numpy()
    matrix, finer = halved(triangles, len(vertices))
    points = np.asarray(matrix @ vertices)
    np.testing.assert_array_equal(points[: len(vertices)], vertices)
    assert len(finer) == 4 * len(triangles)
    # Euler: a disc has V - E + F = 1, and each edge has become a vertex.
    assert len(points) == len(vertices) + (len(vertices) + len(triangles) - 1)
    assert np.isclose(area(points, finer), area(vertices, triangles))
    # The four quarters of a triangle follow each other.
    assert np.isclose(area(points, finer[:4]), area(vertices, triangles[:1]))
