"""A face in pixels of its photo, as a SynergyNet's `.json` and `.obj` hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from options.output_options import OutputOptions
from util.mesh_files.mesh_file import write_obj
from util.mesh_files.textured_mesh import TexturedPart, material_stem, write_textured_obj
from util.photos.record_file import write_record

if TYPE_CHECKING:
    from util.photos.face_result import FaceResult


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

    @property
    def contents(self) -> Mapping[str, str]:
        """See `NumberFiles`."""
        mesh = {} if self.vertices is None else {".obj": "mesh, in pixels of the photo"}
        return {**mesh, ".json": "landmarks, pose, parameters"}

    def names(self, stem: str) -> list[str]:
        """See `NumberFiles`."""
        beside = [] if self.given_map is None else map_files(stem)
        return [*beside, *(f"{stem}{ending}" for ending in self.contents)]

    def write(self, folder: Path, face: FaceResult, options: OutputOptions) -> None:
        """See `NumberFiles`; pixels are the unit, whatever the options say."""
        path = folder / f"{face.stem}.obj"
        if self.vertices is not None and self.given_map is None:
            write_obj(path, self.vertices, face.triangles, face.colours)
        elif self.vertices is not None and self.given_map is not None:
            self._write_mapped(path, self.vertices, self.given_map)
        record = {"photo": face.photo.name, "face": face.number, **self.record}
        write_record(folder / f"{face.stem}.json", record)

    @staticmethod
    def _write_mapped(path: Path, vertices: np.ndarray, given: GivenMap) -> None:
        """Write the part of the mesh that a map covers, and beside it what `map_files` names."""
        part = given.part
        write_textured_obj(
            path,
            vertices[part.vertices],
            part.triangles,
            part.uv,
            part.uv_triangles,
            given.picture,
            material=_material(path.stem),
        )


def map_files(stem: str) -> list[str]:
    """Names of a given map and its material beside `<stem>.obj`."""
    return [f"{_material(stem)}{ending}" for ending in (".mtl", ".png")]


def _material(stem: str) -> str:
    return material_stem(f"{stem}_map")
