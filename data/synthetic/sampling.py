"""Random faces: coefficients, poses and lights as a collection of photographs would have them.

Every random number of sample `index` comes from generators seeded with (seed, index, stream), so
that a sample does not depend on the others, nor on how many processes share the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from data.alignment import FACE_SCALE_PX, pos
from data.landmarks import five_from_68
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.lighting import AMBIENT, sh_basis
from models.skeleton import Skeleton

# Streams of random numbers of one sample.
COEFFICIENTS, SCENE, PICTURE = 0, 1, 2

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
PRESET_SHARE = 0.6
NEUTRAL_SHARE = 0.15

JITTER_MAX_PX = 3.5
"""Largest standard deviation of the simulated detector's five points."""


def generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """The random numbers of one sample for one purpose."""
    return np.random.default_rng((seed, index, stream))


class FaceSampler:
    """Draws flat coefficient vectors for a face model."""

    def __init__(self, face_model: FaceModel, camera: Camera) -> None:
        """Cut the landmarks out of the bases, so that poses need no whole face."""
        self.layout = face_model.layout
        self._sigma = {
            "identity": face_model.identity_sigma.numpy(),
            "expression": face_model.expression_sigma.numpy(),
            "texture": face_model.albedo_sigma.numpy(),
        }
        self._unit_names = list(face_model.unit_names)
        self._unit_matrix = face_model.unit_matrix.numpy()
        self._free_units = [
            name
            for name in self._unit_names
            if not name.startswith(("eyeLook", "eyeBlink")) and name != "tongueOut"
        ]
        self._skeleton = face_model.skeleton
        basis = face_model.shape_basis.unflatten(1, (-1, 3))
        self._landmark_basis = face_model.landmarks(basis).numpy()
        mean = face_model.mean_shape.reshape(1, -1, 3)
        self._mean_landmarks = face_model.landmarks(mean)[0].numpy()
        self._standard_points = face_model.alignment_points.numpy()
        self._focal_px = float(camera.focal_px[0, 0])
        self._distance_dm = camera.distance_dm

    def sample(self, seed: int, indices: Sequence[int]) -> np.ndarray:
        """Coefficients (N, P) float32 of the samples `indices`."""
        return np.stack([self._sample_one(generator(seed, i, COEFFICIENTS)) for i in indices])

    def _sample_one(self, rng: np.random.Generator) -> np.ndarray:
        identity = self._sigma["identity"] * rng.standard_normal(self._sigma["identity"].size)
        texture = 0.9 * self._sigma["texture"] * rng.standard_normal(self._sigma["texture"].size)
        expression = self._expression(rng)
        angles = sample_angles(rng)
        translation = self._translation(rng, identity, expression, angles)
        gamma = sample_light(rng)
        parts = {
            "identity": identity,
            "expression": expression,
            "texture": texture,
            "angles_rad": angles,
            "gamma": gamma,
            "translation_dm": translation,
        }
        if self._skeleton is not None:
            parts["joints_rad"] = self._joints(self._skeleton, rng)
        return np.concatenate([parts[b.name] for b in self.layout.blocks]).astype(np.float32)

    def _joints(self, skeleton: Skeleton, rng: np.random.Generator) -> np.ndarray:
        """Jaw and eyes by their prior; the neck stays, since its turns are the face's pose."""
        turns = skeleton.sigma.numpy().reshape(-1, 3) * rng.standard_normal(
            (len(skeleton.names), 3)
        )
        for name, turn in zip(skeleton.names, turns, strict=True):
            if name == "neck":
                turn[:] = 0
            elif name == "jaw":
                turn[0] = abs(turn[0])  # it only opens
        return turns.ravel()

    def _expression(self, rng: np.random.Generator) -> np.ndarray:
        """A neutral face, a preset or a few units; gaze, blinks and a little of everything."""
        sigma = self._sigma["expression"]
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
                if rng.uniform() < 0.75:
                    name = name.removesuffix("Left").removesuffix("Right")
                self._add(weights, name, rng.beta(1.2, 2.2))
        if rng.uniform() < 0.3:
            self._add(weights, "eyeBlink", rng.uniform(0.05, 0.95))
        self._gaze(weights, rng.normal(0, 0.3), rng.normal(0, 0.2))
        expression = weights.clip(0, 1.1) @ self._unit_matrix
        # A breath of noise, so that directions outside of the units are seen too.
        return expression + (0.1 * noise if kind >= NEUTRAL_SHARE else 0.0)

    def _add(self, weights: np.ndarray, name: str, value: float) -> None:
        """Add to a unit, or to both sides of it where `name` lacks the side."""
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in self._unit_names:
                weights[self._unit_names.index(full)] += value

    def _gaze(self, weights: np.ndarray, left: float, up: float) -> None:
        """Turn both eyes; `left` is the person's left."""
        outward, inward = ("Left", "Right") if left > 0 else ("Right", "Left")
        self._add(weights, f"eyeLookOut{outward}", abs(left))
        self._add(weights, f"eyeLookIn{inward}", abs(left))
        self._add(weights, "eyeLookUp" if up > 0 else "eyeLookDown", abs(up))

    def _translation(
        self,
        rng: np.random.Generator,
        identity: np.ndarray,
        expression: np.ndarray,
        angles: np.ndarray,
    ) -> np.ndarray:
        """Where the crop's alignment puts this face: data preparation, simulated.

        Five points are projected from the untranslated face, disturbed as a detector would, and
        matched by POS (scale s px/dm, shift t px, y up). The crop then magnifies the picture by
        a = FACE_SCALE_PX / s and brings t to the centre. In front of the fixed camera of focal
        length f at distance d, a face at distance d / a looks a times as large, so that

            t_z = d - d / a,    (t_x, t_y) = -t d / f.
        """
        coefficients = np.concatenate([identity, expression])
        shape = self._mean_landmarks + np.tensordot(coefficients, self._landmark_basis, 1)
        rotation = rotation_matrix(torch.from_numpy(angles)[None])[0].numpy()
        points = five_from_68(shape @ rotation.T)
        points_px = self._focal_px * points[:, :2] / (self._distance_dm - points[:, 2:])
        points_px += rng.uniform(0, JITTER_MAX_PX) * rng.standard_normal((5, 2))
        scale, shift = pos(points_px, self._standard_points)
        shift = shift + rng.standard_normal(2)
        magnification = np.clip(FACE_SCALE_PX / scale, 0.7, 1.4)
        depth = self._distance_dm - self._distance_dm / magnification
        return np.array([*(-shift * self._distance_dm / self._focal_px), depth])


