"""OBJ files: written exactly as documented, and read alike by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tests.conftest import grid_mesh
from util.mesh_file import write_obj

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, -0.5]], np.float32)


def test_the_text_is_exactly_as_documented(tmp_path: Path):
    colours = np.array([[0.0, 0.5, 1.0], [-0.2, 1.7, 0.999], [0.25, 0.75, 1 / 3]])
    write_obj(tmp_path / "a.obj", TRIANGLE, np.array([[0, 1, 2]]), colours)
    # Truncated to 8 bits: 0.5 -> 127, 0.999 -> 254, 0.25 -> 63, 0.75 -> 191, 1/3 -> 85.
    assert (tmp_path / "a.obj").read_bytes() == (
        b"v 0.000000 0.000000 0.000000 0.0000 0.4980 1.0000\n"
        b"v 1.000000 0.000000 0.000000 0.0000 1.0000 0.9961\n"
        b"v 0.000000 1.000000 -0.500000 0.2471 0.7490 0.3333\n"
        b"f 1 2 3\n"
    )


def test_trimesh_reads_the_same_mesh(tmp_path: Path):
    mesh = grid_mesh()
    vertices, triangles = mesh.vertices.numpy(), mesh.triangles.numpy()
    colours = np.random.default_rng(0).uniform(-0.1, 1.1, vertices.shape)
    path = tmp_path / "größe.obj"
    write_obj(path, vertices, triangles, colours)
    read = trimesh.load_mesh(path, process=False, maintain_order=True)
    np.testing.assert_allclose(read.vertices, vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, triangles)
    expected = np.clip(255 * colours, 0, 255).astype(np.uint8)
    visual: Any = read.visual
    difference = np.abs(visual.vertex_colors[:, :3].astype(int) - expected)
    assert difference.max() <= 1


def test_faces_of_another_mesh_are_not_mixed_up(tmp_path: Path):
    """The face lines are remembered between calls; they must follow the triangles."""
    colours = np.zeros((3, 3))
    for corners in ([0, 1, 2], [2, 1, 0], [0, 1, 2]):
        write_obj(tmp_path / "a.obj", TRIANGLE, np.array([corners]), colours)
        line = (tmp_path / "a.obj").read_text(encoding="utf-8").splitlines()[-1]
        assert line == "f {} {} {}".format(*(corner + 1 for corner in corners))


def test_index_types_do_not_matter(tmp_path: Path):
    texts = []
    for dtype in (np.int32, np.int64, np.uint32):
        write_obj(tmp_path / "a.obj", TRIANGLE, np.array([[0, 1, 2]], dtype), np.zeros((3, 3)))
        texts.append((tmp_path / "a.obj").read_bytes())
    assert texts[0] == texts[1] == texts[2]


def test_inputs_are_not_changed(tmp_path: Path):
    vertices, colours = TRIANGLE.copy(), np.full((3, 3), 1.5)
    write_obj(tmp_path / "a.obj", vertices, np.array([[0, 1, 2]]), colours)
    write_obj(tmp_path / "b.obj", vertices, np.array([[0, 1, 2]]), colours)
    assert (tmp_path / "a.obj").read_bytes() == (tmp_path / "b.obj").read_bytes()
    np.testing.assert_array_equal(vertices, TRIANGLE)
    assert (colours == 1.5).all()


@pytest.mark.parametrize("which", ["vertices", "colours"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_numbers_are_refused_and_the_old_file_stays(
    tmp_path: Path, which: str, value: float
):
    path = tmp_path / "a.obj"
    path.write_text("old", encoding="utf-8")
    arrays = {"vertices": TRIANGLE.copy(), "colours": np.zeros((3, 3))}
    arrays[which][1, 1] = value
    with pytest.raises(ValueError, match=r"a\.obj.*non-finite"):
        write_obj(path, arrays["vertices"], np.array([[0, 1, 2]]), arrays["colours"])
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
