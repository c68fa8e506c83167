"""Head pose from point pairs, in closed form."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import Camera


def pose_from_points(
    points_px: Float[Tensor, "batch points 2"],
    points_object: Float[Tensor, "points 3"],
    camera: Camera,
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """Rotation and translation that put object points onto image points, approximately.

    1. Fit x ~ P [X, 1] with a (2, 4) matrix P by least squares: a scaled orthographic camera.
    2. The nearest matrix with orthonormal rows to P's left part (from its singular value
       decomposition) gives the first two rows of R; their cross product gives the third.
    3. The mean singular value s is the scale; a camera with focal length f sees this scale at the
       depth f / s; the shift follows at this depth.

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
    design = torch.cat([points_object, ones], dim=1)
    solution = torch.linalg.pinv(design) @ rays  # (B, 4, 2)
    left = solution[:, :3].transpose(1, 2)
    u, singular, vt = torch.linalg.svd(left, full_matrices=False)
    rows = u @ vt
    rotation = torch.cat([rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])], dim=1)
    depth = 1 / singular.mean(dim=1)
    shift = solution[:, 3] * depth[:, None]
    return rotation, torch.cat([shift, camera.distance_dm - depth[:, None]], dim=1)
