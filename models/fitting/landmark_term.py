"""The landmark term of a fit: projected against given landmarks.

    r_k = D-projection of R (m_k + B_k a) + t minus given,  dr = D (w x (R Y) + dt + R B_k da)

with D = d(pixel)/dX. Of the face only its landmarks are computed, so that a step takes a
millisecond. Those of the jaw may follow the silhouette; how they slide with the yaw is not
differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import CROP_PX, Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.fitting.derivatives import LandmarkTables, shape_columns
from models.fitting.energy import FitWeights
from models.fitting.terms import NormalEquations
from models.parameters import Coefficients, ParameterLayout


@dataclass(frozen=True)
class LandmarkView:
    """Projected landmarks of some coefficients."""

    residuals: Float[Tensor, "batch 68 2"]
    """Projected minus given, in pixels of a 224 crop."""
    basis: Float[Tensor, "batch 68 3 coefficients"]
    """Of identity and expression, object frame."""
    rotation: Float[Tensor, "batch 3 3"]
    turned: Float[Tensor, "batch 68 3"]
    """R Y"""
    projection: Float[Tensor, "batch 68 2 3"]
    """D, in pixels of a 224 crop a decimetre."""


class LandmarkTerm:
    """Compares the landmarks of faces with given ones."""

    def __init__(
        self,
        face_model: FaceModel,
        tables: LandmarkTables,
        camera: Camera,
        weights: FitWeights,
        landmarks_px: Float[Tensor, "batch 68 2"],
        layout: ParameterLayout,
    ) -> None:
        """Prepare the term.

        Args:
            face_model: whose landmarks.
            tables: of them.
            camera: in whose pixels the given landmarks are.
            weights: of the landmarks.
            landmarks_px: given, continuous pixels, y down.
            layout: of the coefficients that are free.
        """
        self._tables = tables
        self._camera = camera
        self._given = landmarks_px
        self._layout = layout
        self._columns = shape_columns(face_model.layout, layout)
        # Distances count as in a crop of 224 pixels, whatever the size of the image is.
        self._unit = CROP_PX / camera.width
        self._weights = weights.w_landmarks * weights.landmark_shares().to(landmarks_px)

    def look(self, coefficients: Coefficients) -> LandmarkView:
        """Project the landmarks."""
        mean, basis = self._tables.at(coefficients.angles_rad[:, 1])
        shape = torch.cat([coefficients.identity, coefficients.expression], dim=1)
        points = mean + (basis @ shape[:, None, :, None])[..., 0]
        rotation = rotation_matrix(coefficients.angles_rad)
        turned = rotate(points, rotation)
        placed = self._camera.from_object(turned + coefficients.translation_dm[:, None])
        return LandmarkView(
            residuals=(self._camera.project(placed) - self._given) * self._unit,
            basis=basis,
            rotation=rotation,
            turned=turned,
            projection=self._camera.projection_derivatives(placed) * self._unit,
        )

    def energy(self, view: LandmarkView) -> Float[Tensor, " batch"]:
        """Weighted squared distances."""
        return (view.residuals.square().sum(dim=-1) * self._weights).sum(dim=1)

    def equations(self, view: LandmarkView) -> NormalEquations:
        """Exact but for the second derivatives of the projection."""
        layout = self._layout
        rows = view.residuals.new_zeros(*view.residuals.shape, layout.size)
        by_shape = (view.projection @ view.rotation[:, None]) @ view.basis[..., self._columns]
        rows[..., : by_shape.shape[-1]] = by_shape
        turning = torch.linalg.cross(view.turned[:, :, None], view.projection)
        rows[..., layout.slices["angles_rad"]] = turning
        rows[..., layout.slices["translation_dm"]] = view.projection
        roots = (2 * self._weights).sqrt()[:, None]
        return NormalEquations.of_squares(
            (rows * roots[..., None]).flatten(1, 2), (view.residuals * roots).flatten(1)
        )
