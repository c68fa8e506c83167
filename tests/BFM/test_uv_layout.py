"""The head's texture layout: seams, islands, magnification, nothing turned over."""

from __future__ import annotations

import numpy as np
import pytest

from BFM.open_model.head_mesh import HeadMesh
from BFM.open_model.source import LANDMARK_BASE_VERTICES, BaseMesh
from BFM.open_model.uv_layout import (
    EYE_CENTRES,
    EYE_RADIUS,
    HEAD_BOX,
    MAGNIFICATION,
    MOUTH_BOX,
    eye_angle,
    eye_layout,
    islands,
    layout,
    signed_areas,
    texture_mesh,
    unfolded,
)
from models.texture import layout_raster
from tests.BFM.anny_stand_in import MOUTH_BLOCK, ROWS


def test_a_seam_gives_a_vertex_two_coordinates():
    """Two quads side by side, then a third whose picture lies elsewhere."""
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 7, 6]])
    corner = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    uv = np.stack([corner, corner + np.array([1, 0]), corner + 5]) / 10
    texture = texture_mesh(quads, uv)
    np.testing.assert_array_equal(np.bincount(texture.vertex), [1, 1, 1, 2, 2, 1, 1, 1])
    np.testing.assert_allclose(texture.coordinates[texture.mesh.quads], uv)
    np.testing.assert_array_equal(texture.vertex[texture.mesh.quads], quads)
    island = islands(texture)[texture.mesh.quads[:, 0]]
    assert island[0] == island[1] != island[2]


def test_the_made_up_heads_seams_are_found(base: BaseMesh):
    """Down the middle of the back, and where the mouth's bag begins."""
    body = base.quad_group == "body"
    texture = texture_mesh(base.quads[body], base.quad_uv[body])
    count = np.bincount(texture.vertex)
    back = np.isclose(base.vertices[:, 0], 0) & (base.vertices[:, 2] < 0.5)
    twice = np.flatnonzero(count == 2)
    around_mouth = 2 * (MOUTH_BLOCK[1] - MOUTH_BLOCK[0] + MOUTH_BLOCK[3] - MOUTH_BLOCK[2])
    assert count.max() == 2 and len(twice) == len(ROWS) + around_mouth
    assert back[twice].sum() == len(ROWS)
    assert np.isin(LANDMARK_BASE_VERTICES[60:68], twice).all()
    assert len(np.unique(islands(texture))) == 2


def test_islands_fill_their_boxes_and_the_face_is_magnified():
    """MakeHuman's x runs down the head and its y to the person's left."""
    grid = np.linspace(-0.1, 0.1, 41)
    down, left = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
    head = np.stack([0.3 + down, 0.6 + left], axis=1)
    coordinates = np.concatenate([head, [[0.8, 0.1], [0.9, 0.3]]])
    island = np.concatenate([np.full(len(head), 5), [2, 2]])
    placed = layout(coordinates, island, 5, np.array([0.3, 0.6]))
    np.testing.assert_allclose(placed[island == 5].min(axis=0), HEAD_BOX[:2])
    np.testing.assert_allclose(placed[island == 5].max(axis=0), HEAD_BOX[2:])
    np.testing.assert_allclose(placed[-2:], [[MOUTH_BOX[0], MOUTH_BOX[3]], [*MOUTH_BOX[2:0:-1]]])
    u, v = placed[island == 5].reshape(41, 41, 2).transpose(2, 0, 1)
    assert (np.diff(u, axis=1) > 0).all() and (np.diff(v, axis=0) < 0).all()
    # Against an even layout, the middle is (1 + strength) times as large.
    even = np.array([HEAD_BOX[2] - HEAD_BOX[0], HEAD_BOX[3] - HEAD_BOX[1]]) / 40
    fine = np.array([(u[20, 21] - u[20, 19]) / 2, (v[19, 20] - v[21, 20]) / 2])
    np.testing.assert_allclose(fine / even, 1 + np.array(MAGNIFICATION), rtol=0.12)