def sample_angles(rng: np.random.Generator) -> np.ndarray:
    """Pitch, yaw, roll in radians: mostly towards the camera, yaw up to 50 degrees."""
    frontal = rng.uniform() < 0.55
    yaw = rng.normal(0, 18) if frontal else rng.uniform(-50, 50)
    pitch = rng.normal(0, 10)
    roll = rng.normal(0, 8)
    return np.radians([np.clip(pitch, -25, 25), np.clip(yaw, -55, 55), np.clip(roll, -20, 20)])


def sample_light(rng: np.random.Generator) -> np.ndarray:
    """Light coefficients (27,): ambient light, tinted, and one or two distant lamps.

    The constant light of `models.lighting` is subtracted, as `gamma` is relative to it.
    """
    band0 = float(sh_basis(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))[0])
    tint = 1 + np.clip(rng.normal(0, 0.05, 3), -0.12, 0.12)
    ambient = rng.uniform(0.45, 1.0) * tint
    light = np.zeros((3, 9))
    lamps = 0.0
    for strongest in (1.0, 0.4)[: 1 if rng.uniform() < 0.7 else 2]:
        elevation = math.radians(np.clip(rng.normal(25, 30), -60, 85))
        azimuth = math.radians(np.clip(rng.normal(0, 55), -130, 130))
        direction = np.array(
            [
                math.sin(azimuth) * math.cos(elevation),
                math.sin(elevation),
                math.cos(azimuth) * math.cos(elevation),
            ]
        )
        strength = strongest * rng.uniform(0.0, 0.9)
        colour = 1 + np.clip(rng.normal(0, 0.06, 3), -0.15, 0.15)
        light += strength * colour[:, None] * lamp_coefficients(direction)
        lamps += strength * max(direction[2], 0.0)
    # The ambient share falls where lamps are strong: a camera exposes for the whole.
    exposure = rng.uniform(0.75, 1.1) / (ambient.mean() + 0.7 * lamps)
    exposure = float(np.clip(exposure, 0.6, 1.2))
    light[:, 0] += ambient / band0
    light *= exposure
    light[:, 0] -= AMBIENT
    return light.reshape(-1)


def lamp_coefficients(direction: np.ndarray) -> np.ndarray:
    """Harmonics (9,) of a distant lamp whose irradiance at normal n is max(n . direction, 0).

    With orthonormal harmonics Y the clamped cosine is sum_l A_l Y_lm(direction) Y_lm(n),
    A = pi, 2 pi / 3, pi / 4 (Ramamoorthi and Hanrahan 2001, eq. 5 and 8, over pi in their
    normalisation of the lamp). The project's basis is y_lm = s_l Y_lm up to signs, so that the
    coefficient of y_lm(n) is A_l y_lm(direction) / s_l^2; and the addition theorem gives
    s_l^2 = 4 pi / (2 l + 1) sum_m y_lm(direction)^2.
    """
    basis = sh_basis(torch.from_numpy(direction)).numpy()
    kernel = (math.pi, 2 * math.pi / 3, math.pi / 4)
    result = np.empty(9)
    for band, factor in enumerate(kernel):
        part = slice(band * band, (band + 1) ** 2)
        squared_scale = 4 * math.pi / (2 * band + 1) * (basis[part] ** 2).sum()
        result[part] = factor * basis[part] / squared_scale
    return result
