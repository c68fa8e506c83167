"""Follow a known face from frame to frame, and smooth its motion over a whole video.

1. Each frame starts from the one before it and is held near to it: expression, pose and light are
   fitted, identity and albedo stay (`track`).
2. All frames together are then smoothed: every frame has its own energy, to the second order about
   the tracked motion y_t, with the light eliminated, and motion should have small second
   differences d_t = x_t-1 - 2 x_t + x_t+1, few large ones rather than many small ones,

       min  sum_t (x_t - y_t)^T H_t (x_t - y_t) - 2 p_t^T (x_t - y_t)
          + sum_t sum_b rho_b(d_tb^T S_b d_tb),    rho(q) = 2 r (sqrt(r^2 + q) - r),

   with a sum over the blocks b of x_t = (expression, angles, translation): banded systems in which
   each difference weighs 1 / sqrt(1 + q / r^2) (`smooth`), so that a blink or a nod bends the
   motion and the rest of it stays smooth. The pull p_t is where the frame would go if nothing held
   it to the one before, so that it does not lag behind quick motion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import solveh_banded
from torch import Tensor

from models.batch import FaceBatch
from models.fitting.adam import POSE, costs, descend
from models.fitting.fitter import LANDMARK_RULES, FaceFitter
from models.fitting.gauss_newton import Minimum, SecondOrder, StepRules
from models.fitting.photometric import RenderedFaces
from models.fitting.priors import Nearness, step_rates
from models.fitting.problem import FitProblem
from models.parameters import Coefficients, ParameterLayout
from options.fitting_weights import AdamSchedule, TrackWeights

TRACKED = ("expression", "angles_rad", "gamma", "translation_dm", "joints_rad")
"""What changes from frame to frame; joints of face models that have some."""
MOTION = ("expression", "angles_rad", "translation_dm", "joints_rad")
"""What of it is motion."""
QUICK_EXPRESSION, QUICK_POSE = 0.1, 0.3
"""Second differences that smoothing takes for large, over the median of the tracked motion's."""
SMOOTHED_ENOUGH = 0.01
"""Smoothing ends when a round changes less than this share of what was changed in all (rms)."""
MOST_ROUNDS = 15
SMOOTHING_RATE_HZ, RATES_HZ = 25.0, (5.0, 120.0)
"""Frames a second for which `TrackWeights.smoothing` is meant, and those that are believed: files
with broken times claim thousands."""
SECOND_DIFFERENCE = (1.0, -2.0, 1.0)


@dataclass(frozen=True)
class TrackedFrame:
    """One frame of a known face."""

    minimum: Minimum
    motion: Float[Tensor, " motion"]
    """Expression, angles, translation."""
    certainty: Float[Tensor, "motion motion"]
    """Half the curvature of the frame's own energy, light eliminated, where its last step began."""
    pull: Float[Tensor, " motion"]
    """Half its negative gradient there: where it would go on to by itself. After Gauss-Newton's
    steps that is what the nearness to the frame before held back, but for the last step's rest."""

    @property
    def coefficients(self) -> Coefficients:
        """All of the face, a batch of one."""
        return self.minimum.evaluation.coefficients

    @property
    def rendered(self) -> RenderedFaces:
        """The face that was found."""
        return self.minimum.evaluation.views["photo"].rendered


@torch.inference_mode()  # cheaper than no_grad, in some hundred small operations a step
def track(
    fitter: FaceFitter,
    previous: Coefficients,
    batch: FaceBatch,
    rules: StepRules,
    weights: TrackWeights,
    stride: int = 4,
    rendered: RenderedFaces | None = None,
) -> TrackedFrame:
    """Fit the next frame.

    Args:
        fitter: of the face model.
        previous: of the frame before, with the person's identity and albedo; a batch of one.
        batch: the frame's crop, with skin mask and landmarks.
        rules: of the steps.
        weights: of the nearness to the frame before.
        stride: side of the squares of pixels that are averaged.
        rendered: the `previous` face, which then is not rendered again: `TrackedFrame.rendered`.
    """
    terms = fitter.photo_terms(batch, stride, TRACKED, rendered=rendered)
    near = nearness(previous, terms.layout, weights)
    minimum = fitter.minimise(previous, terms.with_term("motion", near), rules)
    # Of what the frame itself says: smoothing brings its own tie to the neighbours.
    about = minimum.model.about
    own = minimum.model.equations - near.equations(about.views["motion"])
    return _with_certainty(terms.layout, minimum, SecondOrder(about, own))


