"""Faces for SynergyNet: crops around turned heads, seen by weak perspective.

Poses are drawn as the labels count them (`models.synergy.pose`), to a yaw of 90 degrees on both
sides, which the R-Net's own faces never reach. Only the first shape and expression coefficients are
drawn, so that the parameters of a crop are the whole truth about its shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from data.synthetic.environment import Environment, sample_environment
from data.synthetic.photographer import Photographer
from data.synthetic.rendering import SceneRenderer
from data.synthetic.sampling import COEFFICIENTS, LIGHT, FaceSampler, generator
from models.camera import Camera
from models.face_model import FaceModel
from models.synergy.parameters import DDFA_LAYOUT, SynergyLayout
from models.synergy.pose import LABEL_ORIGIN_PX, MICROMETRES_PER_DM, label_rotation, pose_numbers

CropKind = Literal["training", "benchmark", "wide"]
"""Crops as of a detector that errs; as of true landmarks; with room around the head."""

BOX_FACTOR = math.sqrt(2)
"""Side of a crop over the longer side of the landmarks' box."""
DISTANCE_DM = 10.0
BENCHMARK_YAWS_DEG = (0.0, 30.0, 60.0, 85.0)
"""Every eighth face of a benchmark has one of these, on either side: the ends of the bins, and
nearly profile, since at 90 degrees the labels of pitch and roll mean nothing."""
UPSIDE_DOWN_EVERY = 100
"""Of so many faces of a benchmark one is tilted beyond 99 degrees, which evaluations leave out."""


