"""Bend a surface onto points: each vertex has an affine motion, neighbours nearly the same.

Amberg et al. (CVPR 2007) without their landmarks' own schedule; steps, weights and stops are those
by which REALY (Chai et al., ECCV 2022) compares regions of faces, so that figures agree.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from models.mesh_graph import unique_edges

STIFFNESS, FIRST_STIFFNESS = 50.0, 150.0
KEYPOINT_WEIGHT = 50.0
ROUNDS = 3
"""Each half as strict about convergence and exp(-1/2) times as stiff as the one before."""
MOST_STEPS = 11
"""In a round with key points; without them a round goes on until it has converged, or so often."""
MOST_STEPS_FREE = 200
_HOLD = 1e-6
"""Weight of staying: parts without a key point would else be free in the first step."""
_FIRST_G = np.array([2.0, 2.0, 3.0, 2.0])
"""How much rows of neighbours' affine motions must agree in the first step, which only looks at
the key points."""


def bend_onto(
    vertices: np.ndarray,
    triangles: np.ndarray,
    targets: np.ndarray,
    keypoints: np.ndarray | None = None,
    keypoint_targets: np.ndarray | None = None,
) -> np.ndarray:
    """The vertices (V, 3) after bending.

    Args:
        vertices: (V, 3) of the surface.
        triangles: (F, 3).
        targets: (T, 3) points; each vertex is drawn to the nearest one of them.
        keypoints: (K,) vertices that are drawn to known places, or None.
        keypoint_targets: (K, 3) these.
    """
    bending = _Bending(vertices, triangles, targets)
    if keypoints is None or keypoint_targets is None:
        for number in range(ROUNDS):
            bending.round(number, MOST_STEPS_FREE)
        return bending.vertices
    bending.follow(keypoints, keypoint_targets)
    for number in range(ROUNDS):
        bending.round(number, MOST_STEPS)
    return bending.vertices


class _Bending:
    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, targets: np.ndarray) -> None:
        self.vertices = vertices.astype(np.float64)
        self._targets, self._tree = targets, KDTree(targets)
        self._laplacian = _laplacian(triangles, len(vertices))
        self._motions = np.ones((4 * len(vertices), 3))
        self._before = np.zeros_like(self._motions)
        self._staying = np.tile(np.eye(4, 3), (len(vertices), 1))
        self._keypoints: np.ndarray | None = None
        self._steps = 0

    def follow(self, keypoints: np.ndarray, places: np.ndarray) -> None:
        """One step to the key points alone; they count less and less afterwards."""
        self._keypoints, self._places = keypoints, places
        weights = np.zeros(len(self.vertices))
        weights[keypoints] = KEYPOINT_WEIGHT
        aims = np.zeros_like(self.vertices)
        aims[keypoints] = places
        self._step(FIRST_STIFFNESS, _FIRST_G, [(weights, aims)])

    def round(self, number: int, most: int) -> None:
        """Steps of one stiffness, until the motions stay what they are."""
        stiffness = STIFFNESS * np.exp(-0.5 * number)
        for _ in range(most):
            if np.linalg.norm(self._motions - self._before) <= 0.5**number:
                break
            distances, nearest = self._tree.query(self.vertices)
            near = (distances < max(2 * distances.mean(), 1)).astype(np.float64)
            terms = [(near, self._targets[nearest])]
            if self._keypoints is not None:
                weights = np.zeros(len(self.vertices))
                weights[self._keypoints] = KEYPOINT_WEIGHT * np.exp(-0.9 * self._steps) / 10
                aims = self._targets[nearest].copy()
                aims[self._keypoints] = self._places
                terms.append((weights, aims))
            self._step(stiffness, np.ones(4), terms)

    def _step(
        self, stiffness: float, g: np.ndarray, terms: list[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Solve sum |stiffness g (X_i - X_j)|^2 + sum |w (d X - aim)|^2 and move the vertices."""
        count = len(self.vertices)
        homogeneous = np.concatenate([self.vertices, np.ones((count, 1))], axis=1)
        squared = np.sum([weights**2 for weights, _ in terms], axis=0)
        blocks = squared[:, None, None] * homogeneous[:, :, None] * homogeneous[:, None, :]
        rows = 4 * np.arange(count)[:, None, None] + np.arange(4)[None, :, None]
        columns = 4 * np.arange(count)[:, None, None] + np.arange(4)[None, None, :]
        shape = (4 * count, 4 * count)
        places = [np.broadcast_to(p, blocks.shape).ravel() for p in (rows, columns)]
        data = sparse.coo_matrix((blocks.ravel(), places), shape)
        system = stiffness**2 * sparse.kron(self._laplacian, np.diag(g**2)) + data
        pulls = np.sum([(weights**2)[:, None] * aims for weights, aims in terms], axis=0)
        right = (homogeneous[:, :, None] * pulls[:, None, :]).reshape(4 * count, 3)
        system, right = system + _HOLD * sparse.identity(4 * count), right + _HOLD * self._staying
        self._before = self._motions
        self._motions = splu(sparse.csc_matrix(system)).solve(right)
        self.vertices = (homogeneous[:, :, None] * self._motions.reshape(count, 4, 3)).sum(axis=1)
        self._steps += 1


def _laplacian(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """M' M of the incidence matrix M of the edges, each of which counts once."""
    edges = unique_edges(triangles)
    numbers = np.arange(len(edges))
    signs = np.concatenate([np.ones(len(edges)), -np.ones(len(edges))])
    places = (np.concatenate([numbers, numbers]), edges.T.ravel())
    incidence = sparse.csr_matrix((signs, places), (len(edges), count))
    return incidence.T @ incidence
