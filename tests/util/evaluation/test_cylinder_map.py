"""Heads on a cylinder: against rays that meet every triangle, against spheres, and their meshes."""

from __future__ import annotations

import numpy as np

from tests.scan_files import sphere_mesh
from util.evaluation.cylinder_map import HALF_HEIGHT, LARGEST_STEP, SIDE, cylinder_map
from util.mesh_files.mesh_reader import TriangleMesh

HEIGHTS = np.linspace(HALF_HEIGHT, -HALF_HEIGHT, SIDE)
ANGLES = 2 * np.pi * np.arange(SIDE) / (SIDE - 1)
DIRECTIONS = np.stack([-np.sin(ANGLES), np.zeros(SIDE), -np.cos(ANGLES)], axis=1)


def farthest_by_rays(mesh: TriangleMesh) -> tuple[np.ndarray, np.ndarray]:
    """Radii and triangles, each ray with each triangle (Moeller and Trumbore)."""
    radii, seen = np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), -1)
    origins = HEIGHTS[:, None, None] * [0.0, 1, 0]
    for number, (a, b, c) in enumerate(mesh.vertices[mesh.triangles]):
        u, v = b - a, c - a
        p = np.cross(DIRECTIONS, v)
        det = p @ u
        s = origins - a
        first = (s * p).sum(axis=2) / det
        q = np.cross(s, u)
        second = (q * DIRECTIONS).sum(axis=2) / det
        away = (q @ v) / det
        hit = (first >= 0) & (second >= 0) & (first + second <= 1) & (away > radii)
        radii[hit], seen[hit] = away[hit], number
    return radii, seen


def test_against_rays():
    random = np.random.default_rng(0)
    vertices = random.uniform(-120, 120, (60, 3))
    mesh = TriangleMesh(vertices, np.arange(60).reshape(20, 3))
    radii, seen = farthest_by_rays(mesh)
    found = cylinder_map(mesh)
    # Rays through an edge may go either way.
    same = np.isclose(found.radii, radii, rtol=1e-9, atol=1e-9)
    assert same.mean() > 0.9999 and (radii > 0).mean() > 0.3
    corners = vertices.reshape(20, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    clear = same & (seen >= 0)
    np.testing.assert_allclose(found.normals[clear], normals[seen[clear]], atol=1e-12)
    assert not found.normals[~found.filled].any()


def test_a_sphere_and_the_directions():
    """The middle column is the front, the first and the last the back; row 0 is the top."""
    mesh = sphere_mesh(80.0)
    found = cylinder_map(TriangleMesh(mesh.vertices + np.array([0, 0, 10.0]), mesh.triangles))
    middle = SIDE // 2
    assert abs(found.radii[middle, middle] - 90) < 0.5 and abs(found.radii[middle, 0] - 70) < 0.5
    np.testing.assert_allclose(found.radii[:, 0], found.radii[:, -1])
    rows = np.flatnonzero(found.filled.any(axis=1))
    assert np.abs(HEIGHTS[rows[[0, -1]]] - [80, -80]).max() < 2
    centre = found.normals[middle, middle]
    assert centre[2] > 0.99, "outwards"


def test_the_mesh_of_a_map_lies_on_the_surface_and_turns_outwards():
    mesh = sphere_mesh(80.0)
    found = cylinder_map(mesh)
    made = found.mesh(found.filled)
    inside = np.abs(made.vertices[:, 1]) < 70
    radii = np.linalg.norm(made.vertices[inside], axis=1)
    assert np.abs(radii - 80).max() < 0.5
    a, b, c = np.moveaxis(made.vertices[made.triangles], 1, 0)
    assert ((np.cross(b - a, c - a) * (a + b + c)).sum(axis=1) > 0).all()
    assert len(np.unique(made.triangles)) == len(made.vertices)
    # Twice the middle part alone, and half of the whole, by counting squares.
    half = found.filled & (np.arange(SIDE) < SIDE // 2)
    share = len(found.mesh(half).triangles) / len(made.triangles)
    assert abs(share - 0.5) < 0.01
    assert not len(found.mesh(np.zeros((SIDE, SIDE), bool)).triangles)


def test_no_triangle_bridges_a_step():
    inner, outer = sphere_mesh(80.0), sphere_mesh(80.0 + 2 * LARGEST_STEP)
    upper = outer.vertices[outer.triangles][..., 1].min(axis=1) > 0
    both = TriangleMesh(
        np.concatenate([inner.vertices, outer.vertices]),
        np.concatenate([inner.triangles, outer.triangles[upper] + len(inner.vertices)]),
    )
    found = cylinder_map(both)
    made = found.mesh(found.filled & (np.abs(HEIGHTS)[:, None] < 60))
    corners = np.linalg.norm(made.vertices[made.triangles], axis=2)
    assert np.ptp(corners, axis=1).max() < LARGEST_STEP
    assert corners.min() < 81 and corners.max() > 105
