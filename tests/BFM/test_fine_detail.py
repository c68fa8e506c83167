"""Drawing on the surface: texels of a layout, strands, spots, noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from BFM.open_model.fine_detail import _eye_coordinates
from BFM.open_model.hair_strands import draw, grow, spots
from BFM.open_model.head_mesh import HeadMesh
from BFM.open_model.surface_noise import noise
from BFM.open_model.texel_surface import Skin, occlusion, texel_surface

SIZE = 64


@pytest.fixture
def sheet():
    """A flat square of 1 dm that fills the middle half of the layout: a texel is 1 / 32 dm."""
    grid = np.linspace(0, 1, 9)
    x, y = np.meshgrid(grid, grid)
    vertices = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 10], axis=1),
            np.stack([corner, corner + 10, corner + 9], axis=1),
        ]
    )
    uv = 0.25 + 0.5 * vertices[:, :2]
    mesh: Any = SimpleNamespace(uv=uv, uv_triangles=triangles, triangles=triangles)
    return vertices, mesh, texel_surface(vertices, mesh, SIZE)


def test_texels_lie_where_the_layout_puts_them(sheet):
    vertices, _, surface = sheet
    assert len(surface.index) == (SIZE // 2) ** 2
    expected = (surface.column_row / SIZE * [1, -1] + [0, 1] - 0.25) * 2
    np.testing.assert_allclose(surface.points[:, :2], expected, atol=1e-4)
    np.testing.assert_allclose(surface.normals, np.tile([0, 0, 1], (len(surface.index), 1)))
    assert surface.area.sum() == pytest.approx(1)
    # A linear function comes back at the vertices inside.
    x = surface.at_vertices(surface.points[:, 0])
    inside = (np.abs(vertices[:, :2] - 0.5) < 0.45).all(axis=1)
    np.testing.assert_allclose(x[inside], vertices[inside, 0], atol=1e-3)


def test_places_between_texels_are_found(sheet):
    _, _, surface = sheet
    skin = Skin(surface, np.ones(len(surface.index), dtype=bool))
    points = np.random.default_rng(0).uniform(0.1, 0.9, (20, 3)) * [1, 1, 0]
    expected = (0.25 + 0.5 * points[:, :2] * [1, 1]) * SIZE
    expected[:, 1] = SIZE - expected[:, 1]
    np.testing.assert_allclose(skin.place(points), expected, atol=1e-3)


def test_a_sheet_shades_nothing_and_a_roof_shades_the_floor(sheet):
    vertices, mesh, surface = sheet
    assert occlusion(surface, vertices, mesh).max() < 0.02
    count = len(vertices)
    roof = vertices + np.array([0, 0, 0.05])
    both: Any = SimpleNamespace(
        uv=np.concatenate([mesh.uv, mesh.uv]),
        uv_triangles=mesh.triangles,
        triangles=np.concatenate([mesh.triangles, mesh.triangles + count]),
    )
    shaded = occlusion(surface, np.concatenate([vertices, roof]), both)
    middle = np.linalg.norm(surface.points[:, :2] - 0.5, axis=1) < 0.2
    assert shaded[middle].min() > 0.7


def test_strands_keep_to_the_surface_and_to_their_length(sheet):
    _, _, surface = sheet
    skin = Skin(surface, np.ones(len(surface.index), dtype=bool))
    roots = np.array([[0.3, 0.5, 0.02], [0.5, 0.5, -0.01]])
    length = np.array([0.2, 0.1])
    paths = grow(
        skin, roots, lambda p: np.tile([1.0, 0, 1.0], (len(p), 1)), length, np.zeros((2, 2))
    )
    np.testing.assert_allclose(paths[..., 2], 0, atol=1e-9)
    np.testing.assert_allclose(paths[:, -1, 0] - paths[:, 0, 0], length, atol=1e-9)


def test_a_line_covers_its_area():
    path = np.linspace([10.3, 12.2], [40.1, 30.7], 20)[None]
    picture = draw(path, np.array([0.2]), np.ones(1), SIZE, tip=1.0)
    length = np.linalg.norm(path[0, -1] - path[0, 0])
    covered = -np.log1p(-picture).sum()
    assert covered == pytest.approx(0.2 * length, rel=1e-6)
    assert (draw(path, np.array([50.0]), np.ones(1), SIZE) <= 1).all()


def test_lines_that_jump_over_a_seam_are_left_out():
    path = np.array([[[2.0, 2.0], [60.0, 60.0]], [[2.0, 30.0], [4.0, 30.0]]])
    picture = draw(path, np.full(2, 0.5), np.ones(2), SIZE)
    assert picture[28:32, :8].sum() > 0
    assert picture[40:].sum() == 0


def test_spots_are_round_on_the_surface(sheet):
    _, _, surface = sheet
    skin = Skin(surface, np.ones(len(surface.index), dtype=bool))
    middle = skin.nearest(np.array([[0.5, 0.5, 0]]))
    picture = spots(skin, middle, np.array([0.2]), 0.1, np.array([0.8]))
    assert picture.max() == pytest.approx(0.8)
    # Half of the soft edge is inside: the area of a disc of a twentieth more radius.
    area = (picture / 0.8).sum() / 32**2
    assert area == pytest.approx(np.pi * 0.21**2, rel=0.05)


def test_noise_has_unit_deviation_and_the_length_asked_for():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 40, (4000, 3))
    fields = np.stack([noise(points, 1.0, rng) for _ in range(20)])
    assert fields.std() == pytest.approx(1, abs=0.05)
    assert abs(fields.mean()) < 0.05
    steps = np.stack([noise(np.array([[0.0, 0, 0], [1.0, 0, 0]]), 1.0, rng) for _ in range(800)])
    # Covariance of a Gaussian at one length: exp(-1/2).
    assert np.mean(steps[:, 0] * steps[:, 1]) == pytest.approx(np.exp(-0.5), abs=0.12)
    where = points[:, 0] > 20
    assert (noise(points, 1.0, rng, where)[~where] == 0).all()


def test_angles_in_the_eye_are_those_of_the_mesh(head: HeadMesh, reference: np.ndarray):
    """Where the layout puts a place of the eyeball, there its angle is found again."""
    vertices = head.subdivision @ head.control_points(reference)
    surface = texel_surface(vertices, head, 160)
    angle, _ = _eye_coordinates(surface, head)
    in_eye = np.isfinite(angle)
    polar = np.where(np.isfinite(head.eye_polar_rad), head.eye_polar_rad, 0)
    expected = np.degrees(surface.interpolation @ polar)
    np.testing.assert_allclose(angle[in_eye], expected[in_eye], atol=3)
