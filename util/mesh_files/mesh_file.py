"""Write triangle meshes with vertex colours as Wavefront OBJ.

Numbers have eight decimals, as the public code's meshes have. Text is what such files cost: the
face lines, the same for every face of a model, are made once, and the vertex lines by a compiled
loop.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import no_type_check

import numpy as np

from models.kernels import kernel
from util.atomic import atomic_file

DECIMALS = 8
_LINE_BYTES = 2 + 3 * 21 + 3 * 11
"""Longest vertex line: `v`, three numbers of up to 9 + 1 + 8 digits and sign, three colours."""
_LARGEST = 1e9
"""Coordinates from here on are left to Python: their digits would not fit into 64 bits."""


def write_obj(
    path: Path,
    vertices: np.ndarray,
    triangles: np.ndarray,
    colours: np.ndarray,
    remark: str = "",
) -> None:
    """Write a mesh with one colour a vertex, as `v x y z r g b` lines.

    Args:
        path: the file to write, atomically.
        vertices: (V, 3), in the unit that the file shall have.
        triangles: (F, 3) int, from 0.
        colours: (V, 3) RGB; clipped to [0, 1] and truncated to 8 bits, as the public code does.
        remark: a line, or several, before the mesh, such as its unit.

    Raises:
        ValueError: a vertex or colour is not finite; nothing is written.
    """
    if not (np.isfinite(vertices).all() and np.isfinite(colours).all()):
        raise ValueError(f"{path.name}: the mesh has non-finite vertices or colours")
    quantised = np.clip(255 * colours, 0, 255).astype(np.uint8)
    faces = face_lines(np.ascontiguousarray(triangles, dtype=np.int32).tobytes())
    with atomic_file(path) as file:
        file.write(remark_lines(remark).encode("utf-8"))
        file.write(vertex_lines(vertices, quantised))
        file.write(faces)


def remark_lines(remark: str) -> str:
    """Lines that readers of .obj and .mtl pass over; none for an empty remark."""
    return "".join(f"# {line}\n" for line in remark.splitlines())


def vertex_lines(vertices: np.ndarray, colours: np.ndarray) -> bytes | memoryview:
    """The `v` lines of (V, 3) finite coordinates and (V, 3) uint8 colours, fast."""
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    if vertices.size and np.abs(vertices).max() >= _LARGEST:
        return vertex_lines_reference(vertices, colours)
    text = np.empty(len(vertices) * _LINE_BYTES, np.uint8)
    end = np.zeros(1, np.int64)
    tables = _colour_table(), _four_digits()
    _write_vertex_lines(vertices, np.ascontiguousarray(colours), *tables, text, end)
    return text[: int(end[0])].data


def vertex_lines_reference(vertices: np.ndarray, colours: np.ndarray) -> bytes:
    """The readable form of `vertex_lines`; writes a minus before zeros that round from below."""
    rows = np.concatenate([vertices, colours / 255], axis=1)
    number = f"%.{DECIMALS}f"
    line = "v " + " ".join([number] * 6) + "\n"
    return ((line * len(rows)) % tuple(rows.ravel().tolist())).encode("ascii")


@lru_cache(maxsize=4)
def face_lines(triangles_int32: bytes) -> bytes:
    """Face lines, from 1; the same for every face of a model, so they are made once."""
    triangles = np.frombuffer(triangles_int32, dtype=np.int32) + 1
    text = ("f %d %d %d\n" * (triangles.size // 3)) % tuple(triangles.tolist())
    return text.encode("ascii")


@lru_cache(maxsize=1)
def _colour_table() -> np.ndarray:
    """(256, 10) ASCII of k / 255."""
    texts = [f"{level / 255:.{DECIMALS}f}".encode("ascii") for level in range(256)]
    return np.frombuffer(b"".join(texts), np.uint8).reshape(256, DECIMALS + 2)


@lru_cache(maxsize=1)
def _four_digits() -> np.ndarray:
    """(10000, 4) ASCII of 0000 to 9999."""
    text = "".join(f"{number:04d}" for number in range(10_000))
    return np.frombuffer(text.encode("ascii"), np.uint8).reshape(10_000, 4)


@kernel
@no_type_check
def _write_vertex_lines(vertices, colours, colour_table, four_digits, text, end):
    """Fill `text` with ASCII; `end` receives its length."""
    at = 0
    digits = np.empty(20, np.uint8)
    for row in range(vertices.shape[0]):
        text[at] = 118  # v
        at += 1
        for axis in range(3):
            text[at] = 32
            at += 1
            value = vertices[row, axis]
            # Rounded half to even in units of the last decimal, as C's formatting rounds.
            units = np.int64(np.rint(abs(value) * 100000000.0))
            if value < 0 and units > 0:
                text[at] = 45  # -
                at += 1
            whole = units // 100000000
            decimals = units - whole * 100000000
            count = 0
            while whole > 0 or count == 0:
                digits[count] = 48 + whole % 10
                whole //= 10
                count += 1
            for place in range(count - 1, -1, -1):
                text[at] = digits[place]
                at += 1
            text[at] = 46  # .
            # Two halves of four digits: divisions are what the loop would spend its time on.
            first = decimals // 10000
            second = decimals - first * 10000
            for place in range(4):
                text[at + 1 + place] = four_digits[first, place]
                text[at + 5 + place] = four_digits[second, place]
            at += 9
        for channel in range(3):
            text[at] = 32
            at += 1
            level = colours[row, channel]
            for place in range(DECIMALS + 2):
                text[at] = colour_table[level, place]
                at += 1
        text[at] = 10
        at += 1
    end[0] = at
