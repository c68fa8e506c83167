"""The stages of a fit, each from coefficients to better ones: pose, landmarks, photo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from models.batch import FaceBatch
from models.camera import Camera, rotation_angles
from models.face_model import FaceModel
from models.fitting.derivatives import FaceDerivatives
from models.fitting.energy import FitWeights
from models.fitting.gauss_newton import Minimum, StepRules, minimise
from models.fitting.landmark_term import LandmarkTerm
from models.fitting.photometric import PhotoLevel, PhotometricTerm
from models.fitting.priors import Quadratic, priors
from models.fitting.problem import Evaluation, FitProblem
from models.fitting.terms import Term
from models.landmarks import INNER
from models.parameters import Coefficients
from models.pose import pose_from_points
from models.renderer import Renderer

Preset = Literal["fast", "balanced", "best"]
SHAPE_AND_POSE = ("identity", "expression", "angles_rad", "translation_dm")


@dataclass(frozen=True)
class PyramidLevel:
    """How the photo is looked at in one part of a fit."""

    stride: int
    """Side of the squares of pixels that are averaged."""
    rules: StepRules


PRESETS: Mapping[Preset, tuple[PyramidLevel, ...]] = {
    "fast": (PyramidLevel(4, StepRules(most=3)),),
    "balanced": (PyramidLevel(4, StepRules(most=8)), PyramidLevel(2, StepRules(most=4))),
    "best": (
        PyramidLevel(4, StepRules(most=12)),
        PyramidLevel(2, StepRules(most=10)),
        PyramidLevel(1, StepRules(most=8, least_decrease=3e-4)),
    ),
}
LANDMARK_RULES = StepRules(
    most=12, least_decrease=1e-4, damping=1e-3, relax=10.0, tighten=8.0
)


@dataclass(frozen=True)
class Stage:
    """What one stage came to, for reports."""

    name: str
    minimum: Minimum


class FaceFitter:
    """Fits one face model to photos; holds what all fits share."""

    def __init__(
        self,
        face_model: FaceModel,
        camera: Camera,
        renderer: Renderer,
        weights: FitWeights | None = None,
    ) -> None:
        """Make the tables of the face model."""
        self.face_model = face_model
        self.camera = camera
        self.renderer = renderer
        self.weights = weights or FitWeights()
        self.derivatives = FaceDerivatives.of(face_model)
        self.priors: Mapping[str, Quadratic] = priors(face_model, self.weights)

    @torch.no_grad()
    def pose(self, landmarks_px: Float[Tensor, "batch 68 2"]) -> Coefficients:
        """The mean face in the pose of the inner landmarks, under the constant light."""
        model = self.face_model
        mean = model.landmarks(model.mean_shape.reshape(1, -1, 3))[0]
        rotation, translation = pose_from_points(landmarks_px[:, INNER], mean[INNER], self.camera)
        start = model.layout.zeros(len(landmarks_px), landmarks_px.device)
        return replace(start, angles_rad=rotation_angles(rotation), translation_dm=translation)

    @torch.no_grad()
    def fit_landmarks(
        self, start: Coefficients, landmarks_px: Float[Tensor, "batch 68 2"]
    ) -> Minimum:
        """Pose, identity and expression that explain the landmarks."""
        terms: dict[str, Term] = {n: self.priors[n] for n in ("identity", "expression")}
        terms["landmarks"] = self._landmark_term(landmarks_px)
        problem = FitProblem(self.face_model.layout, terms, SHAPE_AND_POSE)
        return minimise(problem, start, LANDMARK_RULES)

    @torch.no_grad()
    def fit_photo(
        self,
        start: Coefficients,
        batch: FaceBatch,
        level: PyramidLevel,
        watch: Callable[[Evaluation], None] | None = None,
    ) -> Minimum:
        """All coefficients that explain photo and landmarks, at one level of the pyramid."""
        assert batch.skin_mask is not None
        photo = PhotoLevel.of(batch.images, batch.skin_mask, self.camera, level.stride)
        term = PhotometricTerm(
            self.face_model, self.derivatives, self.renderer, photo, self.weights
        )
        terms: dict[str, Term] = {**self.priors, "photo": term}
        if batch.landmarks_px is not None:
            terms["landmarks"] = self._landmark_term(batch.landmarks_px)
        return minimise(FitProblem(self.face_model.layout, terms), start, level.rules, watch)

    def _landmark_term(self, landmarks_px: Tensor) -> LandmarkTerm:
        return LandmarkTerm(
            self.face_model, self.derivatives, self.camera, self.weights, landmarks_px
        )