def track_adam(
    fitter: FaceFitter,
    previous: Coefficients,
    batch: FaceBatch,
    schedule: AdamSchedule,
    weights: TrackWeights,
    stride: int = 4,
    *,
    is_first: bool = False,
) -> TrackedFrame:
    """Fit the next frame by the public fitter's steps: the pose, then all that changes.

    Args:
        fitter: of the face model.
        previous: as for `track`.
        batch: likewise.
        schedule: of the steps.
        weights: of the nearness to the frame before.
        stride: as for `track`; of the pixels that tell how certain the frame is.
        is_first: there is no frame before; the steps are those of a photo.
    """
    terms = fitter.photo_terms(batch, stride, TRACKED)
    near = nearness(previous, terms.layout, weights)
    first, further = (
        (schedule.rigid_steps, schedule.steps)
        if is_first
        else (schedule.next_rigid_steps, schedule.next_steps)
    )
    assert batch.landmarks_px is not None
    landmarks = fitter.landmark_terms(batch.landmarks_px, free=MOTION).by_name["landmarks"]
    posed, _ = descend(
        "rigid",
        {"landmarks": landmarks, "motion": near},
        previous,
        first,
        schedule.rigid_rate,
        POSE,
    )
    every = {**costs(fitter, batch), "motion": near}
    found, stage = descend("all", every, posed, further, schedule.rate, TRACKED)
    problem = FitProblem(terms.layout, terms.by_name)
    evaluation = problem.evaluate(found)
    own = SecondOrder(evaluation, problem.linearise(evaluation))
    minimum = Minimum(evaluation, stage.first, stage.tried, stage.converged, own)
    tracked = _with_certainty(terms.layout, minimum, own)
    # So many steps end anywhere: what is left of the slope is not only what the nearness left.
    return replace(tracked, pull=torch.zeros_like(tracked.pull))


@torch.no_grad()
def _with_certainty(layout: ParameterLayout, minimum: Minimum, own: SecondOrder) -> TrackedFrame:
    """The frame with its own energy: `own`, about where the last step began, moved to its end."""
    found, before = minimum.evaluation.coefficients, own.about.coefficients
    to_step = torch.linalg.inv(step_rates(layout, before)[0].double())
    curvature = to_step.mT @ own.equations.hessian[0].double() @ to_step
    moved = (layout.join(found) - layout.join(before))[0].double()
    gradient = to_step.mT @ own.equations.gradient[0].double() + curvature @ moved
    curvature, gradient = eliminate_light(curvature, gradient, layout)
    like = own.equations.gradient
    return TrackedFrame(
        minimum, motion_of(found)[0], curvature.to(like) / 2, -gradient.to(like) / 2
    )


def begin(fitter: FaceFitter, person: Coefficients, batch: FaceBatch) -> Coefficients:
    """A known face where there is no frame before: pose and expression from the landmarks.

    Args:
        fitter: of the face model.
        person: identity, albedo and a usual light; a batch of one.
        batch: the frame's crop with landmarks.
    """
    assert batch.landmarks_px is not None
    posed = fitter.pose(batch.landmarks_px)
    start = replace(posed, identity=person.identity, texture=person.texture, gamma=person.gamma)
    terms = fitter.landmark_terms(batch.landmarks_px, free=MOTION)
    return fitter.minimise(start, terms, LANDMARK_RULES).evaluation.coefficients


def nearness(previous: Coefficients, layout: ParameterLayout, weights: TrackWeights) -> Nearness:
    """The term that holds a frame near to the one before."""
    by_block = {
        "expression": weights.near_expression,
        "angles_rad": weights.near_rotation,
        "gamma": weights.near_light,
        "translation_dm": weights.near_translation,
        "joints_rad": weights.near_expression,
    }
    parts = []
    for block in layout.blocks:
        sigma = block.sigma or (1.0,) * block.size
        parts += [by_block[block.name] / value**2 for value in sigma]
    centre = layout.join(previous)
    return Nearness(layout, centre.new_tensor(parts), centre)


def motion_of(coefficients: Coefficients) -> Float[Tensor, "batch motion"]:
    """Expression, angles and translation beside each other."""
    blocks = dict(coefficients.items())
    return torch.cat([blocks[name] for name in MOTION if name in blocks], dim=1)


def eliminate_light(
    hessian: Float[Tensor, "parameters parameters"],
    gradient: Float[Tensor, " parameters"],
    layout: ParameterLayout,
) -> tuple[Float[Tensor, "motion motion"], Float[Tensor, " motion"]]:
    """Curvature and gradient by the motion where the light follows it: a Schur complement."""
    light = torch.zeros(layout.size, dtype=torch.bool)
    light[layout.slices["gamma"]] = True
    of_light, of_motion = hessian[light][:, light], hessian[~light][:, ~light]
    coupling = hessian[light][:, ~light]
    floor = 1e-9 * of_light.diagonal().mean() * torch.eye(len(of_light)).to(of_light)
    right = torch.cat([coupling, gradient[light, None]], dim=1)
    reduced = coupling.mT @ torch.linalg.solve(of_light + floor, right)
    return of_motion - reduced[:, :-1], gradient[~light] - reduced[:, -1]


