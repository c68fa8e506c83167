"""Where points of one face model lie on heads of another one, and how far others are from them.

Heads whose shape is known (ICT-FaceKit's) are compared with predictions of another face model by
points that correspond. The predicted model is laid over the mean head once; from there its points
move as the head's surface does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree

from models.camera import Camera
from models.face_model import FaceModelData
from models.renderer import rasterize
from util.evaluation.surface_fit import SurfaceFitter
from util.model_files.face_transfer import mean_landmarks
from util.point_fits import fit_similarity
from util.surface import nearest_on_surface

POINTS = 500
"""Of the frontal area, that distances are measured at."""
STIFF_DM = 2e-3
"""Noise of the fit by which points correspond. With `surface_fit.NOISE_DM` the surfaces come nearer
by a tenth of a millimetre, at the price of fine components of up to two sigma: points slide."""
EDGE_DM = 0.12
"""What lies nearer to the edge of the compared region is left out: it may lack a counterpart."""


@dataclass(frozen=True)
class FrontalArea:
    """The part of a head model that is seen from the front and that another model has too."""

    vertices: np.ndarray
    """(P,) indices."""
    weights: np.ndarray
    """(P,) shares of the area, sum 1."""


@dataclass(frozen=True)
class HeadPoints:
    """Where points of a face model lie on heads of another one. N heads, Q points."""

    vertices: np.ndarray
    """(Q,) of the face model."""
    points: np.ndarray
    """(N, Q, 3) dm, without expression."""

    def errors_mm(
        self, own: FaceModelData, identities: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean distances after the best rigid motion and after the best similarity, (N,) each.

        Args:
            own: the face model.
            identities: (N, K) its coefficients.
        """
        rigid, scaled = [], []
        basis = own.identity_basis[self.vertices].astype(np.float64)
        for identity, true in zip(identities, self.points, strict=True):
            shape = own.mean_shape[self.vertices] + basis @ identity
            for errors, with_scale in ((rigid, False), (scaled, True)):
                moved = fit_similarity(shape, true, scaled=with_scale)(shape)
                errors.append(mean_distance_mm(moved, true))
        return np.array(rigid), np.array(scaled)


class HeadCorrespondence:
    """How points of a face model correspond to those of heads of another one; prepared once.

    The model is fitted to the mean head of the other; from there its points move as the nearest
    points of that head's surface do. A fit to each head would let points slide along smooth skin,
    each time in another way.
    """

    def __init__(
        self, own: FaceModelData, other: FaceModelData, area: FrontalArea, vertices: np.ndarray
    ) -> None:
        """Lay the model over the other's mean head.

        Args:
            own: whose points.
            other: whose heads.
            area: of the other's heads that is fitted.
            vertices: (Q,) of the first model.
        """
        fitter = SurfaceFitter(own, own.identity_basis, own.identity_sigma, STIFF_DM)
        mean = other.mean_shape.astype(np.float64)
        fit = fitter.fit(mean[area.vertices], area.weights, mean_landmarks(other))
        # Into the frame of the heads: the fit moved their mean.
        motion = fit_similarity(fit.points, mean[area.vertices], scaled=False)
        compared = np.zeros(len(mean), dtype=bool)
        compared[area.vertices] = True
        near = other.triangles[compared[other.triangles].any(axis=1)]
        self.vertices = vertices
        self._laid = motion((fitter.mean + fitter.basis @ fit.coefficients)[vertices])
        self._nearest = nearest_on_surface(self._laid, mean, near)
        self._mean, self._basis = mean, other.identity_basis

    @classmethod
    def of_random_points(
        cls, own: FaceModelData, other: FaceModelData, seed: int
    ) -> HeadCorrespondence:
        """Of points that are spread evenly over the frontal area."""
        face = frontal_area(own, own)
        random = np.random.default_rng(seed)
        vertices = random.choice(face.vertices, POINTS, replace=False, p=face.weights)
        return cls(own, other, frontal_area(other, own), vertices)

    @property
    def gap_mm(self) -> float:
        """How far the points lie from the other's mean head, on average."""
        return 100 * float(self._nearest.distances.mean())

    def points(self, shapes: np.ndarray) -> np.ndarray:
        """Where the points lie on heads (N, V, 3) of the other model: (N, Q, 3) in dm."""
        return np.stack([self._laid + self._nearest.mix(shape - self._mean) for shape in shapes])

    def __call__(self, identities: np.ndarray) -> HeadPoints:
        """The points on the heads of coefficients (N, K) of the other model."""
        shapes = self._mean + np.einsum("vdk,nk->nvd", self._basis, identities)
        return HeadPoints(self.vertices, self.points(shapes))


def frontal_area(head: FaceModelData, model: FaceModelData) -> FrontalArea:
    """Vertices of `head` that its mean face shows to the camera, and that lie on `model`.

    Both mean faces are in one frame: models that users bring are laid over the open one.
    """
    camera = Camera.rnet()
    vertices = torch.from_numpy(head.mean_shape)[None]
    clip = camera.clip(camera.from_object(vertices))
    drawn = rasterize(clip, torch.from_numpy(head.triangles), (1024, 1024)).triangle_id.unique()
    seen = np.zeros(len(head.mean_shape), dtype=bool)
    seen[head.triangles[drawn[drawn >= 0].numpy()].ravel()] = True
    if "eyeballs" in head.regions:
        seen &= ~head.regions["eyeballs"]
    found = nearest_on_surface(head.mean_shape, model.mean_shape, model.front_triangles)
    gap = KDTree(model.mean_shape[border_vertices(model)]).query(head.mean_shape)[0]
    kept = np.flatnonzero(seen & (found.distances < 0.15) & (gap > EDGE_DM))
    corners = head.mean_shape[head.triangles].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.bincount(
        head.triangles.ravel(), np.repeat(np.linalg.norm(across, axis=1), 3), len(seen)
    )
    return FrontalArea(kept, area[kept] / area[kept].sum())


def border_vertices(model: FaceModelData) -> np.ndarray:
    """Where the compared face ends: (V,) bool.

    The open model names it. Of others it is the edge of the region in front, as far as that does
    not lie around eyes, nostrils or mouth, inside the ring of the jaw and the brows.
    """
    if "border" in model.regions:
        return np.asarray(model.regions["border"])
    edges = np.sort(model.front_triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    single, counts = np.unique(edges, axis=0, return_counts=True)
    border = np.zeros(len(model.mean_shape), dtype=bool)
    border[single[counts == 1].ravel()] = True
    inner = mean_landmarks(model)[17:, :2]
    low, high = inner.min(axis=0), inner.max(axis=0)
    beside = (model.mean_shape[:, :2] < low) | (model.mean_shape[:, :2] > high)
    return border & beside.any(axis=1)


def corresponding_points(
    own: FaceModelData,
    other: FaceModelData,
    area: FrontalArea,
    vertices: np.ndarray,
    shapes: np.ndarray,
) -> np.ndarray:
    """Where points of one face model lie on heads of another: see `HeadCorrespondence`."""
    correspondence = HeadCorrespondence(own, other, area, vertices)
    print(f"points lie {correspondence.gap_mm:.2f} mm from the other's mean head")
    return correspondence.points(shapes)


def mean_distance_mm(points: np.ndarray, others: np.ndarray) -> float:
    """Of corresponding points (P, 3) in dm."""
    return 100 * float(np.linalg.norm(points - others, axis=1).mean())
