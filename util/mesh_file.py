"""Write triangle meshes with vertex colours as Wavefront OBJ."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from util.atomic import write_text


def write_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray) -> None:
    """Write a mesh with one colour a vertex, as `v x y z r g b` lines.

    Args:
        path: the file to write, atomically.
        vertices: (V, 3), in the unit that the file shall have.
        triangles: (F, 3) int, from 0.
        colours: (V, 3) RGB; clipped to [0, 1] and truncated to 8 bits, as the public code does.

    Raises:
        ValueError: a vertex or colour is not finite; nothing is written.
    """
    if not (np.isfinite(vertices).all() and np.isfinite(colours).all()):
        raise ValueError(f"{path.name}: the mesh has non-finite vertices or colours")
    quantised = np.clip(255 * colours, 0, 255).astype(np.uint8) / 255
    rows = np.concatenate([vertices, quantised], axis=1)
    # One format operation over the whole array: several times as fast as a call per line.
    lines = ("v %.6f %.6f %.6f %.4f %.4f %.4f\n" * len(rows)) % tuple(rows.ravel().tolist())
    faces = _face_lines(np.ascontiguousarray(triangles, dtype=np.int32).tobytes())
    write_text(path, lines + faces)


@lru_cache(maxsize=4)
def _face_lines(triangles_int32: bytes) -> str:
    """Face lines, from 1; the same for every face of a model, so they are made once."""
    triangles = np.frombuffer(triangles_int32, dtype=np.int32) + 1
    return ("f %d %d %d\n" * (triangles.size // 3)) % tuple(triangles.tolist())
