"""Meshes of other programs: OBJ and PLY in the ways that they are written, against trimesh too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from util.errors import InputError
from util.mesh_files.mesh_reader import read_mesh

VERTICES = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]])
QUAD = np.array([[0, 1, 2], [0, 2, 3]])
PLAIN = "".join(f"v {x} {y} {z}\n" for x, y, z in VERTICES)
HEAD = "ply\nformat {} 1.0\ncomment x\nelement vertex 4\n"
XYZ = "property float x\nproperty float y\nproperty float z\n"
FACES = "element face {}\nproperty list uchar int vertex_indices\nend_header\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN + "f 1 2 3 4\n",
        PLAIN + "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n",
        PLAIN + "vt 0 0\nvn 0 0 1\nf 1//1 2//1 3//1\nf 1/1/1 3/1/1 4/1/1\n",
        PLAIN + "f -4 -3 -2 -1\n",
        # Counted from the vertices above the line, not from the last of the file.
        "".join(PLAIN.splitlines(True)[:3])
        + "f -3 -2 -1\n"
        + PLAIN.splitlines()[3]
        + "\nf 1 -2 -1",
        "  " + PLAIN.replace("\n", "\n  ") + "\tf 1 2 3 4\n",
        "# a comment\nmtllib x.mtl\no head\n"
        + PLAIN.replace("\n", " 0.5 0.25 1\n")
        + "s 1\nf 1 2 3 4",
        PLAIN.replace("v ", "v\t").replace("\n", "\r\n") + "f 1 2 3 4\r\n",
    ],
)
def test_obj(tmp_path: Path, text: str):
    path = tmp_path / "m.obj"
    path.write_bytes(text.encode())
    for asked in (path, tmp_path / "m"):
        mesh = read_mesh(asked)
        np.testing.assert_array_equal(mesh.vertices, VERTICES)
        np.testing.assert_array_equal(mesh.triangles, QUAD)


def ply_bytes(kind: str, quads: bool, extra: bool) -> bytes:
    order = ">" if "big" in kind else "<"
    colours = "property uchar red\n" if extra else ""
    faces = [[0, 1, 2, 3]] if quads else QUAD.tolist()
    head = (HEAD.format(kind) + XYZ + colours + FACES.format(len(faces))).encode()
    if kind == "ascii":
        rows = [" ".join(map(str, v)) + (" 7" if extra else "") for v in VERTICES]
        rows += [" ".join(map(str, [len(f), *f])) for f in faces]
        return head + ("\n".join(rows) + "\n").encode()
    body = b""
    for vertex in VERTICES:
        body += vertex.astype(f"{order}f4").tobytes() + (b"\x07" if extra else b"")
    for face in faces:
        body += bytes([len(face)]) + np.array(face, f"{order}i4").tobytes()
    return head + body


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("quads", [True, False])
@pytest.mark.parametrize("extra", [True, False])
def test_ply(tmp_path: Path, kind: str, quads: bool, extra: bool):
    (tmp_path / "m.ply").write_bytes(ply_bytes(kind, quads, extra))
    mesh = read_mesh(tmp_path / "m")
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.triangles, QUAD)


STRIPS = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize(
    ("strip", "triangles"),
    [
        ([0, 1, 2, 3], [[0, 1, 2], [2, 1, 3]]),
        ([0, 1, 2, -1, 0, 2, 3], [[0, 1, 2], [0, 2, 3]]),
        ([0, 1, 2, 2, 3, 0], [[0, 1, 2], [3, 2, 0]]),
    ],
)
def test_strips_become_their_triangles(
    tmp_path: Path, kind: str, strip: list[int], triangles: list[list[int]]
):
    head = (HEAD.format(kind) + XYZ + STRIPS).encode()
    numbers = [len(strip), *strip]
    if kind == "ascii":
        lines = [*(" ".join(map(str, v)) for v in VERTICES), " ".join(map(str, numbers))]
        body = "\n".join(lines).encode()
    else:
        body = VERTICES.astype("<f4").tobytes() + np.array(numbers, "<i4").tobytes()
    (tmp_path / "m.ply").write_bytes(head + body)
    np.testing.assert_array_equal(read_mesh(tmp_path / "m.ply").triangles, triangles)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("name", ["vertex_indices", "vertex_index"])
def test_corners_are_the_list_of_their_name(tmp_path: Path, kind: str, name: str):
    """Before it stand texture coordinates, as MeshLab writes them, and a number."""
    lists = "property list uchar float texcoord\nproperty uchar flag\n"
    head = HEAD.format(kind) + XYZ + "element face 2\n" + lists
    head += f"property list uchar int {name}\nend_header\n"
    if kind == "ascii":
        rows = [" ".join(map(str, v)) for v in VERTICES]
        rows += [f"6 0 0 1 0 1 1 9 3 {a} {b} {c}" for a, b, c in QUAD]
        body = "\n".join(rows).encode()
    else:
        body = VERTICES.astype("<f4").tobytes()
        for face in QUAD:
            body += b"\x06" + bytes(24) + b"\x09\x03" + face.astype("<i4").tobytes()
    (tmp_path / "m.ply").write_bytes(head.encode() + body)
    np.testing.assert_array_equal(read_mesh(tmp_path / "m.ply").triangles, QUAD)


def test_files_of_trimesh(tmp_path: Path):
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=1)
    for name in ("m.obj", "m.ply"):
        ball.export(tmp_path / name)
        mesh = read_mesh(tmp_path / name)
        np.testing.assert_allclose(mesh.vertices, ball.vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.triangles, ball.faces)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.obj", b"", "holds no vertices"),
        ("a.obj", b"<!DOCTYPE html>", "web page"),
        ("a.obj", PLAIN.encode(), "4 points but no faces"),
        ("a.obj", b"v 1 2\nf 1 1 1\n", "less than three numbers"),
        ("a.obj", b"v 1 2 x\n", "no mesh, or it is damaged"),
        ("a.obj", b"v 1 2 nan\nf 1 1 1\n", "not finite"),
        ("a.obj", PLAIN.encode() + b"f 1 2 9\n", "it holds 4, and a face names number 9"),
        ("a.obj", PLAIN.encode() + b"f 0 1 2\n", "counts from 1"),
        ("a.obj", b"f -1 -2 -3\n" + PLAIN.encode(), "names vertex -1 after 0 vertices"),
        (
            "a.ply",
            ply_bytes("ascii", True, False).replace(b"_indices", b"_x"),
            "has no list vertex_indices",
        ),
        ("a.ply", ply_bytes("ascii", True, False)[:-4] + b"\n", "announces 4 corners, has 2"),
        ("a.ply", b"ply\nformat ascii 1.0\n", "no header"),
        ("a.ply", ply_bytes("binary_little_endian", False, False)[:-40], "cut short"),
        ("a.ply", ply_bytes("ascii", False, False)[:-20], "damaged or cut short"),
        ("a.ply", ply_bytes("ascii", False, False).replace(b"float x", b"float q"), "damaged"),
    ],
)
def test_what_is_no_mesh_is_named(tmp_path: Path, name: str, content: bytes, problem: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{problem}"):
        read_mesh(tmp_path / name)


def test_a_missing_mesh_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"b.obj \(or .ply\) does not exist"):
        read_mesh(tmp_path / "b")
