"""A head on a cylinder: how far its outermost surface is from the axis, seen in all directions.

The map has SIDE x SIDE places. Row i lies at the height y = 150 - 300 i / 255, column j in the
direction (-sin a, 0, -cos a), a = 2 pi j / 255: the middle is the front (+z), first and last column
are the back. Millimetres, head about the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from models.kernels import kernel
from util.mesh_files.mesh_reader import TriangleMesh

SIDE = 256
HALF_HEIGHT = 150.0
LARGEST_STEP = 15.0
"""Neighbours that are further apart are not of one surface."""


@dataclass(frozen=True)
class CylinderMap:
    """What the axis of a head sees."""

    radii: np.ndarray
    """(SIDE, SIDE); 0 where there is nothing."""
    normals: np.ndarray
    """(SIDE, SIDE, 3) unit normals of the triangles that are seen, as their corners turn."""

    @property
    def filled(self) -> np.ndarray:
        """(SIDE, SIDE) bool."""
        return self.radii > 0

    def mesh(self, places: np.ndarray) -> TriangleMesh:
        """The surface between neighbouring places (SIDE, SIDE) bool, without those of no triangle.

        A triangle pair stands in each square whose upper left place is no further than
        `LARGEST_STEP` from the three others, as published; corners turn outwards.
        """
        radii = np.where(places, self.radii, 0.0)
        here = radii[:-1, :-1]
        others = np.stack([radii[1:, :-1], radii[:-1, 1:], radii[1:, 1:]])
        near = (np.abs(others - here) < LARGEST_STEP) & (others > 0)
        rows, columns = np.nonzero((here > 0) & near.all(axis=0))
        corner = rows * SIDE + columns
        below, right = corner + SIDE, corner + 1
        triangles = np.concatenate(
            [np.stack([corner, below, right], 1), np.stack([below + 1, right, below], 1)]
        )
        used, numbered = np.unique(triangles, return_inverse=True)
        directions, heights = _directions(), _heights()
        places_xyz = radii[..., None] * directions[None] + heights[:, None, None] * [0.0, 1.0, 0.0]
        return TriangleMesh(places_xyz.reshape(-1, 3)[used], numbered.reshape(triangles.shape))


def cylinder_map(mesh: TriangleMesh) -> CylinderMap:
    """Look at a mesh in millimetres from the axis through the origin."""
    corners = np.ascontiguousarray(mesh.vertices[mesh.triangles], np.float64)
    radii = np.zeros((SIDE, SIDE))
    seen = np.full((SIDE, SIDE), -1, np.int64)
    _cast(corners, _heights(), radii, seen)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(across, axis=1, keepdims=True)
    normals = across / np.where(lengths > 0, lengths, 1)
    found = np.zeros((SIDE, SIDE, 3))
    found[seen >= 0] = normals[seen[seen >= 0]]
    return CylinderMap(radii, found)


def _heights() -> np.ndarray:
    return np.linspace(HALF_HEIGHT, -HALF_HEIGHT, SIDE)


def _directions() -> np.ndarray:
    """(SIDE, 3) unit."""
    angles = 2 * np.pi * np.arange(SIDE) / (SIDE - 1)
    return np.stack([-np.sin(angles), np.zeros(SIDE), -np.cos(angles)], axis=1)


@kernel
@no_type_check
def _cast(corners, heights, radii, seen):
    """Fill radii (SIDE, SIDE) and the triangles seen, the outermost of each place.

    The plane of a row cuts a triangle in a segment; the directions between the angles of its ends
    meet it.
    """
    side = len(heights)
    step = heights[0] - heights[1]
    turn = 2 * np.pi / (side - 1)
    ends = np.zeros((3, 2))
    for t in range(corners.shape[0]):
        low = min(corners[t, 0, 1], corners[t, 1, 1], corners[t, 2, 1])
        high = max(corners[t, 0, 1], corners[t, 1, 1], corners[t, 2, 1])
        first = max(0, int(np.ceil((heights[0] - high) / step - 1e-9)))
        last = min(side - 1, int(np.floor((heights[0] - low) / step + 1e-9)))
        for i in range(first, last + 1):
            count = 0
            for a in range(3):
                b = (a + 1) % 3
                ya, yb = corners[t, a, 1] - heights[i], corners[t, b, 1] - heights[i]
                # Each corner counts as above or below, so that a line has two ends or none.
                if (ya >= 0) != (yb >= 0):
                    share = ya / (ya - yb)
                    for k in range(2):
                        start = corners[t, a, 2 * k]
                        ends[count, k] = start + share * (corners[t, b, 2 * k] - start)
                    count += 1
            if count < 2:
                continue
            ax, az = ends[0, 0], ends[0, 1]
            bx, bz = ends[1, 0] - ax, ends[1, 1] - az
            begin = np.arctan2(-ax, -az)
            span = np.arctan2(-ends[1, 0], -ends[1, 1]) - begin
            if span > np.pi:
                span -= 2 * np.pi
            elif span < -np.pi:
                span += 2 * np.pi
            lowest, highest = min(begin, begin + span), max(begin, begin + span)
            for column in range(
                int(np.ceil(lowest / turn - 1e-9)), int(np.floor(highest / turn + 1e-9)) + 1
            ):
                dx, dz = -np.sin(turn * column), -np.cos(turn * column)
                slant = dx * bz - dz * bx
                if slant == 0:
                    continue
                radius = (ax * bz - az * bx) / slant
                j = column % (side - 1)
                if radius > radii[i, j]:
                    radii[i, j] = radius
                    seen[i, j] = t
                    if j == 0:
                        radii[i, side - 1] = radius
                        seen[i, side - 1] = t
