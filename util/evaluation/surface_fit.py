"""Fit a face model's shape to a head: rigid motion and coefficients, no scale.

Gauss-Newton on distances between points of the head and the nearest points of the model, mostly
along the model's normal, so that points may slide; the prior is the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from models.face_model import FaceModelData
from models.landmarks import INNER
from util.model_files.face_transfer import mean_landmarks
from util.point_fits import fit_similarity
from util.surface import nearest_on_surface

ITERATIONS = 12
SLIDING = 0.03
"""Weight of a distance along the surface against one across it."""
NOISE_DM = 3e-4
"""Standard deviation of the head's points that balances them against the prior, 0.03 mm."""
LANDMARK_SHARE = 0.01
"""Weight of the 51 inner landmarks together against all points together: enough to lead the first
iterations, little in the end. Five times as much keeps points from sliding along smooth skin."""


@dataclass(frozen=True)
class Fit:
    """A face model laid over a head."""

    coefficients: np.ndarray
    """(K,) of the basis that was fitted."""
    points: np.ndarray
    """(P, 3) the head's points in the model's frame, dm."""
    distances_dm: np.ndarray
    """(P,) from the head's points to the model's surface."""
    landmark_offsets_dm: np.ndarray
    """(68, 3) the model's landmarks less the head's, in the model's frame."""


class SurfaceFitter:
    """Fits one basis of one face model."""

    def __init__(
        self,
        data: FaceModelData,
        basis: np.ndarray,
        sigma: np.ndarray,
        noise_dm: float = NOISE_DM,
        landmark_share: float = LANDMARK_SHARE,
    ) -> None:
        """Prepare the surface that heads are compared with: the skin in front.

        Args:
            data: the face model.
            basis: (V, 3, K) what may vary, such as its identity basis.
            sigma: (K,) of the coefficients.
            noise_dm: standard deviation of the head's points against which the prior stands.
            landmark_share: weight of the inner landmarks against that of all points.
        """
        self.noise_dm, self.landmark_share = noise_dm, landmark_share
        self.mean = data.mean_shape.astype(np.float64)
        self.basis, self.sigma = basis.astype(np.float64), sigma
        self.triangles = data.front_triangles
        eyeballs = data.regions.get("eyeballs")
        if eyeballs is not None:
            self.triangles = self.triangles[~eyeballs[self.triangles].any(axis=1)]
        self.landmarks = mean_landmarks(data)
        weights = data.landmark_barycentrics.astype(np.float64)
        self.landmark_basis = np.einsum("lk,lkdj->ldj", weights, self.basis[data.landmark_vertices])

    def fit(self, points: np.ndarray, weights: np.ndarray, landmarks: np.ndarray) -> Fit:
        """Fit to a head.

        Args:
            points: (P, 3) on the head's surface, dm, any pose.
            weights: (P,) shares of the area, sum 1.
            landmarks: (68, 3) of the head, which start the fit.
        """
        motion = fit_similarity(landmarks[INNER], self.landmarks[INNER], scaled=False)
        points, landmarks = motion(points), motion(landmarks)
        count = self.basis.shape[2]
        prior = np.zeros(count + 6)
        prior[:count] = (self.noise_dm / self.sigma) ** 2
        coefficients = np.zeros(count)
        for _ in range(ITERATIONS):
            vertices = self.mean + self.basis @ coefficients
            found = nearest_on_surface(points, vertices, self.triangles)
            corners = vertices[found.corners]
            normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            # Residual: mean + basis c - (p + w x p + t), with w and t the further rigid motion.
            jacobian = np.concatenate([found.mix(self.basis), _motions(points)], axis=2)
            residual = points - found.mix(self.mean)
            across = np.einsum("pd,pdk->pk", normal, jacobian)
            # Symmetric products of (P, K) matrices rather than of the whole (P, 3, K).
            system = np.diag(prior) + across.T @ (weights[:, None] * across)
            right = across.T @ (weights * (residual * normal).sum(axis=1))
            flat = jacobian.reshape(-1, count + 6)
            row_weights = SLIDING * np.repeat(weights, 3)
            system += flat.T @ (row_weights[:, None] * flat)
            right += flat.T @ (row_weights * residual.ravel())
            own = np.concatenate([self.landmark_basis[INNER], _motions(landmarks[INNER])], axis=2)
            own = own.reshape(-1, count + 6)
            share = self.landmark_share / len(own)
            system += share * own.T @ own
            right += share * own.T @ (landmarks[INNER] - self.landmarks[INNER]).ravel()
            step = np.linalg.solve(system, right)
            coefficients = step[:count]
            turn = rotation_of(step[count : count + 3])
            points = points @ turn.T + step[count + 3 :]
            landmarks = landmarks @ turn.T + step[count + 3 :]
        vertices = self.mean + self.basis @ coefficients
        distances = nearest_on_surface(points, vertices, self.triangles).distances
        offsets = self.landmarks + self.landmark_basis @ coefficients - landmarks
        return Fit(coefficients, points, distances, offsets)


def rotation_of(vector: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) about a vector by its length in radians."""
    return Rotation.from_rotvec(vector).as_matrix()


def _motions(points: np.ndarray) -> np.ndarray:
    """Minus the derivative of points (P, 3) by a small rotation and a shift: (P, 3, 6)."""
    zero = np.zeros(len(points))
    x, y, z = points.T
    turns = np.stack(
        [
            np.stack([zero, z, -y], axis=1),
            np.stack([-z, zero, x], axis=1),
            np.stack([y, -x, zero], axis=1),
        ],
        axis=2,
    )
    return np.concatenate([turns, np.broadcast_to(-np.eye(3), (len(points), 3, 3))], axis=2)
