"""Texture coordinates of the open head: MakeHuman's layout of the head, enlarged at the face.

MakeHuman's layout serves a whole body, where the face takes a hundredth of the picture. Here the
head's island fills it, drawn apart around the face as by a magnifying glass; the mouth's bag, which
is an island of its own, and the eyeballs go where room is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse.csgraph as csgraph

from util.model_files.subdivision import QuadMesh

# How much larger the middle of the face is drawn than an unmagnified island of that width, across
# and upwards; the rest of the head becomes smaller.
MAGNIFICATION = (2.1, 0.9)
# Where the head's island lies: left, bottom, right, top.
HEAD_BOX = (0.01, 0.06, 0.99, 0.99)
# Where the mouth's bag lies.
MOUTH_BOX = (0.42, 0.0, 0.58, 0.055)
# Height over its base of a triangle that was turned over, once mended: a fiftieth of a usual one's.
SLIVER_HEIGHT, MENDING_ROUNDS = 1e-4, 20
# Centres of the eyeballs' discs, the right eye first, and their radius.
EYE_CENTRES, EYE_RADIUS = np.array([[0.17, 0.085], [0.83, 0.085]]), 0.08
# Power of the angle from the pole that a disc shows as its radius: the iris takes more of the disc
# than of the ball.
EYE_POWER = 0.65


@dataclass(frozen=True)
class TextureMesh:
    """Quads over texture coordinates: a vertex has several where a seam passes through it."""

    coordinates: np.ndarray
    """(U, 2)"""
    mesh: QuadMesh
    """(Q, 4) indices into the coordinates."""
    vertex: np.ndarray
    """(U,) vertex that each coordinate belongs to."""


def texture_mesh(quads: np.ndarray, quad_uv: np.ndarray) -> TextureMesh:
    """Joins the corners (Q, 4, 2) of quads (Q, 4) that share vertex and coordinate."""
    corners = np.concatenate([quads.reshape(-1, 1), quad_uv.reshape(-1, 2)], axis=1)
    unique, inverse = np.unique(corners.round(7), axis=0, return_inverse=True)
    mesh = QuadMesh(inverse.reshape(-1, 4), len(unique))
    return TextureMesh(unique[:, 1:], mesh, unique[:, 0].astype(np.int64))


def islands(texture: TextureMesh) -> np.ndarray:
    """Number of the connected piece that each coordinate lies on: (U,)."""
    return csgraph.connected_components(texture.mesh.adjacency(), directed=False)[1]


def layout(
    coordinates: np.ndarray, island: np.ndarray, head: int, middle: np.ndarray
) -> np.ndarray:
    """Places the islands anew.

    Args:
        coordinates: (U, 2) MakeHuman's.
        island: (U,) number of the island of each.
        head: number of the head's island; all else is the mouth's bag.
        middle: (2,) MakeHuman's coordinates of the middle of the face.

    Returns:
        (U, 2) coordinates in [0, 1], origin bottom left.
    """
    # MakeHuman's head lies on its side, the crown to the left: turned by 90 degrees clockwise the
    # person's left is on the right.
    upright = coordinates[:, ::-1] * [1, -1]
    centre = middle[::-1] * [1, -1]
    on_head = island == head
    out = np.empty_like(upright)
    out[on_head] = _into_box(_magnified(upright[on_head] - centre), HEAD_BOX)
    out[~on_head] = _into_box(upright[~on_head], MOUTH_BOX)
    return out


def eye_layout(points: np.ndarray, polar_rad: np.ndarray) -> np.ndarray:
    """Coordinates (2 N, 2) of an eyeball cap (N, 3) that looks along +z: right eye, then left.

    The left eye's cap is the mirror image of the right one's.
    """
    across = np.arctan2(points[:, 1], points[:, 0])
    radius = EYE_RADIUS * (polar_rad / polar_rad.max()) ** EYE_POWER
    disc = radius[:, None] * np.stack([np.cos(across), np.sin(across)], axis=1)
    right, left = EYE_CENTRES
    return np.concatenate([right + disc, left + disc * [-1, 1]])


def eye_angle(distance: np.ndarray, largest: float) -> np.ndarray:
    """Angles from the pole at distances from a disc's centre, the inverse of :func:`eye_layout`.

    Args:
        distance: in the layout, any shape.
        largest: angle at the disc's edge; its unit is that of the result.
    """
    return (distance / EYE_RADIUS) ** (1 / EYE_POWER) * largest


def unfolded(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Turns triangles back that were turned over where a border slid: (U, 2) coordinates.

    Such a triangle has all corners on the border and is hardly more than a line; the corner between
    the other two moves across that line.

    Args:
        uv: (U, 2) coordinates.
        triangles: (F, 3) indices into them, counter-clockwise where all is well.

    Raises:
        ValueError: more than slivers is turned over.
    """
    uv = uv.copy()
    for _ in range(MENDING_ROUNDS):
        turned = np.flatnonzero(signed_areas(uv, triangles) <= 0)
        if not len(turned):
            return uv
        # Opposite of the longest side is the corner between the others.
        ends = uv[triangles[turned]]
        opposite = np.linalg.norm(np.roll(ends, -1, axis=1) - np.roll(ends, -2, axis=1), axis=2)
        for triangle, corner in zip(triangles[turned], opposite.argmax(axis=1), strict=True):
            moved, first, second = np.roll(triangle, -corner)
            side = uv[second] - uv[first]
            inwards = np.array([-side[1], side[0]]) / np.linalg.norm(side)
            height = (uv[moved] - uv[first]) @ inwards
            uv[moved] += (SLIVER_HEIGHT - height) * inwards
    raise ValueError(f"{len(turned)} triangles of the texture layout stay turned over")


def signed_areas(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Areas (F,) of triangles of a layout, positive where they run counter-clockwise."""
    a, b, c = (uv[triangles[:, i]] for i in range(3))
    across, along = b - a, c - a
    return (across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]) / 2


def _magnified(offset: np.ndarray) -> np.ndarray:
    """Stretches the middle and shrinks the edges of coordinates around 0, axis by axis."""
    out = np.empty_like(offset)
    for axis, strength in enumerate(MAGNIFICATION):
        share = offset[:, axis] / np.abs(offset[:, axis]).max()
        out[:, axis] = share * (1 + strength) / (1 + strength * np.abs(share))
    return out


def _into_box(points: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Moves and stretches points (N, 2) to fill a box (left, bottom, right, top)."""
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    return np.array(box[:2]) + (points - low) / size * (np.array(box[2:]) - np.array(box[:2]))
