"""Cameras of the 3D-aware GANs EG3D and PanoHead, from the pose of a head.

Their labels have 25 numbers: the camera's pose in the world, 4 x 4 by rows, with axes as in OpenCV
(x right, y down, z forward), then K, 3 x 3, for pictures of side 1. The world is the head's own
frame in another unit and from another origin: a point v in decimetres is SCALE v + ORIGIN there.

With the pose v -> R v + t in the object frame, the camera at (0, 0, distance) of it and
D = diag(1, -1, -1), which turns the object frame's axes into the camera's:

    rotation R^T D,    centre SCALE (-R^T (t - (0, 0, distance))) + ORIGIN

What GANs were trained with is less: `orig`, of EG3D's published checkpoints, puts the centre at
the distance 2.7 from the world's origin, `cor` from the point (0, 0, 0.175), and both leave what
the head's distance does to the picture to the crop. PanoHead's `orbit` looks at the world's origin
from there, as if crops had the head's centre in their middle.
"""

from __future__ import annotations

import numpy as np

SCALE = 0.27
"""World units for a decimetre."""
ORIGIN = (0.0, 0.006, 0.161)
"""The head's origin in the world."""
RADIUS = 2.7
"""Distance of the cameras of training from the point they are placed about."""
COR_CENTRE = (0.0, 0.0, 0.175)
"""That point in `cor`."""
FOCAL = 4.2647
"""Of the published labels, in sides of the picture."""

_D = np.diag([1.0, -1.0, -1.0])
_PUBLISHED_K = np.array([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]])
_MIRROR = np.ones((4, 4))
_MIRROR[[0, 0, 1, 2, 0], [1, 2, 0, 0, 3]] = -1


def camera_pose(R: np.ndarray, t: np.ndarray, distance_dm: float) -> np.ndarray:
    """The true camera (4, 4) in the world, its axes and its place.

    Args:
        R: (3, 3) rotation of the head in the object frame, acting on column vectors.
        t: (3,) its translation in decimetres.
        distance_dm: of the camera from the object frame's origin.
    """
    pose = np.eye(4)
    pose[:3, :3] = R.T @ _D
    pose[:3, 3] = SCALE * (R.T @ (np.array([0, 0, distance_dm]) - t)) + ORIGIN
    return pose


def head_pose(pose: np.ndarray, distance_dm: float) -> tuple[np.ndarray, np.ndarray]:
    """R and t of a true camera: `camera_pose` undone."""
    R = (pose[:3, :3] @ _D).T
    centre = (pose[:3, 3] - ORIGIN) / SCALE
    return R, np.array([0, 0, distance_dm]) - R @ centre


def orig_pose(pose: np.ndarray) -> np.ndarray:
    """The camera of EG3D's published checkpoints for a true one."""
    return _about(pose, np.zeros(3))


def cor_pose(pose: np.ndarray) -> np.ndarray:
    """The camera of EG3D's later, corrected labels for a true one."""
    return _about(pose, np.array(COR_CENTRE))


def orbit_pose(pose: np.ndarray) -> np.ndarray:
    """The camera that looks at the world's origin in the direction of a true one."""
    moved = pose.copy()
    moved[:3, 3] = -RADIUS * pose[:3, 2]
    return moved


def mirrored(pose: np.ndarray) -> np.ndarray:
    """The camera of the mirrored picture: yaw, roll and the place in x change their sign."""
    return pose * _MIRROR


def label(pose: np.ndarray, K: np.ndarray = _PUBLISHED_K) -> list[float]:
    """The 25 numbers of a camera.

    Args:
        pose: (4, 4).
        K: (3, 3) for a picture of side 1; by default the one of all published labels.
    """
    return [*pose.ravel().tolist(), *K.ravel().tolist()]


def of_label(numbers: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Pose (4, 4) and K (3, 3) of a label."""
    values = np.array(numbers, np.float64)
    return values[:16].reshape(4, 4), values[16:].reshape(3, 3)


def to_world(points_dm: np.ndarray) -> np.ndarray:
    """Points (..., 3) of the head's own frame in the world."""
    return SCALE * points_dm + ORIGIN


def _about(pose: np.ndarray, point: np.ndarray) -> np.ndarray:
    moved = pose.copy()
    offset = pose[:3, 3] - point
    moved[:3, 3] = point + RADIUS * offset / np.linalg.norm(offset)
    return moved
