"""Random faces: coefficients, poses and lights as a collection of photographs would have them.

Every random number of sample `index` comes from generators seeded with (seed, index, stream), so
that a sample does not depend on the others, nor on how many processes share the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.alignment import FACE_SCALE_PX, pos
from data.landmarks import five_from_68
from data.synthetic.cameras import CameraKind, fixed_camera, random_view
from data.synthetic.environment import Environment, sample_environment
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.skeleton import Skeleton
from options.face_options import CROP_PX

# Streams of random numbers of one sample.
COEFFICIENTS, SCENE, PICTURE, LIGHT, CAMERA = range(5)

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

# How far the open model's units turn an eye at full strength, degrees: from the way of the pupils.
SIDEWAYS_DEG, UP_DEG, DOWN_DEG = 27.0, 14.0, 20.0
AT_CAMERA_SHARE = 0.55
"""Faces that look at the camera, as far as eyes turn."""
HALF_EYE_DISTANCE_DM = 0.31

JITTER_MAX_PX = 3.5
"""Largest standard deviation of the simulated detector's five points."""


def generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """The random numbers of one sample for one purpose."""
    return np.random.default_rng((seed, index, stream))


@dataclass(frozen=True)
class SampledFaces:
    """Faces that are drawn and not yet rendered."""

    coefficients: np.ndarray
    """(B, P) float32; their light is that of the environment without any shadows."""
    environments: tuple[Environment, ...]
    cameras: tuple[Camera, ...]


class FaceSampler:
    """Draws people, poses, cameras and light for a face model."""

    def __init__(
        self, face_model: FaceModel, camera: CameraKind = "rnet", size_px: int = CROP_PX
    ) -> None:
        """Cut the landmarks out of the bases, so that poses need no whole face.

        Args:
            face_model: whose coefficients are drawn.
            camera: the R-Net's for all, or a random one for each.
            size_px: side of the pictures; of random ones about the shorter side.
        """
        self.layout = face_model.layout
        self._kind: CameraKind = camera
        self._size_px = size_px
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
        # The alignment is simulated in the R-Net's own pixels.
        self._rnet = fixed_camera(CROP_PX)
        self._camera = fixed_camera(size_px)

    def sample(self, seed: int, indices: Sequence[int]) -> SampledFaces:
        """Draw the samples `indices`."""
        faces = [self._sample_one(seed, index) for index in indices]
        coefficients, environments, cameras = zip(*faces, strict=True)
        return SampledFaces(np.stack(coefficients), environments, cameras)

    def _sample_one(self, seed: int, index: int) -> tuple[np.ndarray, Environment, Camera]:
        rng = generator(seed, index, COEFFICIENTS)
        identity = self._sigma["identity"] * rng.standard_normal(self._sigma["identity"].size)
        texture = 0.9 * self._sigma["texture"] * rng.standard_normal(self._sigma["texture"].size)
        angles = sample_angles(rng)
        expression = self._expression(rng, angles)
        translation = self._translation(rng, identity, expression, angles)
        camera = self._camera
        if self._kind == "random":
            view = random_view(generator(seed, index, CAMERA), self._size_px)
            camera, translation = view.camera, view.translation_dm
        environment = sample_environment(generator(seed, index, LIGHT))
        parts = {
            "identity": identity,
            "expression": expression,
            "texture": texture,
            "angles_rad": angles,
            "gamma": environment.gamma(),
            "translation_dm": translation,
        }
        if self._skeleton is not None:
            parts["joints_rad"] = self._joints(self._skeleton, rng)
        flat = np.concatenate([parts[b.name] for b in self.layout.blocks]).astype(np.float32)
        return flat, environment, camera

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

    def _expression(self, rng: np.random.Generator, angles: np.ndarray) -> np.ndarray:
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
        kind = rng.uniform()
        if kind < 0.22:  # closed for a moment, or lids that hang a little
            self._add(weights, "eyeBlink", rng.uniform(0.8, 1) if kind < 0.06 else rng.beta(1, 3))
        elif kind < 0.24:
            self._add(weights, f"eyeBlink{rng.choice(['Left', 'Right'])}", rng.uniform(0.6, 1))
        self._gaze(weights, rng, angles)
        expression = weights.clip(0, 1.1) @ self._unit_matrix
        # A breath of noise, so that directions outside of the units are seen too.
        return expression + (0.1 * noise if kind >= NEUTRAL_SHARE else 0.0)

    def _add(self, weights: np.ndarray, name: str, value: float) -> None:
        """Add to a unit, or to both sides of it where `name` lacks the side."""
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in self._unit_names:
                weights[self._unit_names.index(full)] += value

    def _gaze(self, weights: np.ndarray, rng: np.random.Generator, angles: np.ndarray) -> None:
        """Turn both eyes to one point: to the camera, or to somewhere else.

        Seen from the head the camera lies in direction R^T (0, 0, 1), the last row of R.
        """
        x, y, z = rotation_matrix(torch.from_numpy(angles)[None])[0, 2].tolist()
        left = math.degrees(math.atan2(x, z)) + rng.normal(0, 2)
        up = math.degrees(math.asin(y)) + rng.normal(0, 2)
        elsewhere = rng.normal(0, 10), rng.normal(-2, 6)
        if rng.uniform() > AT_CAMERA_SHARE:
            left, up = elsewhere
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
        focal, distance = float(self._rnet.focal_px[0, 0]), self._rnet.distance_dm
        points_px = focal * points[:, :2] / (distance - points[:, 2:])
        points_px += rng.uniform(0, JITTER_MAX_PX) * rng.standard_normal((5, 2))
        scale, shift = pos(points_px, self._standard_points)
        shift = shift + rng.standard_normal(2)
        magnification = np.clip(FACE_SCALE_PX / scale, 0.7, 1.4)
        depth = distance - distance / magnification
        return np.array([*(-shift * distance / focal), depth])


def sample_angles(rng: np.random.Generator) -> np.ndarray:
    """Pitch, yaw, roll in radians: mostly towards the camera, yaw up to 50 degrees."""
    frontal = rng.uniform() < 0.55
    yaw = rng.normal(0, 18) if frontal else rng.uniform(-50, 50)
    pitch = rng.normal(0, 10)
    roll = rng.normal(0, 8)
    return np.radians([np.clip(pitch, -25, 25), np.clip(yaw, -55, 55), np.clip(roll, -20, 20)])
