"""Errors as colours on meshes, as one picture: a row for each method, a column for each face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from data.images import write_image
from models.camera import Camera
from models.mesh import VertexNormals
from models.renderer import Renderer
from options.face_options import CROP_PX

LIMIT_MM = 5.0
"""From here on everything is of the last colour."""
RAMP = np.array(
    [
        [0.19, 0.35, 0.68],
        [0.45, 0.73, 0.78],
        [0.97, 0.95, 0.75],
        [0.95, 0.55, 0.25],
        [0.7, 0.07, 0.15],
    ]
)
"""Colours of errors from none to the limit."""
NOT_COMPARED = 0.62
_TITLE, _MARGIN, _BAR = 24, 22, 46


@dataclass(frozen=True)
class ErrorMesh:
    """A face with its errors."""

    name: str
    vertices: np.ndarray
    """(V, 3) decimetres, about the origin, looking along +z."""
    triangles: np.ndarray
    """(F, 3)"""
    errors: np.ndarray
    """(V,); not a number where nothing was compared, which is grey."""
    photo: np.ndarray | None = None
    """(H, W, 3) uint8 that the prediction was made from."""


def error_colours(errors: np.ndarray, limit: float = LIMIT_MM) -> np.ndarray:
    """RGB (V, 3) in [0, 1]: blue for none, through yellow to red at the limit and beyond."""
    place = np.nan_to_num(errors / limit, nan=0).clip(0, 1) * (len(RAMP) - 1)
    steps = np.arange(len(RAMP))
    colours = np.stack([np.interp(place, steps, channel) for channel in RAMP.T], axis=1)
    colours[np.isnan(errors)] = NOT_COMPARED
    return colours


def draw_errors(
    path: Path,
    rows: Mapping[str, Sequence[tuple[str, ErrorMesh]]],
    limit: float = LIMIT_MM,
    unit: str = "mm",
) -> None:
    """Write the picture of some meshes, seen from the front, with a bar that says the colours.

    Args:
        path: of the picture.
        rows: meshes by the title above them, each with its own.
        limit: error of the last colour.
        unit: of the errors.
    """
    wide = max(map(len, rows.values()))
    high = _TITLE + _MARGIN + CROP_PX
    sheet = Image.new("RGB", (wide * CROP_PX, len(rows) * high + _BAR), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, meshes) in enumerate(rows.items()):
        top = number * high
        pen.text((6, top + 7), title, fill="black", font_size=14)
        for column, (said, mesh) in enumerate(meshes):
            left = column * CROP_PX
            pen.text((left + 6, top + _TITLE + 5), said, fill=(90, 90, 90))
            picture = Image.fromarray(draw_error_mesh(mesh, limit))
            sheet.paste(picture, (left, top + _TITLE + _MARGIN))
    _draw_bar(sheet, pen, limit, unit)
    write_image(path, np.asarray(sheet))


@torch.no_grad()
def draw_error_mesh(mesh: ErrorMesh, limit: float = LIMIT_MM) -> np.ndarray:
    """One mesh from the front, (224, 224, 3) uint8 on white."""
    camera = Camera.rnet()
    vertices = torch.from_numpy(np.ascontiguousarray(mesh.vertices, np.float32))[None]
    triangles = torch.from_numpy(np.ascontiguousarray(mesh.triangles, np.int32))
    normals = VertexNormals(triangles, vertices.shape[1])(vertices)
    form = 0.55 + 0.45 * normals[..., 2:].clamp(min=0)
    colours = torch.from_numpy(error_colours(mesh.errors, limit)).float() * form
    drawn = Renderer("auto")(camera.from_object(vertices), triangles, camera, colours)
    assert drawn.image is not None
    picture = drawn.image * drawn.mask + (1 - drawn.mask)
    return (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _draw_bar(sheet: Image.Image, pen: ImageDraw.ImageDraw, limit: float, unit: str) -> None:
    left, width = 12, sheet.width - 24
    ramp = error_colours(np.linspace(0, limit, width), limit)
    bar = np.tile((255 * ramp).astype(np.uint8)[None], (12, 1, 1))
    top = sheet.height - _BAR + 8
    sheet.paste(Image.fromarray(bar), (left, top))
    ticks = len(RAMP) - 1
    for tick in range(ticks + 1):
        last = tick == ticks
        said = f"{limit * tick / ticks:g}{' ' * bool(unit) + unit + ' and more' if last else ''}"
        x = left + width * tick / ticks
        anchor = "la" if tick == 0 else "ra" if last else "ma"
        pen.text((x, top + 15), said, fill="black", anchor=anchor)
