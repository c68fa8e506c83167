"""The 68 landmarks as points on triangles, and those of the jaw as the head turns."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from data.landmarks import MIRROR_ORDER
from models.landmark_embedding import MovingContour
from util.surface import nearest_on_surface

from .head_mesh import HeadMesh

# MakeHuman's vertices for the jaw points 3 and 13 lie too low: their place is half-way along the
# jaw between their neighbours.
MOVED_LANDMARK, ITS_NEIGHBOURS = 3, (2, 4)

# Where the default 68-point detector sees a landmark, against MakeHuman's vertex for it: (x, y) in
# percent of the outer-eye distance, y down, on the image's left half; the right half mirrors it.
# Medians over frontal faces (|yaw| < 20, |pitch| < 15 degrees), as `python -m
# benchmarks.face_model --only detection` prints them (`--render_seed 177 --renders 1400`). The jaw
# keeps its own: it slides to the outline. Landmark 37 lies 0.3 % above its median, nearer its mean,
# since many offsets are far larger than most.
DETECTOR_OFFSETS = {
    17: (-3.5, 0.3),
    18: (1.2, -4.0),
    19: (-2.5, -2.5),
    20: (1.9, -0.1),
    21: (3.6, -1.3),
    27: (0.0, 0.0),
    28: (0.0, -1.2),
    29: (0.0, 1.8),
    30: (0.0, -0.2),
    31: (1.5, -0.8),
    32: (0.3, 0.6),
    33: (0.0, 0.5),
    36: (2.4, -0.5),
    37: (-0.3, 0.4),
    38: (0.6, 1.0),
    39: (-1.9, 0.4),
    40: (0.4, -1.0),
    41: (-0.4, -1.5),
    48: (-0.1, 0.1),
    49: (2.2, 1.0),
    50: (-1.5, 0.7),
    51: (0.0, 2.5),
    57: (0.0, -0.4),
    58: (-0.6, -0.5),
    59: (-3.3, -2.0),
    60: (-1.2, 1.0),
    61: (-1.2, -0.6),
    62: (0.0, 0.0),
    66: (0.0, 0.5),
    67: (-1.3, 0.0),
}
SLIDES = 8
LID_MARGIN = 0.25
"""Rings behind the lids' edge up to which a vertex lies on it: subdivision smooths their depth."""
# The jaw's landmarks as the head turns: angles, and how near the middle of the face they may come,
# against their distance from it when at rest.
CONTOUR_YAWS_DEG = np.arange(-60, 61, 3)
CONTOUR_INNERMOST = 0.35
# The outermost point is a weighted mean, so that it does not jump where two are alike; then
# smoothed over neighbouring angles.
CONTOUR_SHARPNESS_DM, CONTOUR_SMOOTHING = 0.01, 2.0


