"""Cutting, tidying, smoothing and triangulating quads, on grids where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from BFM.open_model.mesh import (
    margin_loop,
    relax,
    ring_distance,
    smooth_border_curve,
    split_along,
    tidy_border,
    triangulate,
    vertex_normals,
)
from util.model_files.subdivision import QuadMesh

SIZE = 9  # vertices a side of the grid


def vertex(column: int, row: int) -> int:
    return row * SIZE + column


@pytest.fixture
def grid() -> QuadMesh:
    """SIZE x SIZE vertices, quads counter-clockwise."""
    corner = (np.arange(SIZE - 1)[:, None] * SIZE + np.arange(SIZE - 1)).ravel()
    quads = np.stack([corner, corner + 1, corner + SIZE + 1, corner + SIZE], axis=1)
    return QuadMesh(quads, SIZE * SIZE)


@pytest.fixture
def positions() -> np.ndarray:
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    return np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(float)


def test_a_loop_takes_the_shortest_way_through_its_points(grid, positions):
    corners = np.array([vertex(2, 2), vertex(6, 2), vertex(6, 5), vertex(2, 5)])
    loop = margin_loop(grid.adjacency(), positions, corners)
    border = {vertex(x, y) for x in range(2, 7) for y in range(2, 6) if x in (2, 6) or y in (2, 5)}
    assert len(loop) == len(set(loop)) and set(loop) == border
    steps = positions[np.roll(loop, -1)] - positions[loop]
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 1)


def test_a_cut_gives_the_smaller_side(grid, positions):
    corners = np.array([vertex(2, 2), vertex(6, 2), vertex(6, 5), vertex(2, 5)])
    inside = split_along(grid, margin_loop(grid.adjacency(), positions, corners))
    centres = positions[grid.quads].mean(axis=1)
    expected = (centres[:, 0] > 2) & (centres[:, 0] < 6) & (centres[:, 1] > 2) & (centres[:, 1] < 5)
    np.testing.assert_array_equal(inside, expected)
    # Of a large loop it is the outside.
    corners = np.array([vertex(1, 1), vertex(7, 1), vertex(7, 7), vertex(1, 7)])
    outside = split_along(grid, margin_loop(grid.adjacency(), positions, corners))
    assert outside.sum() == 64 - 36 and outside[0]


def test_rings_are_counted_in_edges(grid, positions):
    seeds = np.array([vertex(0, 0), vertex(8, 8)])
    steps = np.abs(positions[:, None] - positions[seeds]).sum(axis=2).min(axis=1)
    np.testing.assert_array_equal(ring_distance(grid.adjacency(), seeds), steps)
    lonely = QuadMesh(grid.quads, grid.count + 1)
    assert ring_distance(lonely.adjacency(), seeds)[-1] == np.inf


def test_spikes_go_notches_fill_and_islands_vanish(grid, positions):
    centres = positions[grid.quads].mean(axis=1)

    def at(column: int, row: int) -> np.ndarray:
        return (centres[:, 0] == column + 0.5) & (centres[:, 1] == row + 0.5)

    block = (centres[:, 0] < 5) & (centres[:, 1] < 5)
    rough = (block & ~at(4, 2)) | at(5, 1) | at(7, 7) | at(6, 7) | at(6, 6) | at(7, 6)
    np.testing.assert_array_equal(tidy_border(grid.quads, rough), block)


def test_a_smoothed_border_bends_less_and_stays_where_it_may_not_move(grid, positions):
    rough = positions.copy()
    border = np.unique(grid.boundary_edges())
    rough[border[::2], 2] = 0.4  # up and down
    movable = np.ones(grid.count, dtype=bool)
    movable[positions[:, 0] == 0] = False
    matrix = smooth_border_curve(grid, movable, 20)
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1)
    assert matrix.data.min() >= 0  # means of points stay among them
    smooth = matrix @ rough
    inner = np.setdiff1d(np.arange(grid.count), border)
    np.testing.assert_array_equal(smooth[inner], rough[inner])
    np.testing.assert_array_equal(smooth[~movable], rough[~movable])
    top = [vertex(column, SIZE - 1) for column in range(1, SIZE)]

    def bend(points: np.ndarray) -> float:
        return float(np.abs(np.diff(points[top, 2], n=2)).max())

    assert bend(smooth) < 0.1 * bend(rough)


def test_relaxing_keeps_what_is_straight_and_pulls_in_a_spike(grid, positions):
    movable = np.zeros(grid.count, dtype=bool)
    movable[[vertex(4, 4), vertex(3, 4), vertex(5, 4), vertex(4, 3), vertex(4, 5)]] = True
    np.testing.assert_allclose(relax(grid, movable, 7) @ positions, positions, atol=1e-12)
    spiky = positions.copy()
    spiky[vertex(4, 4), 2] = 1
    assert 0 < (relax(grid, movable, 7) @ spiky)[vertex(4, 4), 2] < 0.3


def mirrored(grid: QuadMesh) -> np.ndarray:
    """Index of each vertex's image when left and right change places."""
    numbers = np.arange(grid.count).reshape(SIZE, SIZE)
    return numbers[:, ::-1].ravel()


def test_triangles_cover_the_quads_alike_on_both_sides(grid, positions):
    mirror = mirrored(grid)
    corners = triangulate(grid, mirror)
    triangles = np.take_along_axis(np.repeat(grid.quads, 2, axis=0), corners, axis=1)
    a, b, c = (positions[triangles[:, i]] for i in range(3))
    np.testing.assert_allclose(np.cross(b - a, c - a)[:, 2], 1)  # none turned over
    as_sets = {frozenset(triangle) for triangle in triangles.tolist()}
    assert as_sets == {frozenset(triangle) for triangle in mirror[triangles].tolist()}
    # Six edges meet where diagonals run alike, eight or four where they alternate.
    sides = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    assert np.bincount(edges.ravel()).max() <= 7
    assert len(triangles) == 2 * len(grid.quads)


def test_normals_of_a_sphere_point_outwards():
    polar, turn = np.meshgrid(np.linspace(0.2, 2.9, 30), np.linspace(0, 2 * np.pi, 41)[:-1])
    directions = np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], axis=-1
    ).reshape(-1, 3)
    numbers = np.arange(40 * 30).reshape(40, 30)
    a, d = numbers[:, :-1].ravel(), numbers[:, 1:].ravel()
    b, c = np.roll(numbers, -1, 0)[:, :-1].ravel(), np.roll(numbers, -1, 0)[:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, d, b], axis=1), np.stack([d, c, b], axis=1)])
    normals = vertex_normals(2 * directions, triangles)
    inner = (polar > 0.3) & (polar < 2.8)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert (normals * directions).sum(axis=1)[inner.ravel()].min() > 0.99
