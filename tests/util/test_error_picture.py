"""Errors as colours: what each colour says, and that meshes are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.images import read_image
from tests.conftest import grid_mesh
from util.error_picture import ErrorMesh, draw_error_mesh, draw_errors, error_colours


def face(errors_mm: float) -> ErrorMesh:
    mesh = grid_mesh()
    count = len(mesh.vertices)
    return ErrorMesh("a", mesh.vertices.numpy(), mesh.triangles.numpy(), np.full(count, errors_mm))


def test_colours_go_from_blue_to_red_and_end_there():
    colours = error_colours(np.array([0.0, 2.5, 5.0, 9.0, np.nan]), 5.0)
    assert colours[0, 2] > colours[0, 0] and colours[3, 0] > 3 * colours[3, 2]
    np.testing.assert_array_equal(colours[2], colours[3])
    assert np.ptp(colours[4]) == 0  # grey where nothing was compared
    assert (colours[1, :2] > 0.9).all()


def test_a_mesh_is_drawn_in_the_colour_of_its_errors():
    none, large = draw_error_mesh(face(0.0)), draw_error_mesh(face(8.0))
    middle = (112, 100)
    assert none[middle][2] > none[middle][0] and large[middle][0] > large[middle][2]
    assert (none[0, 0] == 255).all()


def test_rows_and_columns(tmp_path: Path):
    draw_errors(tmp_path / "e.png", [[face(0.0), face(1.0)], [face(2.0)]])
    picture = read_image(tmp_path / "e.png")
    assert picture.shape == (2 * (224 + 22) + 34, 2 * 224, 3)
    assert (picture[300, 224 + 112] == 255).all() and (picture[140, 112] != 255).any()
