"""The texture that an animated face bears: what its photo shows, as `--save texture` wrote it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.face_model import FaceModel
from models.lighting import bounded_irradiance
from models.renderer import Rendering
from models.texture import corner_coordinates, sample_texture
from util.errors import InputError
from util.mesh_files.textured_mesh import material_stem
from util.photos.face_textures import FACE_MODEL, KEPT, LIGHT

_FARTHEST = 2.0
"""How many times as bright or as dark as in the photo a head that turns may become."""


@dataclass(frozen=True)
class FaceTexture:
    """A texture in the layout of a face model, and the light that is in it."""

    png: bytes
    """Content of its file."""
    picture: Tensor
    """(1, 3, H, W) in [0, 1]."""
    uv: Tensor
    """(U, 2) of the face model."""
    uv_triangles: Tensor
    """(F, 3) into them."""
    vertex_uv: Tensor
    """(V, 2) one for each vertex; on seams that of any triangle."""
    held: Tensor | None
    """(1, V, 3) irradiance that is in its colours; None where they are albedo.

    So it is where the photo shows the face. What was filled in holds less: the square root of the
    irradiance, softened and bounded by what is seen; which texels these are the file does not tell.
    """

    def shade(self, light: Tensor) -> Tensor:
        """What its colours are multiplied by under an irradiance (1, V, 3)."""
        if self.held is None:
            return light
        return (light / self.held).clamp(1 / _FARTHEST, _FARTHEST)

    def drawn(self, made: Rendering) -> Tensor:
        """(1, 3, height, width) colours of a rendering whose image is the shade."""
        assert made.image is not None
        parts = made.fragments.triangle_id, made.fragments.barycentrics
        colours = sample_texture(
            self.picture, corner_coordinates(self.uv, self.uv_triangles, *parts)
        )
        return made.image * colours.permute(0, 3, 1, 2)

    def at_vertices(self) -> Tensor:
        """(1, V, 3) colours."""
        return sample_texture(self.picture, self.vertex_uv[None])


def texture_of(coefficients: Path) -> Path | None:
    """The texture beside a file of coefficients, if there is one."""
    path = coefficients.with_name(f"{material_stem(f'{coefficients.stem}_textured')}.png")
    return path if path.is_file() else None


def read_face_texture(
    path: Path, face_model: FaceModel, normals: Tensor, gamma: Tensor
) -> FaceTexture:
    """Read a texture.

    Args:
        path: the .png; where it does not say whether it keeps the photo's light, it does, and
            where it names no face model, it is of this one.
        face_model: whose layout it has.
        normals: (1, V, 3) of the face in the photo's pose.
        gamma: (1, 27) light of the photo.

    Raises:
        InputError: it is no such file, of another face model, or the face model has no layout.
    """
    if face_model.uv is None or face_model.uv_triangles is None:
        raise InputError(
            f"--texture {path}: face model {face_model.card.name} has no texture coordinates; give "
            "--texture model"
        )
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            words = getattr(image, "text", {})
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"--texture {path} cannot be read ({error}); give the .png that --save texture wrote"
        ) from error
    card = face_model.card
    named = str(words.get(FACE_MODEL, card))
    if not named.endswith(f"({card.fingerprint})"):
        raise InputError(
            f"--texture {path} is of face model {named}, not of {card}, which has another layout; "
            "make one with fit.py --save texture and this --face_model, or give --texture model"
        )
    uv, corners = face_model.uv, face_model.uv_triangles.long()
    vertex_uv = torch.zeros(face_model.vertex_count, 2)
    vertex_uv[face_model.triangles.long().reshape(-1)] = uv[corners.reshape(-1)]
    return FaceTexture(
        png=content,
        picture=torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255,
        uv=uv,
        uv_triangles=corners,
        vertex_uv=vertex_uv,
        held=bounded_irradiance(normals, gamma) if words.get(LIGHT, KEPT) == KEPT else None,
    )
