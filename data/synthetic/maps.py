"""What is true about each pixel of a synthetic picture, and the files that hold it.

    parts/<stem>.png     8-bit, `Part` of the pixel: masks of face, skin, hair, occluders ...
    depth/<stem>.png     16-bit, tenths of a millimetre along the camera's axis; 0 shows nothing
    normals/<stem>.png   8-bit RGB, n = value / 127.5 - 1: x right, y up, z to the camera

All are of the pixels' centres. Depth and normals are of the person, also where something else is
in front, which `parts` says.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from util.atomic import write_bytes
from util.errors import InputError

MapChoice = Literal["none", "masks", "all"]
DEPTH_UNITS_PER_DM = 1000
"""A unit of a depth file is a tenth of a millimetre; 16 bits reach 6.5 metres."""


class Part(IntEnum):
    """What a pixel shows."""

    BACKGROUND = 0
    SKIN = 1
    """The face model's skin."""
    FACE = 2
    """The rest of the face model: eyes, lips, brows, whatever its skin mask leaves out."""
    HEAD = 3
    """Skin beside the face: ears, skull, neck."""
    HAIR = 4
    """Hair or a cap."""
    TEETH = 5
    GLASSES = 6
    GARMENT = 7
    OCCLUDER = 8
    """A hand or a thing in front of the person."""
    OUTSIDE = 9
    """Beyond the edge of the photo."""


FACE_PARTS = (Part.SKIN, Part.FACE)


@dataclass(frozen=True)
class Surface:
    """What the centre of each pixel shows."""

    parts: np.ndarray
    """(H, W) uint8 `Part`."""
    depth_dm: np.ndarray
    """(H, W) float32 distance along the camera's axis; 0 where nobody is."""
    normals: np.ndarray
    """(H, W, 3) float32 unit vectors: x right, y up, z to the camera; 0 where nobody is."""


def write_surface(folder: Path, stem: str, surface: Surface, choice: MapChoice) -> None:
    """Write the maps that are wanted, atomically."""
    if choice == "none":
        return
    write_bytes(folder / "parts" / f"{stem}.png", encode_png(surface.parts))
    if choice == "masks":
        return
    units = np.rint(surface.depth_dm * DEPTH_UNITS_PER_DM).clip(0, 65535).astype(np.uint16)
    write_bytes(folder / "depth" / f"{stem}.png", encode_png(units))
    levels = np.rint((surface.normals + 1) * 127.5).astype(np.uint8)
    write_bytes(folder / "normals" / f"{stem}.png", encode_png(levels))


def read_parts(path: Path) -> np.ndarray:
    """`Part` of each pixel, (H, W) uint8."""
    return _read(path, "L")


def read_depth(path: Path) -> np.ndarray:
    """Depth in decimetres, (H, W) float32; 0 where nobody is."""
    return _read(path, "I;16").astype(np.float32) / DEPTH_UNITS_PER_DM


def read_normals(path: Path) -> np.ndarray:
    """Unit normals (H, W, 3) float32; 0 where nobody is."""
    normals = _read(path, "RGB").astype(np.float32) / 127.5 - 1
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    return np.where(length > 0.5, normals / np.maximum(length, 0.5), 0)


def encode_png(levels: np.ndarray) -> bytes:
    """A PNG of uint8 (H, W) or (H, W, 3), or of uint16 (H, W)."""
    encoded = io.BytesIO()
    # Little compression: large even areas shrink well anyway, and it takes a third of the time.
    Image.fromarray(levels).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _read(path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode != mode:
                raise InputError(f"{path} has pixels of mode {image.mode}, expected {mode}")
            return np.asarray(image)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist; make_synthetic.py writes it with --maps"
        ) from error
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from error
