"""Smooth random fields in space, so that patterns on the skin know no seams."""

from __future__ import annotations

import numpy as np

BLOCK = 20000  # points at a time


def random_waves(
    count: int, length_dm: float | np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (3, count) and phases (count,) of a Gaussian covariance of the given length.

    Random cosines approximate it (Rahimi and Recht, 2007); three lengths make it anisotropic.
    """
    frequency = rng.normal(0, 1, (3, count)) / np.broadcast_to(length_dm, 3)[:, None]
    return frequency, rng.uniform(0, 2 * np.pi, count)


def waves_at(points: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Cosines (N, W) at points (N, 3); plain products, so that threads cannot change them."""
    angle = points[:, :1] * frequency[0] + points[:, 1:2] * frequency[1]
    return np.cos(angle + points[:, 2:] * frequency[2] + phase)


def noise(
    points: np.ndarray,
    length_dm: float | np.ndarray,
    rng: np.random.Generator,
    where: np.ndarray | None = None,
    count: int = 90,
) -> np.ndarray:
    """One field of mean 0 and deviation 1 at points (N, 3): (N,), 0 where ``where`` is not > 0."""
    frequency, phase = random_waves(count, length_dm, rng)
    chosen = np.arange(len(points)) if where is None else np.flatnonzero(where > 0)
    field = np.zeros(len(points))
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        field[block] = waves_at(points[block], frequency, phase).sum(axis=1)
    return field * np.sqrt(2 / count)
