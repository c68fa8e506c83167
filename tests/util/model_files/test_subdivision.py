"""Subdivision: limits of known surfaces, borders, symmetry of the cut."""

from __future__ import annotations

import numpy as np
import pytest

from util.model_files.subdivision import (
    QuadMesh,
    bilinear,
    catmull_clark,
    coarse_quads,
    cut_refined,
)

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
CUBE_QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def grid(rows: int, columns: int) -> tuple[QuadMesh, np.ndarray]:
    """A flat rectangle of unit squares, and its vertices (N, 3)."""
    number = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    quads = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]], axis=-1)
    y, x = np.mgrid[: rows + 1, : columns + 1]
    points = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(float)
    return QuadMesh(quads.reshape(-1, 4), number.size), points


@pytest.mark.parametrize("refine", [catmull_clark, bilinear])
def test_every_new_vertex_is_a_mean(refine):
    mesh, _ = grid(3, 4)
    refined = refine(mesh)
    assert np.allclose(refined.matrix.sum(axis=1), 1)
    edges = len(mesh.edges()[0])
    assert refined.mesh.count == mesh.count + edges + len(mesh.quads)
    assert len(refined.mesh.quads) == 4 * len(mesh.quads)


def test_a_cube_becomes_what_catmull_and_clark_say():
    refined = catmull_clark(QuadMesh(CUBE_QUADS, 8))
    points = refined.matrix @ CUBE
    # By hand: a corner with F = (1, 1, 1) / 3, R = 2 F and P = (1, 1, 1), n = 3.
    assert np.allclose(points[7], (1 / 3 + 2 * 2 / 3 + 0) / 3)
    # An edge's middle (1, 1, 0), its face points (1, 0, 0) and (0, 1, 0): mean (3/4, 3/4, 0).
    assert any(np.allclose(point, (0.75, 0.75, 0)) for point in points[8:20])
    assert {tuple(point) for point in points[20:].round(9)} == {
        tuple(sign * row) for row in np.eye(3) for sign in (-1.0, 1.0)
    }


def test_a_plane_stays_and_its_inner_vertices_do_not_move():
    mesh, points = grid(4, 5)
    finer = catmull_clark(mesh).matrix @ points
    assert np.allclose(finer[:, 2], 0)
    inner = (points[:, 0] % 5 > 0) & (points[:, 1] % 4 > 0)
    assert np.allclose(finer[: len(points)][inner], points[inner])
    # The border is a cubic B-spline: a vertex of a straight edge stays, a corner is cut.
    assert np.allclose(finer[2], points[2])
    assert np.allclose(finer[0], (0.125, 0.125, 0))


def test_vertices_without_quads_stay():
    refined = catmull_clark(QuadMesh(CUBE_QUADS, 9))
    points = refined.matrix @ np.vstack([CUBE, [[5.0, 6.0, 7.0]]])
    assert np.allclose(points[8], (5, 6, 7))


def test_the_coarse_quads_are_found_again():
    mesh, _ = grid(3, 2)
    for refine in (catmull_clark, bilinear):
        assert np.array_equal(coarse_quads(refine(mesh).mesh.quads), mesh.quads)


def test_the_cut_keeps_orientation_and_bounds_the_valence():
    mesh, points = grid(6, 6)
    refined = catmull_clark(mesh)
    triangles = cut_refined(refined.mesh.quads)
    a, b, c = np.moveaxis((refined.matrix @ points)[triangles], 1, 0)
    area = np.cross(b - a, c - a)[:, 2] / 2
    assert (area > 0).all()
    assert np.bincount(triangles.ravel()).max() == 8
    first = refined.matrix @ points
    square = first[: len(points)]
    low, high = square.min(axis=0), square.max(axis=0)
    # The rectangle without its four rounded corners, each less than an eighth of a square.
    assert area.sum() == pytest.approx(36, abs=4 / 8)
    assert (low >= 0).all() and (high <= 6).all()


def test_both_refinements_number_alike():
    mesh, points = grid(3, 3)
    assert np.array_equal(catmull_clark(mesh).mesh.quads, bilinear(mesh).mesh.quads)
    middle = bilinear(mesh).matrix @ points
    quads = mesh.quads
    assert np.allclose(middle[-len(quads) :], points[quads].mean(axis=1))
