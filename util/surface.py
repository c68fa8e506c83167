"""Points on triangle meshes: where the surface comes nearest to given points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from models.kernels import kernel


@dataclass(frozen=True)
class SurfacePoints:
    """N points of a mesh, each a mix of the corners of one triangle."""

    triangles: np.ndarray
    """(N,) which triangle."""
    corners: np.ndarray
    """(N, 3) its vertices."""
    barycentrics: np.ndarray
    """(N, 3) float64, rows sum to 1."""
    distances: np.ndarray
    """(N,) from the points that were asked for."""

    def mix(self, values: np.ndarray) -> np.ndarray:
        """Interpolate values of the vertices (V, ...) -> (N, ...)."""
        weights = self.barycentrics.reshape(*self.barycentrics.shape, *[1] * (values.ndim - 1))
        return (values[self.corners] * weights).sum(axis=1)


def nearest_on_surface(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> SurfacePoints:
    """The nearest point of a mesh to each point, exactly.

    Args:
        points: (N, 3).
        vertices: (V, 3), in the same frame and unit.
        triangles: (F, 3) indices of the vertices.
    """
    corners = np.ascontiguousarray(vertices, np.float64)[triangles]
    centres = corners.mean(axis=1)
    radii = np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1)
    points = np.ascontiguousarray(points, np.float64)
    best = np.zeros(len(points), np.int64)
    barycentrics, distances = np.zeros((len(points), 3)), np.zeros(len(points))
    _search(points, corners, centres, radii, best, barycentrics, distances)
    return SurfacePoints(best, np.asarray(triangles)[best], barycentrics, distances)


@kernel
@no_type_check
def _search(points, corners, centres, radii, best, barycentrics, distances):
    """Fill best (N,), barycentrics (N, 3) and distances (N,).

    Of a triangle whose centre is c away and whose corners are at most r from it, no point is nearer
    than c - r, which spares nearly all triangles a closer look.
    """
    weights = np.zeros(3)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        nearest = np.inf
        for t in range(corners.shape[0]):
            reach = nearest + radii[t]
            dx, dy, dz = x - centres[t, 0], y - centres[t, 1], z - centres[t, 2]
            if dx * dx + dy * dy + dz * dz > reach * reach:
                continue
            distance = _nearest_in_triangle(points[i], corners[t], weights)
            if distance < nearest:
                nearest = distance
                best[i] = t
                barycentrics[i] = weights
        distances[i] = nearest


@kernel
@no_type_check
def _nearest_in_triangle(point, corners, weights):
    """Fill the barycentrics of a triangle's nearest point; returns its distance.

    It is the foot of the perpendicular where that lies inside, else the nearest of the points that
    lie nearest on the three edges.
    """
    uu, uv, vv, uw, vw = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        u, v = corners[1, k] - corners[0, k], corners[2, k] - corners[0, k]
        w = point[k] - corners[0, k]
        uu += u * u
        uv += u * v
        vv += v * v
        uw += u * w
        vw += v * w
    area = uu * vv - uv * uv
    if area > 1e-12 * uu * vv:  # a triangle without area has only edges
        second, third = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
        if second >= 0 and third >= 0 and second + third <= 1:
            weights[0], weights[1], weights[2] = 1 - second - third, second, third
            squared = 0.0
            for k in range(3):
                foot = weights[0] * corners[0, k] + second * corners[1, k] + third * corners[2, k]
                squared += (point[k] - foot) ** 2
            return np.sqrt(squared)
    smallest = np.inf
    for first in range(3):
        other = (first + 1) % 3
        length, along = 0.0, 0.0
        for k in range(3):
            edge = corners[other, k] - corners[first, k]
            length += edge * edge
            along += edge * (point[k] - corners[first, k])
        share = min(max(along / length, 0.0), 1.0) if length > 0 else 0.0
        squared = 0.0
        for k in range(3):
            foot = (1 - share) * corners[first, k] + share * corners[other, k]
            squared += (point[k] - foot) ** 2
        if squared < smallest:
            smallest = squared
            weights[:] = 0
            weights[first] = 1 - share
            weights[other] = share
    return np.sqrt(smallest)
