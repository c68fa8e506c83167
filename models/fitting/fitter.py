"""Fit a face model to photos: pose, then landmarks, then all from the pixels, coarse to fine.

    fitter = FaceFitter(face_model, Camera.rnet(), Renderer())
    fit = fitter.fit(batch, PRESETS["balanced"])

Each stage is a function from coefficients to better ones and can be used alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
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
LANDMARK_RULES = StepRules(most=12, least_decrease=1e-3, damping=1e-3, relax=10.0, tighten=8.0)


@dataclass(frozen=True)
class StageReport:
    """What one stage came to, for each face of the batch."""

    name: str
    energies: Mapping[str, Float[Tensor, " batch"]]
    """Weighted terms by name at its end. Those of the photo are comparable only within a stage:
    each sees pixels of another size."""
    first: Float[Tensor, " batch"]
    """Energy at its start."""
    tried: Int[Tensor, " batch"]
    """Steps, the undone ones included."""
    converged: Bool[Tensor, " batch"]
    """Whether it ended by itself, not by the number of steps."""

    @classmethod
    def of(cls, name: str, minimum: Minimum) -> StageReport:
        """Of the end of some steps."""
        return cls(
            name,
            minimum.evaluation.energies,
            minimum.first,
            minimum.tried,
            minimum.converged,
        )


@dataclass(frozen=True)
class Fit:
    """Faces that were fitted."""

    coefficients: Coefficients
    stages: tuple[StageReport, ...]


class FaceFitter:
    """Fits one face model; holds what all fits share."""

    def __init__(
        self,
        face_model: FaceModel,
        camera: Camera,
        renderer: Renderer,
        weights: FitWeights | None = None,
    ) -> None:
        """Make the tables of the face model.

        Args:
            face_model: to fit.
            camera: of the crops.
            renderer: its backend draws the faces.
            weights: of the terms.

        Raises:
            ValueError: a face model with joints, or without the 68 landmarks.
        """
        if face_model.landmark_embedding.count != 68:
            raise ValueError(
                f"face model {face_model.card.name} has {face_model.landmark_embedding.count} "
                "landmarks; fitting needs the 68 of iBUG"
            )
        self.face_model = face_model
        self.camera = camera
        self.renderer = renderer
        self.weights = weights or FitWeights()
        self._tables = FaceDerivatives.of(face_model)
        self._priors: Mapping[str, Quadratic] = priors(face_model, self.weights)

    def fit(
        self,
        batch: FaceBatch,
        levels: Sequence[PyramidLevel],
        start: Coefficients | None = None,
        watch: Callable[[str, Evaluation], None] | None = None,
        *,
        one_person: bool = False,
    ) -> Fit:
        """All stages.

        Args:
            batch: crops in [0, 1] with skin masks and landmarks (origin "centre").
            levels: of the pyramid, such as `PRESETS["balanced"]`; none fits the landmarks alone.
            start: coefficients to begin with; None begins with the landmarks.
            watch: called with the stage's name after every step.
            one_person: the faces are photos of one person: one identity and one albedo, each its
                own expression, pose and light.
        """
        now, reports = start, []
        shared = ("identity", "texture") if one_person else ()

        def watched(name: str) -> Callable[[Evaluation], None] | None:
            return None if watch is None else partial(watch, name)

        if now is None:
            assert batch.landmarks_px is not None
            minimum = self.fit_landmarks(
                self.pose(batch.landmarks_px), batch.landmarks_px, watched("landmarks"), shared
            )
            now = minimum.evaluation.coefficients
            reports.append(StageReport.of("landmarks", minimum))
        if start is not None and one_person:
            now = _with_means(start, shared)
        for level in levels:
            name = f"photo_{level.stride}"
            minimum = self.fit_photo(now, batch, level, watched(name), shared)
            now = minimum.evaluation.coefficients
            reports.append(StageReport.of(name, minimum))
        return Fit(now, tuple(reports))

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
        self,
        start: Coefficients,
        landmarks_px: Float[Tensor, "batch 68 2"],
        watch: Callable[[Evaluation], None] | None = None,
        shared: Collection[str] = (),
    ) -> Minimum:
        """Pose, identity and expression that explain the landmarks; light and albedo stay."""
        priors_of_all = self._priors_of(len(landmarks_px), shared)
        terms: dict[str, Term] = {
            name: priors_of_all[name]
            for name in ("identity", "expression")
            if name in priors_of_all
        }
        terms["landmarks"] = self._landmarks(landmarks_px)
        free = ("identity", "expression", "angles_rad", "translation_dm")
        problem = FitProblem(self.face_model.layout, terms, free, shared)
        return minimise(problem, start, LANDMARK_RULES, watch)

    @torch.no_grad()
    def fit_photo(
        self,
        start: Coefficients,
        batch: FaceBatch,
        level: PyramidLevel,
        watch: Callable[[Evaluation], None] | None = None,
        shared: Collection[str] = (),
    ) -> Minimum:
        """All coefficients that explain photo and landmarks, at one level of the pyramid."""
        terms: dict[str, Term] = {
            **self._priors_of(len(batch), shared),
            "photo": self._photo(batch, level.stride),
        }
        if batch.landmarks_px is not None:
            terms["landmarks"] = self._landmarks(batch.landmarks_px)
        problem = FitProblem(self.face_model.layout, terms, shared=shared)
        return minimise(problem, start, level.rules, watch)

    def _priors_of(self, faces: int, shared: Collection[str]) -> dict[str, Quadratic]:
        """The priors of each face; what faces share is counted once."""
        once = {name for name in self._priors if name in shared}
        if "texture" in shared:
            once.add("reflectance")
        return {
            name: prior.shared_by(faces) if name in once else prior
            for name, prior in self._priors.items()
        }

    def _photo(self, batch: FaceBatch, stride: int) -> PhotometricTerm:
        skin = batch.skin_mask
        attention = torch.ones_like(batch.images[:, :1]) if skin is None else skin
        attention = attention.clamp(min=self.weights.w_not_skin)
        photo = PhotoLevel.of(batch.images, attention, self.camera, stride)
        return PhotometricTerm(self.face_model, self._tables, self.renderer, photo, self.weights)

    def _landmarks(self, landmarks_px: Tensor) -> LandmarkTerm:
        return LandmarkTerm(self.face_model, self._tables, self.camera, self.weights, landmarks_px)


def _with_means(coefficients: Coefficients, blocks: Collection[str]) -> Coefficients:
    """The same, but for blocks that become the mean over the faces."""
    means = {
        name: block.mean(dim=0, keepdim=True).expand_as(block).clone()
        for name, block in coefficients.items()
        if name in blocks
    }
    return replace(coefficients, **means)