def sample_label_angles_deg(
    rng: np.random.Generator, kind: CropKind, index: int
) -> tuple[float, float, float]:
    """Pitch, yaw, roll in degrees: half of the heads mostly frontal, half turned to any side."""
    yaw = float(
        np.clip(rng.normal(0, 25), -90, 90) if rng.uniform() < 0.5 else rng.uniform(-90, 90)
    )
    pitch, roll = np.clip(rng.normal(0, 12, 2), -40, 40).tolist()
    if kind == "benchmark":
        if index % 8 == 0:
            yaw = BENCHMARK_YAWS_DEG[index // 8 % 4] * (-1 if index // 32 % 2 else 1)
        if index % UPSIDE_DOWN_EVERY == UPSIDE_DOWN_EVERY - 1:
            roll = float(rng.uniform(100, 120) * rng.choice([-1, 1]))
    return pitch, yaw, roll


def own_angles(rotation: np.ndarray) -> np.ndarray:
    """Pitch, yaw, roll in radians of a rotation, as `models.camera.rotation_matrix` turns.

    The last row of Rz(r) Ry(y) Rx(p) is (-sin y, cos y sin p, cos y cos p), the first column
    (cos y cos r, cos y sin r, -sin y).
    """
    return np.array(
        [
            math.atan2(rotation[2, 1], rotation[2, 2]),
            math.asin(np.clip(-rotation[2, 0], -1, 1)),
            math.atan2(rotation[1, 0], rotation[0, 0]),
        ]
    )


class CropSampler(FaceSampler):
    """Draws people, poses, crops and light."""

    def __init__(
        self, face_model: FaceModel, layout: SynergyLayout, size_px: int, kind: CropKind
    ) -> None:
        """Choose the crops.

        Args:
            face_model: whose coefficients are drawn.
            layout: how many of them.
            size_px: side of the crops.
            kind: how far they miss the face.
        """
        super().__init__(face_model, "rnet", size_px)
        self._crop_layout = layout
        self._crop_kind: CropKind = kind

    def _sample_one(self, seed: int, index: int) -> tuple[np.ndarray, Environment, Camera]:
        rng = generator(seed, index, COEFFICIENTS)
        identity = self._sigma["identity"] * rng.standard_normal(self._sigma["identity"].size)
        texture = 0.9 * self._sigma["texture"] * rng.standard_normal(self._sigma["texture"].size)
        degrees = sample_label_angles_deg(rng, self._crop_kind, index)
        rotation = label_rotation(torch.tensor([degrees], dtype=torch.float64).deg2rad())[0].numpy()
        angles = own_angles(rotation)
        expression = self._expressions.draw(rng, angles)
        identity[self._crop_layout.shape :] = 0
        expression[self._crop_layout.expression :] = 0
        shape = np.concatenate([identity, expression])
        landmarks = self._mean_landmarks + np.tensordot(shape, self._landmark_basis, 1)
        environment = sample_environment(generator(seed, index, LIGHT))
        parts = {
            "identity": identity,
            "expression": expression,
            "texture": texture,
            "angles_rad": angles,
            "gamma": environment.gamma(),
            "translation_dm": np.zeros(3),
        }
        if self._skeleton is not None:
            parts["joints_rad"] = np.zeros(self._skeleton.sigma.numel())
        flat = np.concatenate([parts[b.name] for b in self.layout.blocks]).astype(np.float32)
        return flat, environment, self._crop(rng, (landmarks @ rotation.T)[:, :2])

    def _crop(self, rng: np.random.Generator, points_dm: np.ndarray) -> Camera:
        """The camera that shows turned landmarks (68, 2), y up, where a crop has them."""
        low, high = points_dm.min(axis=0), points_dm.max(axis=0)
        side_dm = BOX_FACTOR * (high - low).max()
        centre_dm = (low + high) / 2
        if self._crop_kind == "training":
            side_dm *= math.exp(rng.normal(0, 0.08))
            centre_dm = centre_dm + side_dm * rng.normal(0, 0.035, 2)
        elif self._crop_kind == "wide":
            side_dm *= rng.uniform(1.2, 1.7)
            centre_dm = centre_dm + side_dm * rng.uniform(-0.08, 0.08, 2)
        px_per_dm = self._size_px / side_dm
        middle = self._size_px / 2
        centre = [middle - px_per_dm * centre_dm[0], middle + px_per_dm * centre_dm[1]]
        return Camera(
            focal_px=torch.full((1, 2), px_per_dm * DISTANCE_DM),
            centre_px=torch.tensor([centre], dtype=torch.float32),
            height=self._size_px,
            width=self._size_px,
            distance_dm=DISTANCE_DM,
            near_dm=DISTANCE_DM - 5,
            far_dm=DISTANCE_DM + 5,
            kind="weak",
        )


@dataclass(frozen=True)
class CropPhotographer(Photographer):
    """Takes crops of random people; sent to other processes."""

    layout: SynergyLayout = DDFA_LAYOUT
    kind: CropKind = "training"

    @cached_property
    def _tools(self) -> tuple[FaceSampler, SceneRenderer]:
        sampler = CropSampler(self.face_model, self.layout, self.size_px, self.kind)
        return sampler, SceneRenderer(self.face_model, self.looks, surfaces=self.surfaces)


def label_parameters(
    rotation_camera: np.ndarray,
    intrinsics: np.ndarray,
    shape: Sequence[np.ndarray],
    size_px: int,
) -> np.ndarray:
    """(N, 12 + ...) parameters of crops, not whitened, from their cameras.

    Args:
        rotation_camera: (N, 3, 3) into the camera's frame, y down and z forwards.
        intrinsics: (N, 3, 3); the object's origin is `DISTANCE_DM` away.
        shape: blocks (N, K) that follow the pose.
        size_px: side of the crops.
    """
    # Back to y up and z towards the camera, as labels have it.
    flip = np.array([1.0, -1.0, -1.0])
    rotation = torch.from_numpy(rotation_camera.astype(np.float64) * flip[:, None])
    intrinsics = intrinsics.astype(np.float64)
    scale = torch.from_numpy(intrinsics[:, 0, 0] / (DISTANCE_DM * MICROMETRES_PER_DM))
    centre = intrinsics[:, :2, 2] + LABEL_ORIGIN_PX
    shift = np.stack([centre[:, 0], size_px + 1 - centre[:, 1], 0 * centre[:, 0]], axis=1)
    pose = pose_numbers(scale, rotation, torch.from_numpy(shift)).numpy()
    return np.concatenate([pose, *shape], axis=1)
