"""Random expressions: what faces in a collection of photographs do, and how it is distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from models.camera import rotation_matrix
from models.face_model import FaceModel, NaturalExpression

# Expressions by ARKit unit; a name without its side means both sides.
PRESETS: tuple[Mapping[str, float], ...] = (
    {"mouthSmile": 0.7, "cheekSquint": 0.3, "eyeSquint": 0.15},
    {"mouthSmile": 0.85, "mouthUpperUp": 0.35, "mouthLowerDown": 0.3, "cheekSquint": 0.5}
    | {"jawOpen": 0.08, "eyeSquint": 0.25},
    {"mouthSmile": 0.85, "jawOpen": 0.4, "cheekSquint": 0.6, "eyeSquint": 0.45}
    | {"mouthUpperUp": 0.3},
    {"jawOpen": 0.3, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},
    {"jawOpen": 0.18, "mouthFunnel": 0.45, "mouthPucker": 0.2},
    {"browInnerUp": 0.8, "browOuterUp": 0.7, "eyeWide": 0.7, "jawOpen": 0.45},
    {"browDown": 0.85, "eyeSquint": 0.4, "noseSneer": 0.4, "mouthPress": 0.4, "mouthFrown": 0.2},
    {"browInnerUp": 0.75, "mouthFrown": 0.6, "mouthShrugLower": 0.3, "eyeSquint": 0.1},
    {"mouthPucker": 0.8, "mouthFunnel": 0.15},
    {"jawOpen": 0.8, "browDown": 0.5, "mouthUpperUp": 0.4, "mouthLowerDown": 0.3, "eyeSquint": 0.3},
)
_WAYS = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
"""Not the sides of one unit, but the two ways that all of it may go."""
_NOT_DRAWN = ("mouthClose", "tongueOut")
"""The one shuts the lips of an open jaw, and without it crushes them; the other moves no face."""
PRESET_SHARE = 0.6
NEUTRAL_SHARE = 0.15

# How far the open model's units turn an eye at full strength, degrees: from the way of the pupils.
SIDEWAYS_DEG, UP_DEG, DOWN_DEG = 27.0, 14.0, 20.0
AT_CAMERA_SHARE = 0.55
"""Faces that look at the camera, as far as eyes turn."""
HALF_EYE_DISTANCE_DM = 0.31
NATURAL_UP_SHARE = 0.3
"""Of what eyes look up and down, that counts as natural in fits."""


class ExpressionSampler:
    """Draws expressions of one face model."""

    def __init__(
        self, unit_names: Sequence[str], unit_matrix: np.ndarray, sigma: np.ndarray
    ) -> None:
        """Say how the model names its expressions.

        Args:
            unit_names: ARKit names; without any, coefficients are normal.
            unit_matrix: (units, K) coefficients of each at full strength.
            sigma: (K,) standard deviations of the coefficients.
        """
        self._unit_names = list(unit_names)
        self._unit_matrix, self._sigma = unit_matrix, sigma
        self._free_units = [
            name
            for name in self._unit_names
            if not name.startswith(("eyeLook", "eyeBlink")) and name not in _NOT_DRAWN
        ]

    @classmethod
    def of(cls, face_model: FaceModel) -> ExpressionSampler:
        """That of a face model on the CPU."""
        matrix, sigma = face_model.unit_matrix.numpy(), face_model.expression_sigma.numpy()
        return cls(face_model.unit_names, matrix, sigma)

    def natural(self, count: int, seed: int) -> NaturalExpression:
        """Mean and covariance of the coefficients over so many faces, turned as photos show them.

        Units are strengths from 0 on, and lids rather droop than open wide: the mean is not the
        neutral face, nor are coefficients independent. Eyes look up and down a part of their way
        only: fits cannot tell well how far, and lashes look like an iris that is turned up.
        """
        rng = np.random.default_rng(seed)
        drawn = np.stack(
            [self.draw(rng, sample_angles(rng), NATURAL_UP_SHARE) for _ in range(count)]
        )
        return NaturalExpression(
            mean=drawn.mean(axis=0).astype(np.float32),
            covariance=np.cov(drawn.T).astype(np.float32),
        )

    def draw(
        self, rng: np.random.Generator, angles: np.ndarray, up_share: float = 1.0
    ) -> np.ndarray:
        """A neutral face, a preset or a few units; gaze, blinks and a little of everything.

        Args:
            rng: the random numbers.
            angles: (3,) of the head in radians, for eyes that look at the camera.
            up_share: how much of the gaze's way up or down the eyes go.

        Returns:
            (K,) float64 coefficients.
        """
        sigma = self._sigma
        kind = rng.uniform()
        noise = rng.standard_normal(sigma.size) * sigma
        if not self._unit_names:
            return noise * (0.0 if kind < NEUTRAL_SHARE else 0.5)
        weights = np.zeros(len(self._unit_names))
        if kind >= NEUTRAL_SHARE:
            if kind < NEUTRAL_SHARE + PRESET_SHARE:
                preset = PRESETS[rng.integers(len(PRESETS))]
                strength = rng.uniform(0.2, 1.15)
                for name, value in preset.items():
                    self._add(weights, name, value * strength * rng.uniform(0.8, 1.2))
            for _ in range(rng.poisson(2)):
                name = self._free_units[rng.integers(len(self._free_units))]
                if rng.uniform() < 0.75 and name not in _WAYS:
                    name = name.removesuffix("Left").removesuffix("Right")
                self._add(weights, name, rng.beta(1.2, 2.2))
        kind = rng.uniform()
        if kind < 0.22:  # closed for a moment, or lids that hang a little
            self._add(weights, "eyeBlink", rng.uniform(0.8, 1) if kind < 0.06 else rng.beta(1, 3))
        elif kind < 0.24:
            self._add(weights, f"eyeBlink{rng.choice(['Left', 'Right'])}", rng.uniform(0.6, 1))
        self._gaze(weights, rng, angles, up_share)
        expression = weights.clip(0, 1.1) @ self._unit_matrix
        # A breath of noise, so that directions outside of the units are seen too.
        return expression + (0.1 * noise if kind >= NEUTRAL_SHARE else 0.0)

    def _add(self, weights: np.ndarray, name: str, value: float) -> None:
        """Add to a unit, or to both sides of it where `name` lacks the side."""
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in self._unit_names:
                weights[self._unit_names.index(full)] += value

    def _gaze(
        self, weights: np.ndarray, rng: np.random.Generator, angles: np.ndarray, up_share: float
    ) -> None:
        """Turn both eyes to one point: to the camera, or to somewhere else.

        Seen from the head the camera lies in direction R^T (0, 0, 1), the last row of R.
        """
        x, y, z = rotation_matrix(torch.from_numpy(angles)[None])[0, 2].tolist()
        left = math.degrees(math.atan2(x, z)) + rng.normal(0, 2)
        up = math.degrees(math.asin(y)) + rng.normal(0, 2)
        elsewhere = rng.normal(0, 10), rng.normal(-2, 6)
        if rng.uniform() > AT_CAMERA_SHARE:
            left, up = elsewhere
        up *= up_share
        # The nearer the point, the more the eyes turn towards each other.
        distance = math.exp(rng.uniform(math.log(3), math.log(50)))
        inwards = math.degrees(math.atan(HALF_EYE_DISTANCE_DM / distance))
        for side, out in (("Left", left - inwards), ("Right", -left - inwards)):
            name = "eyeLookOut" if out > 0 else "eyeLookIn"
            self._add(weights, f"{name}{side}", min(abs(out) / SIDEWAYS_DEG, 1))
        if up > 0:
            self._add(weights, "eyeLookUp", min(up / UP_DEG, 1))
        else:
            self._add(weights, "eyeLookDown", min(-up / DOWN_DEG, 1))


def sample_angles(rng: np.random.Generator) -> np.ndarray:
    """Pitch, yaw, roll in radians: mostly towards the camera, yaw up to 50 degrees."""
    frontal = rng.uniform() < 0.55
    yaw = rng.normal(0, 18) if frontal else rng.uniform(-50, 50)
    pitch = rng.normal(0, 10)
    roll = rng.normal(0, 8)
    return np.radians([np.clip(pitch, -25, 25), np.clip(yaw, -55, 55), np.clip(roll, -20, 20)])