def calibrated(
    vertices: np.ndarray, mesh: HeadMesh, triangles: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moves embedded landmarks along the surface to where the detector sees them.

    A constant difference of convention would otherwise be baked into every shape that is trained
    or fitted with detected landmarks.

    Args:
        vertices: (V, 3) mean face.
        mesh: The topology.
        triangles: (68, 3) vertices of the landmarks.
        weights: (68, 3) barycentric weights.

    Returns:
        As the last two arguments, mirror-symmetric.
    """
    triangles, weights = triangles.copy(), weights.copy()
    points = landmark_positions(vertices, triangles, weights)
    unit = 0.01 * np.linalg.norm(points[36] - points[45])
    surface = _seen_surface(vertices, mesh)
    for number, (x, y) in DETECTOR_OFFSETS.items():
        target = points[number] + unit * np.array([x, -y, 0.0])
        for _ in range(SLIDES):
            corners, weight = _nearest(vertices, surface, target)
            # The offset is one in the image: where the surface falls away, follow it in depth.
            target[2] = weight @ vertices[corners][:, 2]
        twin = MIRROR_ORDER[number]
        triangles[number], weights[number] = corners, weight
        if twin != number:
            triangles[twin], weights[twin] = mesh.mirror[corners], weight
    return triangles, weights


def landmark_embedding(vertices: np.ndarray, mesh: HeadMesh) -> tuple[np.ndarray, np.ndarray]:
    """Places the landmarks on the mean face.

    Args:
        vertices: (V, 3) mean face.
        mesh: The topology.

    Returns:
        (68, 3) vertices and (68, 3) barycentric weights, mirror-symmetric. A landmark on a
        vertex v is ((v, v, v), (1, 0, 0)).
    """
    triangles = np.repeat(mesh.landmark_vertices[:, None], 3, axis=1)
    weights = np.tile([1.0, 0.0, 0.0], (68, 1))
    first, second = (vertices[mesh.landmark_vertices[i]] for i in ITS_NEIGHBOURS)
    corners, weight = _nearest(vertices, _seen_surface(vertices, mesh), (first + second) / 2)
    triangles[MOVED_LANDMARK], weights[MOVED_LANDMARK] = corners, weight
    twin = MIRROR_ORDER[MOVED_LANDMARK]
    triangles[twin], weights[twin] = mesh.mirror[corners], weight
    return triangles, weights


def landmark_positions(vertices: np.ndarray, triangles: np.ndarray, weights: np.ndarray):
    """Positions (68, 3) of embedded landmarks on vertices (V, 3)."""
    return np.einsum("lk,lkd->ld", weights, vertices[triangles])


def moving_contour(
    vertices: np.ndarray, mesh: HeadMesh, triangles: np.ndarray, weights: np.ndarray
) -> MovingContour:
    """Where the jaw's landmarks lie when the head turns: on the outline, as detectors see them.

    Each moves along the level line of the skin through its place at rest, forwards only: to the
    point that is outermost in the picture. On the side that turns towards the camera it stays.

    Args:
        vertices: (V, 3) mean face.
        mesh: The topology.
        triangles: (68, 3) vertices of the landmarks.
        weights: (68, 3) barycentric weights.
    """
    skin = mesh.triangles[: mesh.face_triangles]
    skin = skin[(mesh.cavity_depth + mesh.regions["eyeballs"])[skin].max(axis=1) == 0]
    yaws = np.radians(CONTOUR_YAWS_DEG)
    movable = np.array([number for number in range(17) if number != 8])
    corners = np.empty((len(yaws), len(movable), 3), dtype=np.int64)
    shares = np.zeros(corners.shape)
    rest = landmark_positions(vertices, triangles, weights)
    for column, number in enumerate(movable):
        side = np.sign(rest[number, 0])
        line = _forward_line(vertices, skin, rest[number])
        places = np.empty((len(yaws), 3))
        for row, yaw in enumerate(yaws):
            reach = line @ (side * np.array([np.cos(yaw), 0, np.sin(yaw)]))
            share = np.exp((reach - reach.max()) / CONTOUR_SHARPNESS_DM)
            places[row] = share @ line / share.sum()
        # As from the front where the side turns towards the camera; no jumps from angle to angle.
        towards = side * yaws < 0
        places[towards] = places[np.abs(yaws).argmin()]
        places = gaussian_filter1d(places, CONTOUR_SMOOTHING, axis=0, mode="nearest")
        found = nearest_on_surface(places, vertices, skin)
        corners[:, column], shares[:, column] = found.corners, found.barycentrics
    return MovingContour(movable, yaws, corners, shares)


def _forward_line(vertices: np.ndarray, triangles: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Points (N, 3) of the skin at the height of a landmark, from it to the middle of its cheek."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    low, high = (vertices[edges[:, end], 1] - rest[1] for end in (0, 1))
    crossing = low * high < 0
    along = (low / (low - high))[crossing, None]
    ends = vertices[edges[crossing]]
    points = ends[:, 0] + along * (ends[:, 1] - ends[:, 0])
    outwards = points[:, 0] * np.sign(rest[0])
    allowed = (outwards > CONTOUR_INNERMOST * abs(rest[0])) & (points[:, 2] > rest[2])
    return np.concatenate([rest[None], points[allowed]])


def _seen_surface(vertices: np.ndarray, mesh: HeadMesh) -> np.ndarray:
    """Triangles (N, 3) that landmarks may lie on: skin, and a cover of each eye from lid to lid.

    The detector sees lids and their corners a little inside of the opening. Skin there is hidden
    behind the margins, and an eyeball does not move with the lids. On the cover a landmark moves
    with both lids, so that those of a shut eye lie hardly across each other.
    """
    behind = mesh.regions["lid_cavity"] & (mesh.cavity_depth > LID_MARGIN)
    hidden = mesh.regions["eyeballs"] | behind
    skin = mesh.triangles[~hidden[mesh.triangles].any(axis=1)]
    return np.concatenate([skin, *(_eye_cover(vertices, mesh, side) for side in (-1, 1))])


def _eye_cover(vertices: np.ndarray, mesh: HeadMesh, side: int) -> np.ndarray:
    """Triangles (N, 3) between the margins of the lids of the eye at positive or negative x."""
    margin = mesh.regions["lid_cavity"] & (mesh.cavity_depth <= LID_MARGIN)
    ring = np.flatnonzero(margin & (side * vertices[:, 0] > 0))
    ring = ring[np.argsort(vertices[ring, 0])]
    start, end = vertices[ring[0]], vertices[ring[-1]]
    along = (vertices[ring, 0] - start[0]) / (end[0] - start[0])
    above = vertices[ring, 1] > start[1] + along * (end[1] - start[1])
    above[[0, -1]] = False
    upper, lower = np.r_[ring[0], ring[above], ring[-1]], ring[~above]
    # Of the next vertices of both margins the one that lies less far along ends the triangle.
    triangles, high, low = [], 0, 0
    while high < len(upper) - 1 or low < len(lower) - 1:
        corners = [upper[high], lower[low]]
        if low == len(lower) - 1 or (
            high < len(upper) - 1 and vertices[upper[high + 1], 0] < vertices[lower[low + 1], 0]
        ):
            high += 1
            corners.append(upper[high])
        else:
            low += 1
            corners.append(lower[low])
        if len(set(corners)) == 3:
            triangles.append(corners)
    return np.array(triangles)


def _nearest(vertices: np.ndarray, surface: np.ndarray, point: np.ndarray):
    """Vertices (3,) of the triangle (of N, 3) nearest to a point, and the spot's weights (3,)."""
    found = nearest_on_surface(point[None], vertices, surface)
    return found.corners[0], found.barycentrics[0]
