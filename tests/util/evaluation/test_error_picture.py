"""Errors as colours: what each colour says, and that meshes are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.images import read_image
from tests.conftest import grid_mesh
from util.evaluation.error_picture import ErrorMesh, draw_error_mesh, draw_errors, error_colours


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


def test_rows_with_titles_and_a_bar_with_numbers(tmp_path: Path):
    rows = {"first": [("a: 0 mm", face(0.0)), ("b: 1 mm", face(1.0))], "second": [("a", face(2.0))]}
    draw_errors(tmp_path / "e.png", rows)
    picture = read_image(tmp_path / "e.png")
    high = 224 + 46
    assert picture.shape == (2 * high + 46, 2 * 224, 3)

    def is_drawn(rows: slice, columns: slice) -> bool:
        return bool((picture[rows, columns] != 255).any())

    for top in (0, high):
        assert is_drawn(slice(top, top + 24), slice(0, 224)), "the row's title"
        assert not is_drawn(slice(top, top + 24), slice(300, None))
        assert is_drawn(slice(top + 24, top + 46), slice(0, 100)), "the mesh's title"
    assert is_drawn(slice(46, high), slice(224, None))
    assert not is_drawn(slice(high + 46, 2 * high), slice(224, None)), "no mesh there"
    bar = picture[2 * high + 12, 12:-12]
    assert bar[0, 2] > bar[0, 0] and bar[-1, 0] > 3 * bar[-1, 2]
    assert is_drawn(slice(2 * high + 22, None), slice(0, 40)), "0"
    assert is_drawn(slice(2 * high + 22, None), slice(360, None)), "5 mm and more"


def test_what_is_too_small_for_millimetres_has_its_own_limit(tmp_path: Path):
    draw_errors(tmp_path / "a.png", {"": [("", face(0.001))]}, limit=0.002, unit="")
    draw_errors(tmp_path / "b.png", {"": [("", face(2.5))]})
    middle = (24 + 22 + 112, 100)
    first, second = (read_image(tmp_path / f"{name}.png")[middle] for name in "ab")
    np.testing.assert_array_equal(first, second)
