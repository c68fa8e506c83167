"""The 68 landmarks as points on triangles, and the five points that alignment uses."""

from __future__ import annotations

import numpy as np

from .head_mesh import HeadMesh
from .mesh import MIRROR_68

# MakeHuman's vertices for the jaw points 3 and 13 lie too low: their place is half-way along the
# jaw between their neighbours.
MOVED_LANDMARK, ITS_NEIGHBOURS = 3, (2, 4)

# Where the default 68-point detector sees a landmark, against MakeHuman's vertex for it: (x, y) in
# percent of the outer-eye distance, y down, on the image's left half; the right half mirrors it.
# Medians over frontal faces (|yaw| < 20, |pitch| < 15 degrees) rendered by make_synthetic.py. Lids
# and inner lips stay, since they must keep to the edges that close, and so do the points that
# alignment uses.
DETECTOR_OFFSETS = {
    17: (-3.7, 2.1),
    18: (0.8, -2.8),
    19: (-2.4, -1.1),
    20: (2.1, 1.3),
    21: (4.2, -0.7),
    27: (0.0, -0.6),
    28: (0.0, -1.8),
    29: (0.0, 1.1),
    31: (2.0, -1.2),
    32: (0.6, 0.0),
    33: (0.0, 0.1),
    49: (3.0, 1.4),
    50: (-1.3, 1.1),
    51: (0.0, 2.5),
    57: (0.0, -1.2),
    58: (-0.2, -1.3),
    59: (-2.7, -3.0),
}
SLIDES = 8


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
    for number, (x, y) in DETECTOR_OFFSETS.items():
        target = points[number] + unit * np.array([x, -y, 0.0])
        for _ in range(SLIDES):
            corners, weight = nearest_surface_point(vertices, mesh.triangles, target)
            # The offset is one in the image: where the surface falls away, follow it in depth.
            target[2] = weight @ vertices[corners][:, 2]
        twin = MIRROR_68[number]
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
    corners, weight = nearest_surface_point(vertices, mesh.triangles, (first + second) / 2)
    triangles[MOVED_LANDMARK], weights[MOVED_LANDMARK] = corners, weight
    twin = MIRROR_68[MOVED_LANDMARK]
    triangles[twin], weights[twin] = mesh.mirror[corners], weight
    return triangles, weights


def landmark_positions(vertices: np.ndarray, triangles: np.ndarray, weights: np.ndarray):
    """Positions (68, 3) of embedded landmarks on vertices (V, 3)."""
    return np.einsum("lk,lkd->ld", weights, vertices[triangles])


def standard_points(landmarks: np.ndarray) -> np.ndarray:
    """Eye centres (the image's left first), nose tip, mouth corners: (5, 3) of (68, 3)."""
    return np.stack(
        [
            landmarks[[36, 39]].mean(axis=0),
            landmarks[[42, 45]].mean(axis=0),
            landmarks[30],
            landmarks[48],
            landmarks[54],
        ]
    )


def nearest_surface_point(vertices: np.ndarray, triangles: np.ndarray, point: np.ndarray):
    """The triangle (3,) nearest to ``point`` and the barycentric weights (3,) of the spot."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    determinant = d00 * d11 - d01**2
    v = (d11 * d20 - d01 * d21) / determinant
    w = (d00 * d21 - d01 * d20) / determinant
    # Clipping to the triangle is not the exact nearest point outside it, but the winner holds
    # its own foot point whenever the surface is smooth around the point.
    weights = np.clip(np.stack([1 - v - w, v, w], axis=1), 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    spots = np.einsum("tk,tkd->td", weights, np.stack([a, b, c], axis=1))
    best = ((spots - point) ** 2).sum(axis=1).argmin()
    return triangles[best], weights[best]
