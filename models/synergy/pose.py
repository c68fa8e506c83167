"""Head pose from SynergyNet's pose numbers, and the camera that they stand for.

The numbers are a weak-perspective camera: V = A v + t with A = scale R, v a point of the face model
in micrometres, x right, y up, z towards the camera. V counts in pixels of the crop as its labels
do: pixel centres at whole numbers from 1, y up, so that y_down = side + 1 - y.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import Camera
from models.synergy.parameters import ANGLE_POSE, MATRIX_POSE

MICROMETRES_PER_DM = 1e5
LABEL_ORIGIN_PX = 0.5
"""What label coordinates (first pixel's centre at 1) are more than continuous ones (at 0.5)."""


@dataclass(frozen=True)
class HeadPose:
    """Scale, rotation and translation of a batch of heads."""

    scale: Float[Tensor, " batch"]
    """Pixels of the crop a micrometre."""
    rotation: Float[Tensor, "batch 3 3"]
    """For column vectors; orthonormal."""
    translation_px: Float[Tensor, "batch 3"]
    """Where the face model's origin lies in the crop: label coordinates, y up."""

    def angles_rad(self, public: bool = False) -> Float[Tensor, "batch 3"]:
        """Pitch, yaw, roll: R = Rx(pitch) Ry(yaw) Rz(roll), as the labels of AFLW2000-3D have them.

        Multiplied out, R's first row is (cos y cos r, cos y sin r, -sin y) and its last column
        (-sin y, sin p cos y, cos p cos y), from which all three follow.

        Args:
            public: take the yaw from R[2, 0] = sin y cos p cos r + sin p sin r as the public code
                does, which is the same only for heads that neither nod nor tilt.
        """
        r = self.rotation
        pitch = torch.atan2(r[:, 1, 2], r[:, 2, 2])
        roll = torch.atan2(r[:, 0, 1], r[:, 0, 0])
        sine = r[:, 2, 0] if public else -r[:, 0, 2]
        return torch.stack([pitch, torch.asin(sine.clamp(-1, 1)), roll], dim=1)

    def camera(self, image_px: int, distance_dm: float = 10.0) -> Camera:
        """The weak-perspective camera that sees rotated points (decimetres) where the crop does.

        Pixels are continuous ones, y down: u = f x / d + c_x with f / d = scale, and c from the
        translation.
        """
        focal = self.scale * (MICROMETRES_PER_DM * distance_dm)
        x, y, _ = self.translation_px.unbind(1)
        centre = torch.stack([x - LABEL_ORIGIN_PX, image_px + 1 - y - LABEL_ORIGIN_PX], dim=1)
        return Camera(
            focal_px=torch.stack([focal, focal], dim=1),
            centre_px=centre,
            height=image_px,
            width=image_px,
            distance_dm=distance_dm,
            near_dm=distance_dm - 5,
            far_dm=distance_dm + 5,
            kind="weak",
        )


def head_pose(pose: Float[Tensor, "batch pose"]) -> HeadPose:
    """Read 12 or 7 pose numbers.

    Of 12, the rows of the 3 x 4 matrix (A | t), the first two rows of A give the rotation: each is
    normalised, the third is their cross product, and the scale is the mean of their lengths. Of 7
    (pitch, yaw, roll, t, scale) all is there.

    Raises:
        ValueError: another number of them.
    """
    if pose.shape[1] == ANGLE_POSE:
        return HeadPose(pose[:, 6], label_rotation(pose[:, :3]), pose[:, 3:6])
    if pose.shape[1] != MATRIX_POSE:
        raise ValueError(f"a pose has {MATRIX_POSE} or {ANGLE_POSE} numbers, not {pose.shape[1]}")
    matrix = pose.unflatten(1, (3, 4))
    rows, lengths = matrix[:, :2, :3], torch.linalg.vector_norm(matrix[:, :2, :3], dim=2)
    rows = rows / lengths.clamp(min=torch.finfo(pose.dtype).tiny)[..., None]
    third = torch.linalg.cross(rows[:, 0], rows[:, 1])
    rotation = torch.cat([rows, third[:, None]], dim=1)
    return HeadPose(lengths.mean(dim=1), rotation, matrix[:, :, 3])


def matrix_and_shift(
    pose: Float[Tensor, "batch pose"],
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """A and t of V = A v + t, as they are: predicted rows need not be orthogonal."""
    if pose.shape[1] == MATRIX_POSE:
        matrix = pose.unflatten(1, (3, 4))
        return matrix[:, :, :3], matrix[:, :, 3]
    read = head_pose(pose)
    return read.scale[:, None, None] * read.rotation, read.translation_px


def pose_numbers(
    scale: Float[Tensor, " batch"],
    rotation: Float[Tensor, "batch 3 3"],
    translation_px: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 12"]:
    """The 12 numbers of a pose: inverse of `head_pose`."""
    matrix = scale[:, None, None] * rotation
    return torch.cat([matrix, translation_px[:, :, None]], dim=2).flatten(1)


def label_rotation(angles_rad: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rx(pitch) Ry(yaw) Rz(roll) of the labels, each turning against the common direction.

    Rx = [1 0 0; 0 c s; 0 -s c], Ry = [c 0 -s; 0 1 0; s 0 c], Rz = [c s 0; -s c 0; 0 0 1].
    """
    (cp, cy, cr), (sp, sy, sr) = angles_rad.cos().unbind(1), angles_rad.sin().unbind(1)
    rows = [
        [cy * cr, cy * sr, -sy],
        [sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy],
        [cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def to_continuous(points_label: Float[Tensor, "batch 3 points"]) -> Float[Tensor, "batch 3 points"]:
    """Label coordinates (first pixel's centre at 1) as continuous pixels (at 0.5); z stays."""
    shift = points_label.new_tensor([LABEL_ORIGIN_PX, LABEL_ORIGIN_PX, 0.0])
    return points_label - shift[:, None]
