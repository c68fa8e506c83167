"""Errors as colours on meshes, as one picture: a row for each method, a column for each face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from data.images import write_image
from models.camera import CROP_PX, Camera
from models.mesh import VertexNormals
from models.renderer import Renderer

LIMIT_MM = 5.0
"""From here on everything is of the last colour."""
_COLOURS = np.array(
    [
        [0.19, 0.35, 0.68],
        [0.45, 0.73, 0.78],
        [0.97, 0.95, 0.75],
        [0.95, 0.55, 0.25],
        [0.7, 0.07, 0.15],
    ]
)
_MARGIN, _BAR = 22, 34
_NOT_COMPARED = 0.62


@dataclass(frozen=True)
class ErrorMesh:
    """A face with its errors."""

    title: str
    vertices: np.ndarray
    """(V, 3) decimetres, about the origin, looking along +z."""
    triangles: np.ndarray
    """(F, 3)"""
    errors_mm: np.ndarray
    """(V,); not a number where nothing was compared, which is grey."""


def error_colours(errors_mm: np.ndarray, limit_mm: float = LIMIT_MM) -> np.ndarray:
    """RGB (V, 3) in [0, 1]: blue for none, through yellow to red at the limit and beyond."""
    place = np.nan_to_num(errors_mm / limit_mm, nan=0).clip(0, 1) * (len(_COLOURS) - 1)
    steps = np.arange(len(_COLOURS))
    colours = np.stack([np.interp(place, steps, channel) for channel in _COLOURS.T], axis=1)
    colours[np.isnan(errors_mm)] = _NOT_COMPARED
    return colours


def draw_errors(
    path: Path, rows: Sequence[Sequence[ErrorMesh]], limit_mm: float = LIMIT_MM
) -> None:
    """Write the picture of some meshes, seen from the front, with a bar that says the colours."""
    wide, high = max(map(len, rows)), len(rows)
    size = (wide * CROP_PX, high * (CROP_PX + _MARGIN) + _BAR)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, meshes in enumerate(rows):
        top = row * (CROP_PX + _MARGIN)
        for column, mesh in enumerate(meshes):
            picture = Image.fromarray(draw_error_mesh(mesh, limit_mm))
            sheet.paste(picture, (column * CROP_PX, top + _MARGIN))
            pen.text((column * CROP_PX + 6, top + 5), mesh.title, fill="black")
    _draw_bar(sheet, pen, limit_mm)
    write_image(path, np.asarray(sheet))


@torch.no_grad()
def draw_error_mesh(mesh: ErrorMesh, limit_mm: float = LIMIT_MM) -> np.ndarray:
    """One mesh from the front, (224, 224, 3) uint8 on white."""
    camera = Camera.rnet()
    vertices = torch.from_numpy(np.ascontiguousarray(mesh.vertices, np.float32))[None]
    triangles = torch.from_numpy(np.ascontiguousarray(mesh.triangles, np.int32))
    normals = VertexNormals(triangles, vertices.shape[1])(vertices)
    form = 0.55 + 0.45 * normals[..., 2:].clamp(min=0)
    colours = torch.from_numpy(error_colours(mesh.errors_mm, limit_mm)).float() * form
    drawn = Renderer("auto")(camera.from_object(vertices), triangles, camera, colours)
    assert drawn.image is not None
    picture = drawn.image * drawn.mask + (1 - drawn.mask)
    return (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _draw_bar(sheet: Image.Image, pen: ImageDraw.ImageDraw, limit_mm: float) -> None:
    width = sheet.width - 120
    ramp = error_colours(np.linspace(0, limit_mm, width), limit_mm)
    bar = np.tile((255 * ramp).astype(np.uint8)[None], (12, 1, 1))
    top = sheet.height - _BAR + 11
    sheet.paste(Image.fromarray(bar), (40, top))
    pen.text((6, top), "0", fill="black")
    pen.text((48 + width, top), f"{limit_mm:g} mm", fill="black")
