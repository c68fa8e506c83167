"""Least-squares fits to points in space: rotations, rigid motions, similarities, spheres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Similarity:
    """Points p -> scale * rotation @ p + shift."""

    scale: float
    rotation: np.ndarray
    """(3, 3)"""
    shift: np.ndarray
    """(3,)"""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Move points (..., 3)."""
        return self.scale * points @ self.rotation.T + self.shift

    def back(self, points: np.ndarray) -> np.ndarray:
        """Where moved points (..., 3) came from."""
        return (points - self.shift) @ self.rotation / self.scale


@dataclass(frozen=True)
class Sphere:
    """A sphere in space."""

    centre: np.ndarray
    """(3,)"""
    radius: float


def nearest_rotation(covariance: np.ndarray) -> np.ndarray:
    """Rotations R (..., 3, 3) that bring points p as p @ R nearest to points q.

    They maximise trace(R^T C) for the covariance C = sum p^T q (..., 3, 3) of points about their
    means: with C = U S V^T, R = U V^T, where a reflection has its weakest axis turned round
    (Kabsch 1978).
    """
    u, _, vt = np.linalg.svd(covariance)
    u[..., -1] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt


def fit_similarity(
    source: np.ndarray,
    target: np.ndarray,
    scaled: bool = True,
    weights: np.ndarray | None = None,
) -> Similarity:
    """The motion that carries points onto others with the least squared error.

    Umeyama (1991), eqs. 40 to 42.

    Args:
        source: (N, 3), at least three of them not on a line.
        target: (N, 3).
        scaled: whether the size may change too; else the scale is 1.
        weights: (N,) of the squared errors; all 1 unless given.
    """
    shares = np.ones(len(source)) if weights is None else weights
    shares = (shares / shares.sum())[:, None]
    source_mean, target_mean = (shares * source).sum(axis=0), (shares * target).sum(axis=0)
    p, q = source - source_mean, target - target_mean
    covariance = (shares * p).T @ q
    rotation = nearest_rotation(covariance).T
    scale = float((rotation.T * covariance).sum() / (shares * p**2).sum()) if scaled else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def fit_sphere(points: np.ndarray) -> Sphere:
    """The sphere through points (N, 3): |p|^2 = 2 c p + (r^2 - |c|^2), linear in c and the bracket.

    Args:
        points: at least four of them not on a plane.
    """
    points = points.astype(np.float64)
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return Sphere(centre, float(np.sqrt(solution[3] + centre @ centre)))
