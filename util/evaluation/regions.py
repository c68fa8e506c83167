"""Which part of a scan is compared: regions that benchmarks cut out by landmarks."""

from __future__ import annotations

import numpy as np

OUTER_RIGHT, INNER_RIGHT, INNER_LEFT, OUTER_LEFT, NOSE_BOTTOM = range(5)
"""Of the seven landmarks of scans, the person's right eye first; mouth corners follow."""


def face_sphere(seven: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of NoW's sphere about the face.

    Args:
        seven: (7, 3) landmarks: iBUG's 36, 39, 42, 45, 33, 48, 54.
    """
    between_eyes = (seven[INNER_RIGHT] + seven[INNER_LEFT]) / 2
    nose = between_eyes - seven[NOSE_BOTTOM]
    centre = seven[NOSE_BOTTOM] + 0.3 * nose
    eyes = np.linalg.norm(seven[OUTER_RIGHT] - seven[OUTER_LEFT])
    return centre, 0.7 * float(eyes + np.linalg.norm(nose))


def inside_sphere(points: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Which points (P, 3) lie in a sphere or on it: (P,) bool."""
    return np.linalg.norm(points - centre, axis=1) <= radius


def kept_triangles(triangles: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Triangles (F', 3) whose corners are all kept (V,), numbered among the kept vertices."""
    number = np.full(len(kept), -1)
    number[kept] = np.arange(kept.sum())
    renumbered = number[triangles]
    return renumbered[(renumbered >= 0).all(axis=1)]
