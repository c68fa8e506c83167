"""Head pose from point pairs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import Camera

ROUNDS = 5
"""Of a face 10 dm away, each divides the error that perspective leaves by about ten."""


def pose_from_points(
    points_px: Float[Tensor, "batch points 2"],
    points_object: Float[Tensor, "points 3"],
    camera: Camera,
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """Rotation and translation that put object points onto image points.

    POSIT (DeMenthon and Davis, IJCV 1995): a scaled orthographic fit, whose image points are then
    corrected by the perspective of the pose found, and again.

    1. Fit x ~ P [X, 1] with a (2, 4) matrix P by least squares: a scaled orthographic camera.
    2. The nearest matrix with orthonormal rows to P's left part (from its singular value
       decomposition) gives the first two rows of R; their cross product gives the third.
    3. The mean singular value s is the scale; the object origin lies at the depth 1 / s (of rays
       of unit focal length), and the shift follows at this depth.
    4. A point at the depth d is seen by the factor 1 / (s d) larger than the scaled orthographic
       camera sees it: take that away from the image points, and fit again.

    Args:
        points_px: continuous pixels, y down.
        points_object: their 3D counterparts, not in one plane.
        camera: perspective camera.

    Returns:
        R for column vectors, and translation_dm, both in the object frame.
    """
    # To rays with y up, so that image and object axes agree.
    flip = points_px.new_tensor([1.0, -1.0])
    rays = (points_px - camera.centre_px[:, None]) / camera.focal_px[:, None] * flip
    ones = points_object.new_ones(len(points_object), 1)
    fit = torch.linalg.pinv(torch.cat([points_object, ones], dim=1))
    orthographic = rays
    for _ in range(ROUNDS):
        solution = fit @ orthographic  # (B, 4, 2)
        u, singular, vt = torch.linalg.svd(solution[:, :3].transpose(1, 2), full_matrices=False)
        rows = u @ vt
        rotation = torch.cat([rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])], dim=1)
        scale = singular.mean(dim=1, keepdim=True)
        relative_depth = 1 - scale * (points_object @ rotation[:, 2, :, None])[..., 0]
        orthographic = rays * relative_depth[..., None]
    towards_camera = camera.distance_dm - scale.reciprocal()
    return rotation, torch.cat([solution[:, 3] / scale, towards_camera], dim=1)
