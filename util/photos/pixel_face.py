"""A face in pixels of its photo, as a SynergyNet's `.json` and `.obj` hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from util.mesh_files.mesh_file import write_obj
from util.mesh_files.textured_mesh import TexturedPart, material_stem, write_textured_obj


@dataclass(frozen=True)
class GivenMap:
    """A texture map that somebody made for a face."""

    part: TexturedPart
    """What of the mesh it covers."""
    picture: np.ndarray
    """(H, W, 3) uint8."""


@dataclass(frozen=True)
class PixelFace:
    """What is written of a face in pixels."""

    record: Mapping[str, Any]
    """Plain values of `<stem>.json`."""
    vertices: np.ndarray | None
    """(V, 3) of `<stem>.obj`: x right, y up from the photo's lower edge, z to the camera; None
    where no mesh is wanted."""
    given_map: GivenMap | None = None
    """Its texture; None for colours of the vertices."""

    def write_mesh(self, path: Path, triangles: np.ndarray, colours: np.ndarray) -> None:
        """Write the mesh, which is there, and beside it the files that `map_files` names.

        Args:
            path: the .obj.
            triangles: (F, 3)
            colours: (V, 3) RGB in [0, 1], where there is no map.

        Raises:
            ValueError: a number is not finite; nothing is written.
        """
        assert self.vertices is not None
        if self.given_map is None:
            write_obj(path, self.vertices, triangles, colours)
            return
        part = self.given_map.part
        write_textured_obj(
            path,
            self.vertices[part.vertices],
            part.triangles,
            part.uv,
            part.uv_triangles,
            self.given_map.picture,
            material=_material(path.stem),
        )


def map_files(stem: str) -> list[str]:
    """Names of a given map and its material beside `<stem>.obj`."""
    return [f"{_material(stem)}{ending}" for ending in (".mtl", ".png")]


def _material(stem: str) -> str:
    return material_stem(f"{stem}_map")