def test_eyes_are_mirror_images_inside_their_discs():
    random = np.random.default_rng(0)
    polar, turn = random.uniform(0, 1.7, 50), random.uniform(0, 2 * np.pi, 50)
    points = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)])
    right, left = np.split(eye_layout(points.T, polar), 2)
    np.testing.assert_allclose(right * [-1, 1] + [1, 0], left)
    distance = np.linalg.norm(right - EYE_CENTRES[0], axis=1)
    assert distance.max() == pytest.approx(EYE_RADIUS)
    np.testing.assert_array_equal(np.argsort(distance), np.argsort(polar))


def test_angles_of_an_eye_come_back_from_its_disc():
    polar = np.linspace(0, 1.7, 40)
    points = np.stack([np.sin(polar), 0 * polar, np.cos(polar)], axis=1)
    right = eye_layout(points, polar)[:40]
    distance = np.linalg.norm(right - EYE_CENTRES[0], axis=1)
    np.testing.assert_allclose(eye_angle(distance, 1.7), polar, atol=1e-12)


def test_slivers_that_were_turned_over_are_turned_back():
    """Of two triangles on one side of a strip, the corner of one slid across its base."""
    uv = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [0.05, 0.1], [0.15, 0.1], [0.1, -2e-4]])
    triangles = np.array([[0, 1, 3], [1, 4, 3], [1, 2, 4], [0, 2, 5]])
    uv[5] = [0.1, 2e-4]
    assert signed_areas(uv, triangles)[3] > 0  # as it should be
    triangles[3] = [0, 5, 2]  # below the strip, its corner above its base
    mended = unfolded(uv, triangles)
    assert (signed_areas(mended, triangles) > 0).all()
    np.testing.assert_array_equal(mended[:5], uv[:5])
    assert np.linalg.norm(mended[5] - uv[5]) < 4e-4


def test_what_cannot_be_turned_back_is_told():
    """One triangle and the same the other way round."""
    uv = np.array([[0.0, 0], [0.1, 0], [0.05, 0.1]])
    with pytest.raises(ValueError, match="1 triangles of the texture layout stay turned over"):
        unfolded(uv, np.array([[0, 1, 2], [0, 2, 1]]))


def test_no_triangle_is_turned_over(head: HeadMesh):
    for triangles in (head.uv_triangles, head.coarse_uv_triangles):
        assert signed_areas(head.uv.astype(np.float32), triangles).min() > 0
    assert head.uv.min() >= 0 and head.uv.max() <= 1


def test_triangles_do_not_lie_on_each_other(head: HeadMesh):
    """Then the area that the picture covers is the sum of theirs."""
    size = 512
    covered = layout_raster(head.uv, head.uv_triangles, (size, size)).covered.mean()
    assert covered == pytest.approx(signed_areas(head.uv, head.uv_triangles).sum(), rel=0.01)


def test_the_layout_is_mirror_symmetric(head: HeadMesh):
    """Mirror images lie as far from the middle, but for seams, where one has two places."""
    place: dict[int, set[int]] = {}
    for vertex, coordinate in zip(head.triangles.ravel(), head.uv_triangles.ravel(), strict=True):
        place.setdefault(int(vertex), set()).add(int(coordinate))
    single = np.array([vertex for vertex, found in place.items() if len(found) == 1])
    uv = np.full((len(head.mirror), 2), np.nan)
    uv[single] = head.uv[[next(iter(place[int(vertex)])) for vertex in single]]
    np.testing.assert_allclose(uv[head.mirror] * [-1, 1] + [1, 0], uv, atol=5e-6)
    assert len(single) > 0.9 * len(head.mirror)


def test_every_coordinate_is_of_one_vertex(head: HeadMesh):
    pairs = np.stack([head.uv_triangles.ravel(), head.triangles.ravel()], axis=1)
    unique = np.unique(pairs, axis=0)
    assert len(unique) == len(head.uv)
    coarse = np.stack([head.coarse_uv_triangles.ravel(), head.coarse_triangles.ravel()], axis=1)
    assert {tuple(pair) for pair in coarse.tolist()} <= {tuple(pair) for pair in unique.tolist()}
