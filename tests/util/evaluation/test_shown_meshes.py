"""Meshes that a report shows: which are kept, how they are thinned, what is read again."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.scan_files import dome
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.shown_meshes import (
    BEYOND,
    FIRST,
    LEVELS,
    WORST,
    ShownMeshes,
    read_shown,
    shown_path,
    thinned,
)


def face(name: str, error: float, columns: int = 6) -> ErrorMesh:
    mesh = dome(columns, columns)
    return ErrorMesh(
        name, mesh.vertices / 100, mesh.triangles, np.full(len(mesh.vertices), float(error))
    )


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def test_the_first_and_of_the_rest_the_worst():
    """Only meshes that may be shown are made."""
    figures = [9.0, 1, 2, 3, 4, *range(10, 20), 0.5, 15.5]
    made: list[int] = []
    shown = ShownMeshes("m", "x")
    for number, figure in enumerate(figures):

        def make(number: int = number) -> ErrorMesh:
            made.append(number)
            return face(str(number), 1)

        shown.offer(figure, make)
    assert [one.mesh.name for one in shown.first] == ["0", "1", "2", "3", "4"]
    assert [one.figure for one in shown.worst] == [19, 18, 17, 16, 15.5]
    assert len(shown.first) == FIRST and len(shown.worst) == WORST
    assert 15 not in made and len(made) == len(figures) - 1


def test_a_thinned_mesh_is_the_same_surface_with_the_same_errors():
    mesh = dome(120, 130)
    height = mesh.vertices[:, 1] / 100
    fine = ErrorMesh("a", mesh.vertices / 100, mesh.triangles, 2 + height)
    coarse = thinned(fine, 2000)
    assert 1000 < len(coarse.vertices) <= 2000
    np.testing.assert_allclose(coarse.errors, 2 + coarse.vertices[:, 1], atol=1e-9)
    assert thinned(fine, 20000) is fine

    def area(one: ErrorMesh) -> float:
        a, b, c = np.moveaxis(one.vertices[one.triangles], 1, 0)
        across = np.cross(b - a, c - a)
        assert (across[:, 2] > 0).mean() > 0.99, "triangles keep their sides"
        return float(np.linalg.norm(across, axis=1).sum() / 2)

    assert area(coarse) == pytest.approx(area(fine), rel=0.06)
    assert len(np.unique(coarse.triangles)) >= 0.95 * len(coarse.vertices)


def test_what_was_not_compared_stays_so_when_thinned():
    mesh = face("a", 1, 40)
    mesh.errors[mesh.vertices[:, 1] > 0] = np.nan
    coarse = thinned(mesh, 300)
    upper = coarse.vertices[:, 1] > 0.15
    assert np.isnan(coarse.errors[upper]).all()
    assert np.isfinite(coarse.errors[coarse.vertices[:, 1] < -0.15]).all()


def test_files_hold_errors_and_positions(tmp_path: Path):
    shown = ShownMeshes("my method", "x")
    mesh = face("a", 1)
    mesh.errors[:3] = [0.0, np.nan, 99.0]
    shown.offer(1.25, lambda: mesh)
    shown.write(tmp_path)
    assert shown_path(tmp_path, "my method") == tmp_path / "shown" / "my_method.json"
    content = read_shown(tmp_path, "my method", "x")
    assert content is not None
    (read,) = content["faces"]
    assert (read["name"], read["figure"], read["kind"]) == ("a", 1.25, "first")
    levels = unpacked(read["errors"], "u1")
    assert levels[:3].tolist() == [0, LEVELS + 1, LEVELS]
    assert levels[4] * BEYOND * content["limit"] / LEVELS == pytest.approx(1, abs=0.02)
    packed = content["meshes"][read["mesh"]]
    steps = unpacked(packed["vertices"]["steps"], "<i2").reshape(3, -1).T
    positions = np.cumsum(steps, axis=0, dtype=np.int16) * packed["vertices"]["scale"]
    np.testing.assert_allclose(positions, mesh.vertices, atol=1e-4)
    np.testing.assert_array_equal(
        unpacked(packed["triangles"], "<u2").reshape(-1, 3), mesh.triangles
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 0, "data": "x"}', "\x00"])
def test_other_files_and_other_data_are_passed_over(tmp_path: Path, content: str):
    path = shown_path(tmp_path, "m")
    assert read_shown(tmp_path, "m", "x") is None
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    assert read_shown(tmp_path, "m", "x") is None
    shown = ShownMeshes("m", "x")
    shown.offer(1, lambda: face("a", 1))
    shown.write(tmp_path)
    assert read_shown(tmp_path, "m", "x") is not None
    assert read_shown(tmp_path, "m", "other images") is None


def test_errors_without_a_unit_have_a_limit_that_suits():
    shown = ShownMeshes("m", "x", unit="")
    shown.offer(2300, lambda: face("a", 2300))
    assert shown.limit == 2000
    nothing = ShownMeshes("m", "x", unit="")
    nothing.offer(0, lambda: face("a", 0))
    assert nothing.limit == 1
    assert json.dumps(shown.limit)
