"""Write triangle meshes as binary PLY, which MeshLab, CloudCompare, Blender and Open3D read.

Little-endian; positions and normals are float32, colours 8 bits, sRGB-encoded by custom.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from util.atomic import atomic_file

_VERTEX = np.dtype([("position", "<f4", 3), ("normal", "<f4", 3), ("colour", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
_HEADER = """ply
format binary_little_endian 1.0
{comments}element vertex {vertices}
property float x
property float y
property float z
property float nx
property float ny
property float nz
property uchar red
property uchar green
property uchar blue
element face {faces}
property list uchar int vertex_indices
end_header
"""


def write_ply(
    path: Path,
    vertices: np.ndarray,
    triangles: np.ndarray,
    normals: np.ndarray,
    colours: np.ndarray,
    remark: str = "",
) -> None:
    """Write a mesh atomically.

    Args:
        path: the .ply.
        vertices: (V, 3), in the unit that the file shall have.
        triangles: (F, 3) int, from 0.
        normals: (V, 3).
        colours: (V, 3) RGB, sRGB-encoded; clipped to [0, 1].
        remark: a line, or several, of the header, such as the unit; the format has ASCII only,
            other characters become question marks.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    for what, values in (("vertices", vertices), ("normals", normals), ("colours", colours)):
        if not np.isfinite(values).all():
            raise ValueError(f"{path.name}: the mesh has non-finite {what}")
    rows = np.empty(len(vertices), _VERTEX)
    rows["position"], rows["normal"] = vertices, normals
    rows["colour"] = np.rint(255 * colours.clip(0, 1))
    faces = np.empty(len(triangles), _FACE)
    faces["count"], faces["corners"] = 3, triangles
    comments = "".join(f"comment {line}\n" for line in remark.splitlines())
    header = _HEADER.format(comments=comments, vertices=len(vertices), faces=len(triangles))
    with atomic_file(path) as file:
        file.write(header.encode("ascii", "replace"))
        file.write(rows.tobytes())
        file.write(faces.tobytes())
