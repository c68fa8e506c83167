"""OBJ files: written exactly as documented, and read alike by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tests.conftest import grid_mesh
from util.mesh_files.mesh_file import vertex_lines, vertex_lines_reference, write_obj

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, -0.5]], np.float32)


def test_the_text_is_exactly_as_documented(tmp_path: Path):
    colours = np.array([[0.0, 0.5, 1.0], [-0.2, 1.7, 0.999], [0.25, 0.75, 1 / 3]])
    write_obj(tmp_path / "a.obj", TRIANGLE, np.array([[0, 1, 2]]), colours)
    # Truncated to 8 bits: 0.5 -> 127, 0.999 -> 254, 0.25 -> 63, 0.75 -> 191, 1/3 -> 85.
    assert (tmp_path / "a.obj").read_bytes() == (
        b"v 0.00000000 0.00000000 0.00000000 0.00000000 0.49803922 1.00000000\n"
        b"v 1.00000000 0.00000000 0.00000000 0.00000000 1.00000000 0.99607843\n"
        b"v 0.00000000 1.00000000 -0.50000000 0.24705882 0.74901961 0.33333333\n"
        b"f 1 2 3\n"
    )


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 30.0, 1e6, 3e9])
def test_the_fast_writer_equals_the_readable_one(size: float):
    random = np.random.default_rng(1)
    vertices = (size * random.normal(size=(500, 3))).astype(np.float32)
    vertices[0] = [0.0, 1.0, -1.0]
    colours = random.integers(0, 256, (500, 3), dtype=np.uint8)
    colours[:256, 0] = np.arange(256)
    fast = bytes(vertex_lines(vertices, colours)).decode()
    readable = vertex_lines_reference(vertices.astype(np.float64), colours).decode()
    assert fast == readable.replace("-0.00000000", "0.00000000")


def test_float32_is_read_back_exactly():
    """Eight decimals separate neighbouring single-precision numbers from 1/8 decimetre on."""
    vertices = np.random.default_rng(2).uniform(0.125, 2, (4000, 3)).astype(np.float32)
    text = bytes(vertex_lines(vertices, np.zeros((4000, 3), np.uint8))).decode()
    read = np.array([line.split()[1:4] for line in text.splitlines()], np.float64)
    np.testing.assert_array_equal(read.astype(np.float32), vertices)


def test_the_numbers_are_those_of_the_public_way(tmp_path: Path):
    """The public code hands its mesh to trimesh; so does this test."""
    mesh = grid_mesh()
    vertices, triangles = mesh.vertices.numpy(), mesh.triangles.numpy()
    colours = np.random.default_rng(3).uniform(-0.1, 1.1, vertices.shape).astype(np.float32)
    write_obj(tmp_path / "ours.obj", vertices, triangles, colours)
    public: Any = trimesh.Trimesh(
        vertices=vertices,
        faces=triangles,
        vertex_colors=np.clip(255.0 * colours, 0, 255).astype(np.uint8),
        process=False,
    )
    public.export(tmp_path / "public.obj")
    ours, theirs = (
        [
            [float(number) for number in line.split()[1:]]
            for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()
            if line.startswith(("v ", "f "))
        ]
        for name in ("ours.obj", "public.obj")
    )
    assert ours == theirs


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
