"""What augmentation does to fitted coefficients: all of it is followed, within half a pixel.

True coefficients are kept exact (`data.exact_warp`), at the price of shift and scale. Those of a
fit lie a pixel or two beside the landmarks anyway, so that photos with labels are augmented as all
others, and the coefficients follow as closely as the R-Net's fixed camera can.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from data.augmentation import Warp
from data.base_dataset import FaceSample
from data.exact_warp import turn_coefficients
from models.camera import Camera, rotation_angles, rotation_matrix
from models.lighting import turn_light
from models.parameters import ParameterLayout


def warp_fit(sample: FaceSample, warp: Warp, layout: ParameterLayout, camera: Camera) -> FaceSample:
    """Change a photo as `Warp.apply`, and its fitted coefficients with it.

    Where the photo is mirrored, but the face model has no mirror image, the label is left out.

    Args:
        sample: with fitted coefficients.
        warp: of the photo.
        layout: of the coefficients.
        camera: the R-Net's.
    """
    warped = warp.apply(sample)
    assert sample.coefficients is not None
    if warp.flip and any(block.parity is None for block in layout.blocks):
        return replace(warped, coefficients=None, fitted=False)
    coefficients = warp_coefficients(sample.coefficients, warp, layout, camera)
    return replace(warped, coefficients=coefficients)


def warp_coefficients(
    coefficients: np.ndarray, warp: Warp, layout: ParameterLayout, camera: Camera
) -> np.ndarray:
    """Coefficients (P,) of a face whose picture was warped: flipped, shifted, turned, scaled."""
    if warp.flip:
        coefficients = layout.mirror(torch.from_numpy(coefficients)[None])[0].numpy()
    if warp.shift_px != (0, 0):
        coefficients = shift_coefficients(coefficients, layout, camera, warp.shift_px)
    if warp.angle_rad:
        coefficients = turn_coefficients(coefficients, layout, warp.angle_rad)
    if warp.scale != 1:
        coefficients = scale_coefficients(coefficients, layout, camera, warp.scale)
    return coefficients


def shift_coefficients(
    coefficients: np.ndarray,
    layout: ParameterLayout,
    camera: Camera,
    shift_px: tuple[float, float],
) -> np.ndarray:
    """Coefficients (P,) of a face whose picture was shifted, to the right and down.

    A shifted picture is that of a camera whose principal point moved. The fixed camera sees the
    same rays, and so the same side of the face, if the scene, with its light, turns about the
    camera's centre C by the rotation Q that takes the axis to the ray of the new centre:

        R' = Q R,   t' = C + Q (t - C),   light'(n) = light(Q^-1 n)

    Exact is f tan(a + b), wanted is f (tan a + tan b): the difference, f tan a tan b tan(a + b), is
    0.1 px where a point 100 px from the centre is shifted by 10.
    """
    right, down = (np.array(shift_px) / camera.focal_px[0].numpy()).tolist()
    axis, ray = torch.tensor([[0.0, 0.0, -1.0], [right, -down, -1.0]], dtype=torch.float64)
    turn = _rotation_between(axis, ray / ray.norm())
    parts, moved = layout.slices, coefficients.copy()
    angles = torch.from_numpy(coefficients[parts["angles_rad"]]).double()
    rotation = turn @ rotation_matrix(angles[None])[0]
    moved[parts["angles_rad"]] = rotation_angles(rotation[None])[0].numpy()
    centre = torch.tensor([0.0, 0.0, camera.distance_dm], dtype=torch.float64)
    translation = torch.from_numpy(coefficients[parts["translation_dm"]]).double()
    moved[parts["translation_dm"]] = (centre + turn @ (translation - centre)).numpy()
    light = torch.from_numpy(coefficients[parts["gamma"]]).double()
    moved[parts["gamma"]] = turn_light(light[None], turn[None])[0].numpy()
    return moved


def scale_coefficients(
    coefficients: np.ndarray, layout: ParameterLayout, camera: Camera, scale: float
) -> np.ndarray:
    """Coefficients (P,) of a face whose picture was enlarged about its centre.

    Enlarging multiplies the focal length, s f x / d. The fixed camera comes nearest to it with the
    face at d0 / s, where d0 is the distance of the face model's origin. A point behind that by e
    is then seen at f x / (d0 / s + e) in place of s f x / (d0 + e): off by (s - 1) e / d0 of its
    distance from the centre, 0.45 px for an ear (e = 0.6 dm, 75 px) and the largest scale of 1.1.
    """
    moved = coefficients.copy()
    z = layout.slices["translation_dm"].start + 2
    moved[z] = camera.distance_dm - (camera.distance_dm - coefficients[z]) / scale
    return moved


def _rotation_between(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """The smallest rotation (3, 3) that takes one unit vector to another, not opposite, one.

    I + [w] + [w]^2 / (1 + c) with w = start x end and c = start . end (Rodrigues).
    """
    w = torch.linalg.cross(start, end)
    zero = torch.zeros((), dtype=w.dtype)
    cross = torch.stack([zero, -w[2], w[1], w[2], zero, -w[0], -w[1], w[0], zero]).reshape(3, 3)
    return torch.eye(3, dtype=w.dtype) + cross + cross @ cross / (1 + start @ end)
