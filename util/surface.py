"""Points on triangle meshes: where the surface comes nearest to given points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from models.kernels import kernel

LEAF = 8
"""Triangles in the smallest boxes of a `SurfaceTree`."""


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
    """The nearest point of a mesh to each point, exactly; for one look at a mesh.

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


class SurfaceTree:
    """Finds the nearest points of one mesh again and again: boxes within boxes.

    Triangles are split in halves along the longer side of their centres' box, again and again, down
    to `LEAF` of them. Halves are equally large, so that the boxes stand in one array, in the order
    of a heap; triangles that make the number even are there twice, which changes nothing.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Sort the triangles.

        Args:
            vertices: (V, 3).
            triangles: (F, 3) indices of the vertices, at least one.

        Raises:
            ValueError: no triangle.
        """
        if not len(triangles):
            raise ValueError("a surface needs triangles")
        self.vertices = np.ascontiguousarray(vertices, np.float64)
        self.triangles = np.asarray(triangles)
        corners = self.vertices[self.triangles]
        depth = max(0, int(np.ceil(np.log2(len(corners) / LEAF))))
        order = np.resize(np.arange(len(corners)), LEAF << depth)
        centres = corners.mean(axis=1)
        for level in range(depth):
            parts = order.reshape(1 << level, -1)
            inside = centres[parts]
            axis = np.ptp(inside, axis=1).argmax(axis=1)
            along = np.take_along_axis(inside, axis[:, None, None], axis=2)[..., 0]
            order = np.take_along_axis(parts, along.argsort(axis=1, kind="stable"), axis=1).ravel()
        self._order, self._corners = order, np.ascontiguousarray(corners[order])
        low, high = self._corners.min(axis=1), self._corners.max(axis=1)
        levels = [1 << level for level in range(depth + 1)]
        self._low = np.concatenate([low.reshape(n, -1, 3).min(axis=1) for n in levels])
        self._high = np.concatenate([high.reshape(n, -1, 3).max(axis=1) for n in levels])

    def nearest(self, points: np.ndarray) -> SurfacePoints:
        """The nearest point of the mesh to each of the points (N, 3), as `nearest_on_surface`."""
        points = np.ascontiguousarray(points, np.float64)
        best = np.zeros(len(points), np.int64)
        barycentrics, distances = np.zeros((len(points), 3)), np.zeros(len(points))
        _descend(points, self._corners, self._low, self._high, best, barycentrics, distances)
        found = self._order[best]
        return SurfacePoints(found, self.triangles[found], barycentrics, distances)


@kernel
@no_type_check
def _descend(points, corners, low, high, best, barycentrics, distances):
    """Fill best (N,), barycentrics (N, 3) and distances (N,), the nearer half first."""
    inner = low.shape[0] // 2
    leaf = corners.shape[0] // (inner + 1)
    weights = np.zeros(3)
    waiting = np.zeros(64, np.int64)
    for i in range(points.shape[0]):
        nearest = np.inf
        count = 1
        waiting[0] = 0
        while count > 0:
            count -= 1
            node = waiting[count]
            if _box_distance(points[i], low[node], high[node]) >= nearest:
                continue
            if node >= inner:
                first = (node - inner) * leaf
                for t in range(first, first + leaf):
                    distance = _nearest_in_triangle(points[i], corners[t], weights)
                    if distance < nearest:
                        nearest = distance
                        best[i] = t
                        barycentrics[i] = weights
                continue
            left, right = 2 * node + 1, 2 * node + 2
            of_left = _box_distance(points[i], low[left], high[left])
            of_right = _box_distance(points[i], low[right], high[right])
            # The last one is looked at first.
            if of_left < of_right:
                left, right = right, left
            waiting[count] = left
            waiting[count + 1] = right
            count += 2
        distances[i] = nearest


@kernel
@no_type_check
def _box_distance(point, low, high):
    """From a point to a box; 0 inside."""
    squared = 0.0
    for k in range(3):
        beyond = max(low[k] - point[k], point[k] - high[k], 0.0)
        squared += beyond * beyond
    return np.sqrt(squared)


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
