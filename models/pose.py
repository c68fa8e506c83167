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


def refine_pose(
    points_px: Float[Tensor, "batch points 2"],
    points_object: Float[Tensor, "batch points 3"],
    rotation: Float[Tensor, "batch 3 3"],
    translation_dm: Float[Tensor, "batch 3"],
    camera: Camera,
    steps: int = 8,
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """The pose whose projections are nearest to image points, by Gauss-Newton from one near it.

    A small rotation vector w turns a posed point X = R v + t about the head's origin, so that it
    moves by w x (X - t): the Jacobian of its pixel is that of the projection times [-[X - t]x, I].

    Args:
        points_px: continuous pixels, y down.
        points_object: their counterparts in the head's own frame.
        rotation: to start from, acting on column vectors.
        translation_dm: to start from.
        camera: perspective camera.
        steps: at most a few are needed from a pose that is off by some degrees.
    """
    for _ in range(steps):
        arms = points_object @ rotation.transpose(1, 2)
        before = camera.from_object(arms + translation_dm[:, None])
        moved = camera.projection_derivatives(before)
        # Rows of -[arm]x: what each component of w does to x, y and z.
        turned = moved @ _cross_matrix(-arms)
        jacobian = torch.cat([turned, moved], dim=-1).flatten(1, 2)
        residual = (points_px - camera.project(before)).flatten(1)[..., None]
        step = torch.linalg.lstsq(jacobian, residual).solution[..., 0]
        rotation = torch.matrix_exp(_cross_matrix(step[:, :3])) @ rotation
        translation_dm = translation_dm + step[:, 3:]
    return rotation, translation_dm


def _cross_matrix(vectors: Float[Tensor, "*many 3"]) -> Float[Tensor, "*many 3 3"]:
    """[v]x: the matrix of the cross product with v from the left."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