@dataclass(frozen=True)
class Smoothness:
    """How smooth the motion of a video should be.

    It is the same in all windows of the video, or they would not meet.
    """

    stiffness: Float[np.ndarray, " motion"]
    """Weight of each coefficient's squared second differences, S."""
    blocks: Mapping[str, slice]
    """Where the blocks of the motion lie."""
    usual: Mapping[str, float]
    """r of each block: second differences of a larger norm, by S, count ever less; inf for none."""

    @classmethod
    def of(
        cls,
        motion: np.ndarray,
        together: np.ndarray,
        sureness: np.ndarray,
        blocks: Mapping[str, slice],
        smoothing: float,
        rate_hz: float = SMOOTHING_RATE_HZ,
    ) -> Smoothness:
        """From the tracked motion of the whole video.

        Args:
            motion: (N, K).
            together: (N - 2,) bool: whether three frames follow one another.
            sureness: (K,) certainty of each coefficient in a usual frame.
            blocks: where the blocks of the motion lie.
            smoothing: stiffness over that certainty, at 25 frames a second.
            rate_hz: frames a second. Second differences of one motion go with the square of the
                time between frames, so that stiffness goes with the fourth power of the rate.
        """
        rate_hz = min(max(rate_hz, RATES_HZ[0]), RATES_HZ[1])
        stiffness = smoothing * (rate_hz / SMOOTHING_RATE_HZ) ** 4 * sureness
        second = _second_differences(motion)[together] * np.sqrt(stiffness)
        usual = {}
        for name, part in blocks.items():
            norms = np.linalg.norm(second[:, part], axis=1)
            middle = float(np.median(norms)) if len(norms) else 0.0
            share = QUICK_EXPRESSION if name == "expression" else QUICK_POSE
            usual[name] = share * middle or math.inf
        return cls(stiffness, blocks, usual)

    def weights(self, motion: np.ndarray) -> np.ndarray:
        """(N - 2, K) of the squared second differences of a motion."""
        second = _second_differences(motion) * np.sqrt(self.stiffness)
        weights = np.empty_like(second)
        for name, part in self.blocks.items():
            excess = np.square(second[:, part]).sum(axis=1, keepdims=True) / self.usual[name] ** 2
            weights[:, part] = self.stiffness[part] / np.sqrt(1 + excess)
        return weights


def smooth(
    motion: np.ndarray, certainty: np.ndarray, pull: np.ndarray, smoothness: Smoothness
) -> np.ndarray:
    """The smoothest motion near the tracked one.

    Args:
        motion: (N, K) of consecutive frames.
        certainty: (N, K, K) positive semi-definite.
        pull: (N, K) as in `TrackedFrame`.
        smoothness: what is smooth.

    Returns:
        (N, K); the same where fewer than three frames leave nothing to smooth.
    """
    count, size = motion.shape
    if count < 3 or not smoothness.stiffness.any():
        return motion.copy()
    # Upper form of LAPACK's banded storage: entry (i, j) of the matrix lies in row u + i - j.
    upper = 2 * size
    of_frames = np.zeros((upper + 1, count * size))
    rows, columns = np.triu_indices(size)
    scale = np.maximum(np.trace(certainty, axis1=1, axis2=2) / size, 1e-12)
    for frame in range(count):
        block = certainty[frame] + 1e-9 * scale[frame] * np.eye(size)
        start = frame * size
        of_frames[upper + rows - columns, start + columns] += block[rows, columns]
    unit = np.sqrt(smoothness.stiffness)
    right = np.einsum("nij,nj->ni", certainty, motion) + 1e-9 * scale[:, None] * motion + pull
    smoothed, weights = motion, np.broadcast_to(smoothness.stiffness, (count - 2, size))
    for _ in range(MOST_ROUNDS):
        band = of_frames.copy()
        for a, first in enumerate(SECOND_DIFFERENCE):
            for b, second in enumerate(SECOND_DIFFERENCE[a:], start=a):
                diagonal = band[upper - (b - a) * size].reshape(count, size)
                diagonal[b : b + count - 2] += first * second * weights
        before, smoothed = smoothed, solveh_banded(band, right.ravel()).reshape(count, size)
        weights = smoothness.weights(smoothed)
        # Each coefficient in its own unit: what is stiff moves little.
        change, whole = (smoothed - before) * unit, (smoothed - motion) * unit
        if np.linalg.norm(change) <= SMOOTHED_ENOUGH * np.linalg.norm(whole):
            break
    return smoothed


def _second_differences(motion: np.ndarray) -> np.ndarray:
    """Of consecutive frames, (N - 2, K)."""
    return np.diff(motion, n=2, axis=0)
