"""Meshes in pixels: where they are drawn, what hides what, which colours the photo gives."""

from __future__ import annotations

import numpy as np
import pytest

from models.pixel_view import PixelView
from models.renderer import Renderer
from tests.conftest import Mesh


@pytest.fixture
def view(tiny_mesh: Mesh) -> PixelView:
    return PixelView(tiny_mesh.triangles.numpy(), len(tiny_mesh.vertices), Renderer("torch"))


def in_photo(mesh: Mesh, x: float, y: float, size: float = 30.0) -> np.ndarray:
    """The dome with its middle at a pixel, y down."""
    return mesh.vertices.numpy().astype(np.float64) * [size, -size, size] + [x, y, 0.0]


def test_a_mesh_is_drawn_where_it_lies(view: PixelView, tiny_mesh: Mesh):
    vertices = in_photo(tiny_mesh, 60, 50)
    picture = np.zeros((120, 160, 3), np.uint8)
    red = np.tile([1.0, 0.0, 0.0], (len(vertices), 1))
    drawn = view.draw_over(picture, [vertices], [red])
    rows, columns = np.nonzero(drawn[..., 0])
    # 1.6 x 2 decimetres at 30 pixels each.
    assert (columns.min(), columns.max() + 1) == (36, 84)
    assert (rows.min(), rows.max() + 1) == (20, 80)
    assert (picture == 0).all()
    half = view.draw_over(picture + np.uint8(100), [vertices], [red], alpha=0.5)
    np.testing.assert_allclose(half[50, 60].astype(int), [178, 50, 50], atol=1)


def test_beyond_the_edges(view: PixelView, tiny_mesh: Mesh):
    picture = np.full((50, 60, 3), 9, np.uint8)
    inside = view.draw_over(picture, [in_photo(tiny_mesh, 0, 0)], [np.ones((168, 3))])
    assert (inside[:10, :10] == 255).all() and (inside[40:, 40:] == 9).all()
    outside = view.draw_over(picture, [in_photo(tiny_mesh, 500, 500)], [np.ones((168, 3))])
    np.testing.assert_array_equal(outside, picture)


def test_the_larger_face_covers_the_smaller(view: PixelView, tiny_mesh: Mesh):
    near, far = in_photo(tiny_mesh, 60, 60, 30), in_photo(tiny_mesh, 60, 60, 15)
    white, black = np.ones((168, 3)), np.full((168, 3), 0.2)
    picture = np.zeros((120, 120, 3), np.uint8)
    drawn = view.draw_over(picture, [near, far], [white, black])
    assert drawn[60, 60, 0] == 255


def test_normals_look_at_the_viewer(view: PixelView, tiny_mesh: Mesh):
    normals = view.normals(in_photo(tiny_mesh, 60, 50))
    top = int(tiny_mesh.vertices[:, 2].argmax())
    assert normals[top, 2] > 0.8
    upper = int(tiny_mesh.vertices[:, 1].argmax())
    assert normals[upper, 1] > 0  # up, though rows count down


def test_colours_of_the_photo(view: PixelView, tiny_mesh: Mesh):
    vertices = in_photo(tiny_mesh, 60, 50)
    rows, columns = np.mgrid[:120, :160]
    picture = np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8)
    colours, seen = view.colours_from(picture, vertices)
    assert seen.mean() > 0.9
    # Pixel i's centre, where its colour holds, lies at i + 0.5.
    expected = (vertices[:, :2] - 0.5) / 255
    np.testing.assert_allclose(colours[seen, :2], expected[seen], atol=1e-3)


def test_what_is_turned_away_or_outside_is_not_coloured(view: PixelView, tiny_mesh: Mesh):
    picture = np.full((120, 160, 3), 80, np.uint8)
    half, seen = view.colours_from(picture, in_photo(tiny_mesh, 0, 50))
    left = in_photo(tiny_mesh, 0, 50)[:, 0] < 0
    assert not seen[left].any() and seen[~left].any()
    np.testing.assert_allclose(half, 80 / 255, atol=1e-6)
    mirrored = in_photo(tiny_mesh, 60, 50) * [-1, 1, 1] + [120, 0, 0]
    _, seen = view.colours_from(picture, mirrored)  # its inside faces the camera
    assert not seen.any()
    _, none = view.colours_from(picture, in_photo(tiny_mesh, 900, 900))
    assert not none.any()


def test_what_lies_behind_is_hidden(tiny_mesh: Mesh):
    """Two domes in one mesh, one behind the other: only the front one is coloured."""
    count = len(tiny_mesh.vertices)
    triangles = np.concatenate([tiny_mesh.triangles.numpy(), tiny_mesh.triangles.numpy() + count])
    front = in_photo(tiny_mesh, 60, 50)
    both = np.concatenate([front, (front - [60, 50, 0]) * 0.7 + [60, 50, -60]])
    view = PixelView(triangles, 2 * count, Renderer("torch"))
    _, seen = view.colours_from(np.full((120, 160, 3), 80, np.uint8), both)
    assert seen[:count].mean() > 0.9 and not seen[count:].any()
