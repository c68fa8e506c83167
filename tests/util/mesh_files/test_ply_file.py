"""Binary PLY: golden bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from util.mesh_files.ply_file import write_ply

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
UP, GREY = np.tile([0.0, 0, 1], (3, 1)), np.array([[0.0, 0.5, 1.2]] * 3)


def test_every_byte_of_a_triangle(tmp_path: Path):
    write_ply(tmp_path / "a.ply", TRIANGLE, np.array([[0, 1, 2]]), UP, GREY, "unit: metre\nZoë")
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment unit: metre\ncomment Zo?\n"
        "element vertex 3\n"
        + "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
        + "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
        + "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = b"".join(
        struct.pack("<6f3B", *vertex, 0, 0, 1, 0, 128, 255) for vertex in TRIANGLE.tolist()
    )
    expected = header.encode("ascii") + rows + struct.pack("<B3i", 3, 0, 1, 2)
    assert (tmp_path / "a.ply").read_bytes() == expected


def test_non_finite_numbers_are_named(tmp_path: Path):
    for position, what in ((0, "vertices"), (1, "normals"), (2, "colours")):
        arrays = [TRIANGLE.copy(), UP.copy(), GREY.copy()]
        arrays[position][0] = np.nan
        with pytest.raises(ValueError, match=f"a.ply: .*non-finite {what}"):
            write_ply(tmp_path / "a.ply", arrays[0], np.array([[0, 1, 2]]), *arrays[1:])
    assert not list(tmp_path.iterdir())
