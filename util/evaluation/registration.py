"""Lay a mesh over a scan: by landmarks, then by the distances of the scan's points to its surface.

start = fit_similarity(mesh_landmarks, scan_landmarks)
found = refine(scan_points, SurfaceTree(vertices, triangles), start)
found.distances                      # of the scan's points, where they are least
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from util.point_fits import Similarity
from util.surface import SurfacePoints, SurfaceTree

STEPS = 100
"""Looks at the surface at most; ten to twenty are usual."""
COARSE = 3000
"""Points that go first, where there are more than twice as many."""
LEAST_DECREASE = 1e-9
"""Share of the energy; a smaller decrease ends the search."""
_DAMPING, _MOST_DAMPING = 1e-6, 1e6
_TOUCHING = 1e-9
"""Part of the mesh's size below which a distance has no direction of its own."""


@dataclass(frozen=True)
class Registration:
    """A mesh laid over points of a scan."""

    motion: Similarity
    """Of the mesh."""
    distances: np.ndarray
    """(P,) from the points to the moved surface, in the unit of the scan."""


def refine(
    points: np.ndarray, surface: SurfaceTree, start: Similarity, *, scaled: bool = True
) -> Registration:
    """The motion of a mesh with the least sum of squared distances from points to its surface.

    A share of many points goes first, so that only the last steps look at all of them.

    Damped Gauss-Newton steps. For a point p with the nearest point q of the moved surface, the
    distance d = |p - q| changes by -n q' with n = (p - q) / d, to first order: where q slides to
    along the surface adds nothing, since n is normal to it, or q stays at an edge or corner.

    Args:
        points: (P, 3) of the scan.
        surface: of the mesh, before the motion.
        start: first motion of the mesh.
        scaled: whether its size may change; else the scale stays that of `start`.
    """
    if len(points) > 2 * COARSE:
        some = points[np.random.default_rng(0).permutation(len(points))[:COARSE]]
        start = refine(some, surface, start, scaled=scaled).motion
    motion = start
    found, distances = _look(points, surface, motion)
    damping, looks = _DAMPING, 1
    while looks < STEPS and damping < _MOST_DAMPING:
        system, right, centre = _equations(points, surface, found, distances, motion, scaled)
        step = np.linalg.solve(system + damping * np.diag(np.diag(system)), -right)
        tried = _moved(motion, step, centre)
        looked, after = _look(points, surface, tried)
        looks += 1
        before, now = float(distances @ distances), float(after @ after)
        if now >= before:
            damping *= 10
            if before <= np.finfo(float).eps * len(points):
                break
            continue
        motion, found, distances, damping = tried, looked, after, max(damping / 10, 1e-12)
        if before - now <= LEAST_DECREASE * before:
            break
    return Registration(motion, distances)


def _look(
    points: np.ndarray, surface: SurfaceTree, motion: Similarity
) -> tuple[SurfacePoints, np.ndarray]:
    """Nearest points, found in the frame of the mesh, where it stays as it is."""
    found = surface.nearest(motion.back(points))
    return found, motion.scale * found.distances


def _equations(
    points: np.ndarray,
    surface: SurfaceTree,
    found: SurfacePoints,
    distances: np.ndarray,
    motion: Similarity,
    scaled: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal equations of rotation, shift and, if it is free, scale about the touched points."""
    moved = motion(found.mix(surface.vertices))
    offsets = points - moved
    normals = _face_normals(surface, found, motion)
    far = distances > _TOUCHING * (np.ptp(moved, axis=0).max() + 1e-300)
    normals[far] = offsets[far] / distances[far, None]
    centre = moved.mean(axis=0)
    arms = moved - centre
    columns = [np.cross(arms, normals), normals]
    if scaled:
        columns.append((arms * normals).sum(axis=1, keepdims=True))
    jacobian = -np.concatenate(columns, axis=1)
    return jacobian.T @ jacobian, jacobian.T @ distances, centre


def _face_normals(surface: SurfaceTree, found: SurfacePoints, motion: Similarity) -> np.ndarray:
    corners = surface.vertices[found.corners]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(lengths, 1e-300) @ motion.rotation.T


def _moved(motion: Similarity, step: np.ndarray, centre: np.ndarray) -> Similarity:
    """A motion followed by a turn and a growth about a centre, and a shift."""
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    growth = float(np.exp(step[6])) if len(step) == 7 else 1.0
    shift = centre + step[3:6] + growth * turn @ (motion.shift - centre)
    return Similarity(growth * motion.scale, turn @ motion.rotation, shift)


def plane_distances(points: np.ndarray, surface: SurfaceTree, motion: Similarity) -> np.ndarray:
    """Distances (P,) of points from the planes of the nearest triangles of a moved mesh."""
    found, _ = _look(points, surface, motion)
    offsets = points - motion(found.mix(surface.vertices))
    return np.abs((offsets * _face_normals(surface, found, motion)).sum(axis=1))
