"""Random faces: coefficients, poses and lights as a collection of photographs would have them.

Every random number of sample `index` comes from generators seeded with (seed, index, stream), so
that a sample does not depend on the others, nor on how many processes share the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.alignment import FACE_SCALE_PX, pos
from data.landmarks import five_from_68
from data.synthetic.cameras import CameraKind, fixed_camera, random_view
from data.synthetic.environment import Environment, sample_environment
from data.synthetic.expressions import ExpressionSampler, sample_angles
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.skeleton import Skeleton
from options.face_options import CROP_PX

# Streams of random numbers of one sample.
COEFFICIENTS, SCENE, PICTURE, LIGHT, CAMERA = range(5)

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
            "texture": face_model.albedo_sigma.numpy(),
        }
        self._expressions = ExpressionSampler.of(face_model)
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
        expression = self._expressions.draw(rng, angles)
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
