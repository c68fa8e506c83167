"""From a seed and numbers to finished pictures with their truth, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from data.synthetic.backgrounds import PictureFolder
from data.synthetic.cameras import CameraKind
from data.synthetic.compositing import Photograph, compose, compose_plain
from data.synthetic.lighting import brighten
from data.synthetic.maps import Surface
from data.synthetic.rendering import RenderedFace, SceneRenderer
from data.synthetic.sampling import PICTURE, FaceSampler, generator
from models.camera import Camera
from models.face_model import FaceModel
from options.face_options import CROP_PX
from options.synthesis_options import Looks
from util.devices import one_thread


@dataclass(frozen=True)
class SyntheticFace:
    """A finished picture, and what is true about it."""

    photograph: Photograph
    coefficients: np.ndarray
    """(P,) float32."""
    landmarks_px: np.ndarray
    """(68, 2) float32 continuous pixels, y down."""
    visible: np.ndarray
    """(68,) bool."""
    camera: Camera
    surface: Surface | None
    """Of each pixel; None unless asked for."""


@dataclass(frozen=True)
class Photographer:
    """Takes pictures of random people; sent to other processes."""

    face_model: FaceModel
    camera: CameraKind = "rnet"
    size_px: int = CROP_PX
    looks: Looks = "full"
    pictures: PictureFolder | None = None
    """Backgrounds that the user gives."""
    surfaces: bool = False
    """Give the surface in each pixel as well."""

    @cached_property
    def _tools(self) -> tuple[FaceSampler, SceneRenderer]:
        """Made where they are used: they are large."""
        return (
            FaceSampler(self.face_model, self.camera, self.size_px),
            SceneRenderer(self.face_model, self.looks, surfaces=self.surfaces),
        )

    def take(self, seed: int, indices: Sequence[int]) -> list[SyntheticFace]:
        """Pictures of the samples `indices` of a seed.

        Sums round differently in batches of other sizes: who wants the same bytes again asks for
        the same number of samples.
        """
        sampler, renderer = self._tools
        with one_thread():
            drawn = sampler.sample(seed, indices)
            rendered = renderer.render(drawn, seed, indices)
        return [
            self._finish(face, flat, camera, generator(seed, index, PICTURE))
            for face, flat, camera, index in zip(
                rendered, drawn.coefficients, drawn.cameras, indices, strict=True
            )
        ]

    def _finish(
        self, face: RenderedFace, flat: np.ndarray, camera: Camera, rng: np.random.Generator
    ) -> SyntheticFace:
        """Compose the picture; the light is then what explains the shaded and developed face."""
        if self.looks == "plain":
            photograph = compose_plain(face)
        else:
            photograph = compose(rng, face, self.pictures)
        coefficients = flat.copy()
        light = self.face_model.layout.slices["gamma"]
        coefficients[light] = brighten(face.gamma, photograph.gain)
        surface = face.surface
        if surface is not None:
            parts = np.where(photograph.cover > 0, photograph.cover, surface.parts)
            surface = replace(surface, parts=parts)
        column, row = np.floor(face.landmarks_px).astype(int).T
        height, width = photograph.cover.shape
        covered = photograph.cover[row.clip(0, height - 1), column.clip(0, width - 1)] > 0
        return SyntheticFace(
            photograph, coefficients, face.landmarks_px, face.visible & ~covered, camera, surface
        )
