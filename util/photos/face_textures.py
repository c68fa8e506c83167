"""Textures of reconstructed faces, made once for all outputs that ask for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.photo_texture import PhotoTexture
from models.renderer import Renderer
from models.texel_sight import PhotoView
from models.texture import TextureData
from options.output_options import OutputOptions
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.model_files.texture_file import read_texture
from util.photos.face_result import FaceResult
from util.photos.photo_camera import camera_in_photo
from util.photos.png_file import png_bytes

LIGHT, KEPT = "light", "kept"
"""Text chunk of a texture that says whether it keeps the light of its photo, and what it says."""
FACE_MODEL = "face_model"
"""Text chunk of the face model in whose layout a texture is: its identity card, which ends with the
fingerprint in brackets."""


class FaceTextures:
    """Makes the textures of one run; its methods may run in threads."""

    def __init__(
        self,
        face_model: FaceModel,
        camera: Camera,
        renderer: Renderer,
        options: OutputOptions,
        read: Callable[[FaceResult], np.ndarray],
    ) -> None:
        """Prepare what all faces share.

        Args:
            face_model: on any device.
            camera: of the crops, on the CPU.
            renderer: draws on the CPU.
            options: size and light of the textures.
            read: gives the whole photo of a face.

        Raises:
            InputError: the face model has no texture coordinates.
        """
        card = face_model.card
        if face_model.uv is None:
            raise InputError(
                f"--save texture: face model {card.name} has no texture coordinates; "
                "take --face_model open"
            )
        self._camera, self._read, self._card = camera, read, card
        self._keep_light = options.texture_light == "keep"
        self._make = PhotoTexture(face_model, options.texture_size, fine_maps(face_model), renderer)
        self._lock = threading.Lock()
        self._last: tuple[FaceResult, bytes] | None = None

    def png(self, face: FaceResult) -> bytes:
        """The texture of a face as the content of a PNG file; that of the last person is kept.

        Raises:
            ValueError: the face is not finite, or its photo is not there any more.
        """
        person = face.person or (face,)
        with self._lock:  # else several outputs of a face would make it side by side
            if self._last is None or self._last[0] is not person[0]:
                self._last = person[0], self._png(person)
            return self._last[1]

    def forget(self) -> None:
        """Let go of the last person and their texture."""
        with self._lock:
            self._last = None

    def _png(self, person: tuple[FaceResult, ...]) -> bytes:
        views = []
        for face in person:
            # Without a known light it is taken as even, and the face model's mean as the albedo.
            even = torch.zeros(1, 27)
            gamma = even if face.light is None else face.light.detach().cpu()
            if not (np.isfinite(face.vertices).all() and bool(gamma.isfinite().all())):
                raise ValueError(f"{face.stem}: vertices or light are not finite")
            camera = camera_in_photo(self._camera.refocused(face.focal_scale), face.alignment)
            views.append(PhotoView(self._read(face), camera, face.vertices, gamma))
        texture = person[0].coefficients.texture.detach()
        if person[0].albedo is None:
            texture = torch.zeros_like(texture)
        if not bool(texture.isfinite().all()):
            raise ValueError(f"{person[0].stem}: the texture coefficients are not finite")
        made = self._make(views, texture, keep_light=self._keep_light)
        light = KEPT if self._keep_light else "removed"
        return png_bytes(made, {LIGHT: light, FACE_MODEL: str(self._card)})


def fine_maps(face_model: FaceModel) -> TextureData | None:
    """The open model's fine maps; None for other models, and others of that name."""
    if face_model.card.name != "open":
        return None
    maps = read_texture(OPEN_FACE_MODEL)
    fits = maps is not None and maps.weight_basis.shape[-1] == len(face_model.albedo_sigma)
    return maps if fits else None
