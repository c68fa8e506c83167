"""Fit a face model to photos: pose, landmarks, light, then all from the pixels, coarse to fine.

    fitter = FaceFitter(face_model, Camera.rnet(), Renderer())
    fit = fitter.fit(batch, PRESETS["balanced"])

Each stage is a function from coefficients to better ones and can be used alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.batch import FaceBatch
from models.camera import Camera, rotation_angles
from models.face_model import FaceModel
from models.fitting.derivatives import FaceDerivatives
from models.fitting.energy import trust
from models.fitting.focal import FOCAL, settle_focal, start_focal, with_focal
from models.fitting.gauss_newton import Minimum, StepRules, minimise
from models.fitting.landmark_term import LandmarkTerm
from models.fitting.light_term import LightTerm
from models.fitting.photometric import PhotoLevel, PhotometricTerm, RenderedFaces, unexplained
from models.fitting.priors import Quadratic, focal_prior, priors
from models.fitting.problem import Evaluation, FitProblem
from models.fitting.terms import Scaled, Term
from models.landmarks import INNER
from models.parameters import Coefficients, ParameterLayout
from models.pose import pose_from_points
from models.renderer import Renderer
from models.self_shadow import SelfShadow
from models.stages import KnownPerson
from options.fitting_weights import FitWeights, Preset

FIT_VERSION = 2
"""Raised when the same weights and rules of steps come to lead to other faces: by another energy,
its constants (`energy.LEAST_DISTANCE`, `MOST_TRUST`, `derivatives.ABOUT_EYES`, IRIS_ATTENTION,
CLEAR_EYE) or derivatives."""


@dataclass(frozen=True)
class PyramidLevel:
    """How the photo is looked at in one part of a fit."""

    stride: int
    """Side of the squares of pixels that are averaged."""
    rules: StepRules


PRESETS: Mapping[Preset, tuple[PyramidLevel, ...]] = {
    "fast": (PyramidLevel(4, StepRules(most=2)),),
    "balanced": (PyramidLevel(4, StepRules(most=8)), PyramidLevel(2, StepRules(most=4))),
    "best": (
        PyramidLevel(4, StepRules(most=12)),
        PyramidLevel(2, StepRules(most=10)),
        PyramidLevel(1, StepRules(most=8, least_decrease=3e-4)),
    ),
}
LANDMARK_BLOCKS = ("identity", "expression", "angles_rad", "translation_dm", "joints_rad")
LANDMARK_RULES = StepRules(most=12, least_decrease=1e-3, damping=1e-3, relax=10.0, tighten=8.0)
COLOUR_BLOCKS = ("texture", "gamma")
COLOUR_RULES = StepRules(most=2, least_decrease=1e-3, damping=1e-4)
"""Few: two further steps make colours nearer by 0.1 levels of 25."""
IRIS_ATTENTION = 20.0
"""Of pixels of irises against those of skin when colours are found: a hundred of them then count as
much as a tenth of a face."""
CLEAR_EYE = (0.3, 0.6)
"""Mean skin probability around an eye below which its iris is not looked at so, and from which on
it is: around eyes of photos it is 0.55 and more, under dark glasses next to nothing."""
LIGHT_RULES = StepRules(most=3, least_decrease=1e-2, damping=1e-4)
"""Few: further steps would let the light take what albedo and shape are to explain."""


def fit_rules(weights: FitWeights, levels: Sequence[PyramidLevel]) -> str:
    """SHA-256 (16 hex digits) of the version, the weights and the rules of steps of a fit."""
    steps = [asdict(rules) for rules in (LANDMARK_RULES, LIGHT_RULES, COLOUR_RULES)]
    rules = [FIT_VERSION, asdict(weights), steps, [asdict(level) for level in levels]]
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FitTerms:
    """What a stage minimises."""

    layout: ParameterLayout
    """Of the coefficients that are free."""
    by_name: Mapping[str, Term]
    shared: tuple[str, ...] = ()
    """Blocks that are the same for all faces."""

    def with_term(self, name: str, term: Term) -> FitTerms:
        """With one more, or another of its name."""
        return replace(self, by_name={**self.by_name, name: term})


@dataclass(frozen=True)
class StageReport:
    """What one stage came to, for each face of the batch."""

    name: str
    energies: Mapping[str, Float[Tensor, " batch"]]
    """Weighted terms by name at its end. Those of the photo are comparable only within a stage:
    each sees pixels of another size, and trusts the photo as the one before has found it."""
    first: Float[Tensor, " batch"]
    """Energy at its start."""
    tried: Int[Tensor, " batch"]
    """Steps, the undone ones included."""
    converged: Bool[Tensor, " batch"]
    """Whether it ended by itself, not by the number of steps."""
    trust: Float[Tensor, " batch"]
    """How many times w_photo counted (`energy.trust`)."""

    @classmethod
    def of(
        cls, name: str, minimum: Minimum, trusted: Float[Tensor, " batch"] | None = None
    ) -> StageReport:
        """Of the end of some steps."""
        return cls(
            name,
            minimum.evaluation.energies,
            minimum.first,
            minimum.tried,
            minimum.converged,
            torch.ones_like(minimum.first) if trusted is None else trusted,
        )

    def item(self, index: int) -> StageReport:
        """That of one face, as a batch of one."""
        one = slice(index, index + 1)
        energies = {name: energy[one] for name, energy in self.energies.items()}
        return replace(
            self,
            energies=energies,
            first=self.first[one],
            tried=self.tried[one],
            converged=self.converged[one],
            trust=self.trust[one],
        )


@dataclass(frozen=True)
class Fit:
    """Faces that were fitted."""

    coefficients: Coefficients
    stages: tuple[StageReport, ...]
    camera: Camera
    """Of the crops: the fitter's, with another focal length where it was looked for."""

    def item(self, index: int) -> Fit:
        """That of one face, as a batch of one."""
        stages = tuple(stage.item(index) for stage in self.stages)
        return Fit(self.coefficients.item(index), stages, self.camera)


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
            ValueError: a face model without the 68 landmarks.
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
        self.person: KnownPerson | None = None
        """Whose faces are fitted, if that is known: see `knowing`."""
        self._self_shadow: SelfShadow | None = None
        """Of fitters whose faces keep light from themselves: see `shaded`."""
        self.tables = FaceDerivatives.of(face_model)
        self._of_all: Mapping[str, Quadratic] = priors(face_model, self.weights)
        self._priors: dict[tuple[str, ...], Mapping[str, Quadratic]] = {}
        """By the names of the free blocks."""
        self._restricted: dict[tuple[str, ...], FaceDerivatives] = {}
        """Tables of fits that hold some blocks fixed, by the names of the free ones."""

    def fit(
        self,
        batch: FaceBatch,
        levels: Sequence[PyramidLevel],
        start: Coefficients | None = None,
        watch: Callable[[str, Evaluation], None] | None = None,
        *,
        one_person: bool = False,
        focal: bool = False,
    ) -> Fit:
        """All stages.

        Args:
            batch: crops in [0, 1] with skin masks and landmarks (origin "centre").
            levels: of the pyramid, such as `PRESETS["balanced"]`; none fits the landmarks alone.
            start: coefficients to begin with; None begins with the landmarks.
            watch: called with the stage's name after every step.
            one_person: the faces are photos of one person: one identity and one albedo, each its
                own expression, pose and light.
            focal: the focal length is looked for too: one for all faces, which several views of
                one person tell, and a single photo hardly does.
        """
        shared = (("identity", "texture") if one_person else ()) + ((FOCAL,) if focal else ())
        reports: list[StageReport] = []
        # Landmarks alone need no shadow, which takes its time to find.
        shaded = self.shaded() if levels else self

        def run(
            name: str,
            start: Coefficients,
            terms: FitTerms,
            rules: StepRules,
            trusted: Tensor | None = None,
        ) -> Evaluation:
            seen = None if watch is None else partial(watch, name)
            minimum = self.minimise(start, terms, rules, seen)
            reports.append(StageReport.of(name, minimum, trusted))
            return minimum.evaluation

        if start is None:
            assert batch.landmarks_px is not None
            terms = self.landmark_terms(batch.landmarks_px, shared)
            posed = self.pose(batch.landmarks_px)
            posed = start_focal(posed) if focal else posed
            now = run("landmarks", posed, terms, LANDMARK_RULES).coefficients
            if levels:
                terms = shaded.light_terms(batch, levels[0].stride, now)
                now = run("light", now, terms, LIGHT_RULES).coefficients
        else:
            now = _with_means(start, shared)
            now = start_focal(now) if focal else now
        trusted, end = now.identity.new_ones(len(batch)), None
        for level in levels:
            if end is not None:
                left = unexplained(end.views["photo"], self.weights, together=one_person)
                trusted = trust(left, self.weights)
            terms = shaded.photo_terms(batch, level.stride, shared=shared)
            terms = terms.with_term("photo", Scaled(terms.by_name["photo"], trusted))
            end = run(f"photo_{level.stride}", now, terms, level.rules, trusted)
            now = end.coefficients
        if shaded is not self:
            now = self.recolour(batch, levels[-1].stride, now, shared)
        camera, settled = settle_focal(self.camera, now)
        return Fit(settled, tuple(reports), camera)

    def shaded(self) -> FaceFitter:
        """A fitter whose faces keep light from themselves, where the weights want it; else this."""
        if not self.weights.self_shadow:
            return self
        other = copy(self)
        other._self_shadow = self.face_model.self_shadow
        return other

    def recolour(
        self, batch: FaceBatch, stride: int, at: Coefficients, shared: Collection[str] = ()
    ) -> Coefficients:
        """The same faces with the texture and the light that explain the photos best.

        So colours that were found in the face's own shadow come to mean what they mean without. No
        photo is trusted more here: a multiple of w_photo takes the texture away from usual ones
        (albedo of plain renders is off by 8.3 levels with 4 times, by 5.8 without). But irises are
        looked at closely, or their few pixels would leave all eyes the colour that goes with the
        skin; unless glasses or hair cover the eye.

        Args:
            batch: as in `fit`.
            stride: side of the squares of pixels that are averaged.
            at: the faces, whose shape and pose stay.
            shared: blocks that are the same for all faces.
        """
        layout = self.face_model.layout.only(COLOUR_BLOCKS)
        photo = self.photo_term(batch, stride, layout)
        view = photo.look(at)
        for iris, around in zip(self.tables.is_iris, self.tables.is_about_eye, strict=True):
            low, high = CLEAR_EYE
            bare = (photo.mean_attention(around, view) - low) / (high - low)
            photo = photo.attending(iris, IRIS_ATTENTION * bare.clamp(0, 1), view)
        terms = {**self.priors_of(layout), "photo": photo}
        of_all = tuple(name for name in shared if name in layout.slices)
        found = self.minimise(at, FitTerms(layout, terms, of_all), COLOUR_RULES)
        return found.evaluation.coefficients

    def seen_by(self, camera: Camera) -> FaceFitter:
        """A fitter that shares the tables of this one; the crops are seen by another camera."""
        other = copy(self)
        other.camera = camera
        return other

    def weighing(self, weights: FitWeights) -> FaceFitter:
        """A fitter that shares the tables of this one, with other weights."""
        other = copy(self)
        other.weights = weights
        other._of_all, other._priors = priors(self.face_model, weights), {}
        return other

    @torch.no_grad()
    def knowing(self, person: Coefficients) -> FaceFitter:
        """A fitter of one person, which shares the tables of this one.

        Where identity and texture are held fixed, faces are then taken to have this person's.
        """
        other = copy(self)
        other.person = KnownPerson.of(self.face_model, person)
        return other

    @torch.no_grad()
    def pose(self, landmarks_px: Float[Tensor, "batch 68 2"]) -> Coefficients:
        """The mean face in the pose of the inner landmarks, under the constant light."""
        model = self.face_model
        mean = model.landmarks(model.mean_shape.reshape(1, -1, 3))[0]
        rotation, translation = pose_from_points(landmarks_px[:, INNER], mean[INNER], self.camera)
        start = model.layout.zeros(len(landmarks_px), landmarks_px.device)
        return replace(start, angles_rad=rotation_angles(rotation), translation_dm=translation)

    def landmark_terms(
        self,
        landmarks_px: Float[Tensor, "batch 68 2"],
        shared: Collection[str] = (),
        free: Collection[str] = LANDMARK_BLOCKS,
    ) -> FitTerms:
        """Landmarks and priors; light and albedo, which they say nothing about, stay."""
        layout = self._layout(free, shared)
        terms: dict[str, Term] = {**self.priors_of(layout)}
        terms["landmarks"] = self._landmarks(landmarks_px, layout)
        return FitTerms(layout, terms, tuple(name for name in shared if name in layout.slices))

    @torch.no_grad()
    def light_terms(self, batch: FaceBatch, stride: int, at: Coefficients) -> FitTerms:
        """Photo and prior over the light alone, for faces whose shape, albedo and pose stay `at`.

        Args:
            batch: as in `fit`.
            stride: side of the squares of pixels that are averaged.
            at: where the faces are looked at, once.
        """
        layout = self.face_model.layout.only(("gamma",))
        view = self.photo_term(batch, stride).look(at)
        terms = {**self.priors_of(layout), "photo": LightTerm(view, self.weights)}
        return FitTerms(layout, terms)

    def photo_terms(
        self,
        batch: FaceBatch,
        stride: int,
        free: Collection[str] = (),
        shared: Collection[str] = (),
        rendered: RenderedFaces | None = None,
    ) -> FitTerms:
        """Photo, landmarks where the batch has some, and priors.

        Args:
            batch: as in `fit`.
            stride: side of the squares of pixels that are averaged.
            free: blocks that may change, expression among them; none named is all of the face
                model's.
            shared: blocks that are the same for all faces; the focal length is free if it is
                among them.
            rendered: as in `photo_term`.
        """
        layout = self._layout(free, shared)
        terms: dict[str, Term] = {**self.priors_of(layout)}
        terms["photo"] = self.photo_term(batch, stride, layout, rendered)
        if batch.landmarks_px is not None:
            terms["landmarks"] = self._landmarks(batch.landmarks_px, layout)
        return FitTerms(layout, terms, tuple(shared))

    def photo_term(
        self,
        batch: FaceBatch,
        stride: int,
        layout: ParameterLayout | None = None,
        rendered: RenderedFaces | None = None,
    ) -> PhotometricTerm:
        """The photo alone; of everything, or of what a layout has.

        Faces that this fitter has rendered at this stride, for another photo, may be handed on:
        they are not rendered again.
        """
        photo, layout = self.photo_level(batch, stride), layout or self.face_model.layout
        tables = self.tables
        key = tuple(name for name in layout.slices if name != FOCAL)
        if key != tuple(self.face_model.layout.slices):
            if key not in self._restricted:
                self._restricted[key] = tables.only(self.face_model, layout)
            tables = self._restricted[key]
        person = None if {"identity", "texture"} & set(layout.slices) else self.person
        return PhotometricTerm(
            self.face_model,
            tables,
            self.renderer,
            photo,
            self.weights,
            layout,
            rendered=rendered,
            person=person,
            self_shadow=self._self_shadow,
        )

    @torch.no_grad()
    def minimise(
        self,
        start: Coefficients,
        terms: FitTerms,
        rules: StepRules,
        watch: Callable[[Evaluation], None] | None = None,
    ) -> Minimum:
        """Lower the sum of some terms."""
        return minimise(FitProblem(terms.layout, terms.by_name, terms.shared), start, rules, watch)

    def photo_level(self, batch: FaceBatch, stride: int) -> PhotoLevel:
        """The photos as squares of pixels, with the attention that each gets."""
        skin = batch.skin_mask
        attention = torch.ones_like(batch.images[:, :1]) if skin is None else skin
        attention = attention.clamp(min=self.weights.w_not_skin)
        if batch.inside is not None:
            attention = attention * batch.inside
        return PhotoLevel.of(batch.images, attention, self.camera, stride)

    def _layout(self, free: Collection[str], shared: Collection[str]) -> ParameterLayout:
        """Of what is free: blocks of the face model, all if none is named, and the focal length."""
        whole = self.face_model.layout
        layout = whole.only(free) if free else whole
        return with_focal(layout) if FOCAL in shared else layout

    def priors_of(self, layout: ParameterLayout) -> Mapping[str, Quadratic]:
        """The priors over what is free.

        Each face brings its own, of what faces share too: photos of one person err together, by
        the light and by the detector's habits, so that many do not make them so much surer
        (benchmarks/fitting.py: 2.65 against 2.75 mm with eight photos).
        """
        key = tuple(layout.slices)
        if key not in self._priors:
            parts = {name: prior.only(layout) for name, prior in self._of_all.items()}
            if FOCAL in layout.slices and self.weights.w_focal:
                prior = focal_prior(layout, self.weights.w_focal)
                parts["focal"] = prior.to(self.face_model.mean_shape)
            self._priors[key] = {name: part for name, part in parts.items() if part is not None}
        return self._priors[key]

    def _landmarks(self, landmarks_px: Tensor, layout: ParameterLayout) -> LandmarkTerm:
        return LandmarkTerm(
            self.face_model, self.tables.landmarks, self.camera, self.weights, landmarks_px, layout
        )


def _with_means(coefficients: Coefficients, blocks: Collection[str]) -> Coefficients:
    """The same, but for blocks that become the mean over the faces."""
    means = {
        name: block.mean(dim=0, keepdim=True).expand_as(block).clone()
        for name, block in coefficients.items()
        if name in blocks
    }
    return replace(coefficients, **means)
