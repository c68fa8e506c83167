"""Similarity transforms between point sets in the plane, batched and differentiable."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def estimate_similarity(
    source: Float[Tensor, "batch points 2"], target: Float[Tensor, "points 2"]
) -> Float[Tensor, "batch 2 3"]:
    """The rotation, uniform scale and shift that best carry points onto a template.

    Minimises sum |M [p, 1] - q|^2 over M = [[a, -b, c], [b, a, d]]. With p and q about their
    means, setting the derivatives by a and b to zero gives

        a = sum (px qx + py qy) / sum |p|^2,    b = sum (px qy - py qx) / sum |p|^2,

    which is the solution of Umeyama (1991, eqs. 40-42) in the plane without the need for a
    singular value decomposition, whose gradient is undefined where singular values meet.

    Args:
        source: points, such as five landmarks in pixels.
        target: the template's points.

    Returns:
        source -> target. Degenerate points (coincident, not finite, or without any similarity to
        the template) give the identity, never NaN, neither here nor in the gradient.
    """
    target = target.to(source)
    finite = source.isfinite().all(dim=2).all(dim=1)
    points = torch.where(finite[:, None, None], source, torch.zeros_like(source))
    source_mean, target_mean = points.mean(dim=1), target.mean(dim=0)
    p, q = points - source_mean[:, None], target - target_mean

    size = (p * p).sum(dim=(1, 2))
    dot = (p * q).sum(dim=(1, 2))
    cross = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(dim=1)
    # Relative to the points' own position: what is left of their spread after rounding.
    smallest = (source_mean.square().sum(dim=1) + 1) * torch.finfo(source.dtype).eps ** 1.5
    usable = finite & (size > smallest) & (dot.square() + cross.square() > 0)

    safe_size = torch.where(usable, size, torch.ones_like(size))
    a, b = dot / safe_size, cross / safe_size
    linear = torch.stack([torch.stack([a, -b], dim=1), torch.stack([b, a], dim=1)], dim=1)
    shift = target_mean - (linear @ source_mean[..., None])[..., 0]
    transform = torch.cat([linear, shift[..., None]], dim=2)
    identity = torch.eye(2, 3, dtype=source.dtype, device=source.device)
    return torch.where(usable[:, None, None], transform, identity)
