"""Cameras of synthetic faces: the R-Net's, in pictures of any size, or a random one for each.

All have the object's origin 10 dm in front of them, as the R-Net's has, so that coefficients mean
the same everywhere: another distance is a translation along z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from models.camera import Camera, rotation_matrix
from options.face_options import CROP_PX

CameraKind = Literal["rnet", "random"]
FACE_HEIGHT_DM = 2.0
FIELD = (0.85, 5.0)
"""Focal length over the picture's width: a phone at arm's length to a portrait lens."""
FACE_SHARE = (0.25, 0.8)
"""Height of the face over the picture's shorter side."""
NEAREST_DM = 2.5


@dataclass(frozen=True)
class RandomView:
    """A random camera, and where a head is in front of it."""

    camera: Camera
    translation_dm: np.ndarray
    """(3,)"""


def fixed_camera(size_px: int) -> Camera:
    """The R-Net's camera with a picture of another size; 224 is its own."""
    camera = Camera.rnet()
    if size_px == CROP_PX:
        return camera
    scale = torch.full((1, 2), size_px / CROP_PX)
    return camera.regrid(scale, torch.zeros(1, 2), (size_px, size_px))


def random_view(rng: np.random.Generator, size_px: int) -> RandomView:
    """Draw picture, lens, principal point, and a place for a head that the picture shows.

    Args:
        rng: random numbers.
        size_px: about the length of the picture's shorter side.
    """
    shorter = size_px * rng.uniform(0.8, 1.25)
    longer = shorter * rng.choice([1.0, 4 / 3, 3 / 2, 16 / 9])
    sides = (shorter, longer) if rng.uniform() < 0.6 else (longer, shorter)
    width, height = (max(round(side), 32) for side in sides)
    shorter = min(width, height)
    focal = width * float(np.exp(rng.uniform(*np.log(FIELD))))
    # A picture that was cropped has its principal point anywhere.
    off = rng.normal(0, 0.2 if rng.uniform() < 0.2 else 0.01, 2) * shorter
    centre = np.array([width / 2, height / 2]) + off
    distance = max(focal * FACE_HEIGHT_DM / (rng.uniform(*FACE_SHARE) * shorter), NEAREST_DM)
    face = np.array([width / 2, height / 2]) + rng.normal(0, 0.07, 2) * shorter
    # p = c + f (x, -y) / depth
    x, y = (face - centre) * distance / focal * (1, -1)
    rnet = Camera.rnet()
    camera = replace(
        rnet,
        focal_px=torch.full((1, 2), focal),
        centre_px=torch.from_numpy(centre[None]).float(),
        width=width,
        height=height,
        near_dm=max(distance - 2.4, 0.1),
        far_dm=distance + 6.0,
    )
    return RandomView(camera, np.array([x, y, rnet.distance_dm - distance]))


def joined(cameras: Sequence[Camera]) -> Camera:
    """One camera for a batch; sizes and planes are those of the first."""
    return replace(
        cameras[0],
        focal_px=torch.cat([camera.focal_px for camera in cameras]),
        centre_px=torch.cat([camera.centre_px for camera in cameras]),
    )


def intrinsics(camera: Camera) -> np.ndarray:
    """(3, 3) float32: `p ~ K x` for x right, y down, z forwards, p in pixels, centres at + 0.5."""
    (fx, fy), (cx, cy) = camera.focal_px[0].tolist(), camera.centre_px[0].tolist()
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float32)


def extrinsics(
    angles_rad: np.ndarray, translation_dm: np.ndarray, distance_dm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pose as computer vision writes it: `x_camera = R x_object + t`, y down and z forwards.

    Args:
        angles_rad: (B, 3)
        translation_dm: (B, 3) of the coefficients.
        distance_dm: of the camera.

    Returns:
        (B, 3, 3) rotations and (B, 3) translations, float32.
    """
    flip = np.array([1.0, -1.0, -1.0], dtype=np.float32)
    rotation = rotation_matrix(torch.from_numpy(angles_rad)).numpy() * flip[:, None]
    translation = translation_dm * flip + np.array([0, 0, distance_dm], dtype=np.float32)
    return rotation.astype(np.float32), translation.astype(np.float32)
