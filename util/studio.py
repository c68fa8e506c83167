"""Renders of a face model's people, on which figures are measured, and faces found in them.

The generator's people, light, hair, glasses and camera, but nothing in front of the face: a hidden
face says nothing about the face model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from data.detection import LandmarkDetector
from data.skin_mask import skin_mask
from data.synthetic.compositing import backdrop as plain_backdrop
from data.synthetic.compositing import collage, develop
from data.synthetic.rendering import SceneRenderer
from data.synthetic.sampling import PICTURE, FaceSampler, SampledFaces, generator
from models.batch import FaceBatch
from models.face_model import FaceModel
from models.landmarks import from_index
from options.synthesis_options import Looks
from util.devices import one_thread
from util.errors import InputError

Backdrop = Literal["plain", "cluttered"]
BATCH = 10


@dataclass(frozen=True)
class Render:
    """A picture of a random person."""

    picture: np.ndarray
    """(H, W, 3) uint8 RGB."""
    coefficients: np.ndarray
    """(P,) float32."""
    landmarks_px: np.ndarray
    """(68, 2) the model's own: continuous pixels, y down."""
    visible: np.ndarray
    """(68,) bool."""


class Studio:
    """Draws people, and takes their pictures."""

    def __init__(
        self, face_model: FaceModel, size_px: int, looks: Looks = "full", seed: int = 0
    ) -> None:
        """Prepare sampler and renderer.

        Args:
            face_model: whose people.
            size_px: side of the pictures.
            looks: plain leaves out hair, ears, glasses, gloss and shadows.
            seed: of all random numbers.
        """
        self.layout = face_model.layout
        self._sampler = FaceSampler(face_model, size_px=size_px)
        self._renderer = SceneRenderer(face_model, looks)
        self._seed = seed

    def numbers(self, count: int, max_yaw_deg: float, start: int = 0) -> list[int]:
        """The first samples from `start` on that turn no further than an angle."""
        found: list[int] = []
        yaw = self.layout.slices["angles_rad"].start + 1
        while len(found) < count:
            if abs(np.degrees(self.coefficients([start])[0, yaw])) <= max_yaw_deg:
                found.append(start)
            start += 1
        return found

    def coefficients(self, numbers: Sequence[int]) -> np.ndarray:
        """(N, P) of samples, without rendering them."""
        return self._sampler.sample(self._seed, numbers).coefficients

    def block(self, name: str, renders: Sequence[Render]) -> np.ndarray:
        """(N, K) the coefficients of one block."""
        return np.stack([render.coefficients[self.layout.slices[name]] for render in renders])

    def take(
        self,
        numbers: Sequence[int],
        backdrop: Backdrop,
        blocks: Mapping[str, np.ndarray] | None = None,
    ) -> Iterator[Render]:
        """Pictures of samples.

        Args:
            numbers: of the samples.
            backdrop: what is behind them.
            blocks: (N, K) coefficients by the names of their blocks, in place of those drawn: of
                people that are to appear again.
        """
        for begin in range(0, len(numbers), BATCH):
            part = slice(begin, begin + BATCH)
            drawn = self._sampler.sample(self._seed, numbers[part])
            for name, values in (blocks or {}).items():
                drawn.coefficients[:, self.layout.slices[name]] = values[part]
            yield from self._photograph(drawn, numbers[part], backdrop)

    def _photograph(
        self, drawn: SampledFaces, numbers: Sequence[int], kind: Backdrop
    ) -> Iterator[Render]:
        with one_thread():
            faces = self._renderer.render(drawn, self._seed, numbers)
        for face, flat, number in zip(faces, drawn.coefficients, numbers, strict=True):
            rng = generator(self._seed, number, PICTURE)
            draw = plain_backdrop if kind == "plain" else collage
            scene = draw(rng, *face.coverage.shape).clip(0, 1)
            picture = face.colour + (1 - face.coverage[..., None]) * scene
            levels, _ = develop(rng, picture)
            yield Render(levels, flat, face.landmarks_px, face.visible)


@dataclass(frozen=True)
class Pictures:
    """Renders in which the detector found the face."""

    renders: tuple[Render, ...]
    batch: FaceBatch
    """With detected landmarks."""
    numbers: np.ndarray
    """Which of those asked for they are."""

    @classmethod
    def of(cls, renders: Sequence[Render], detector: LandmarkDetector) -> Pictures:
        """Find the faces."""
        kept, landmarks, numbers = [], [], []
        for number, render in enumerate(renders):
            faces = detector.detect(render.picture, largest_only=True)
            if faces:
                kept.append(render)
                landmarks.append(faces[0].landmarks_px)
                numbers.append(number)
        if not kept:
            raise InputError("the detector finds no face in any render; ask for more of them")
        pictures = np.stack([render.picture for render in kept])
        skin = np.stack([skin_mask(picture) for picture in pictures])
        batch = FaceBatch(
            images=torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0,
            paths=("render",) * len(kept),
            landmarks_px=from_index(torch.from_numpy(np.stack(landmarks)).float(), "centre"),
            skin_mask=torch.from_numpy(skin)[:, None] / 255.0,
        )
        return cls(tuple(kept), batch, np.array(numbers))

    def part(self, begin: int, end: int) -> Pictures:
        """Some of them; those that are there."""
        some = slice(begin, end)
        batch = self.batch.rows(torch.arange(len(self.renders))[some])
        return Pictures(self.renders[some], batch, self.numbers[some])

    def first(self, count: int) -> Pictures:
        """The first of them."""
        return self.part(0, count)
