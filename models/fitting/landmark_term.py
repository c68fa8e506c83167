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

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.fitting.derivatives import (
    JOINTS,
    LandmarkTables,
    jointed_columns,
    posed_motion,
    shape_columns,
)
from models.fitting.energy import landmark_shares
from models.fitting.focal import FOCAL, camera_of
from models.fitting.terms import NormalEquations
from models.parameters import Coefficients, ParameterLayout
from options.face_options import CROP_PX
from options.fitting_weights import FitWeights


@dataclass(frozen=True)
class LandmarkView:
    """Projected landmarks of some coefficients."""

    residuals: Float[Tensor, "batch 68 2"]
    """Projected minus given, in pixels of a 224 crop."""
    basis: Float[Tensor, "batch 68 3 coefficients"]
    """Of what is free of identity and expression, then of the joints, object frame."""
    rotation: Float[Tensor, "batch 3 3"]
    turned: Float[Tensor, "batch 68 3"]
    """R Y"""
    projection: Float[Tensor, "batch 68 2 3"]
    """D, in pixels of a 224 crop a decimetre."""
    by_focal: Float[Tensor, "batch 68 2"] | None
    """By the logarithm of the focal length, where it is free."""


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
        self._face_model = face_model
        self._tables = tables
        self._camera = camera
        self._given = landmarks_px
        self._layout = layout
        self._columns = shape_columns(face_model.layout, layout)
        # Distances count as in a crop of 224 pixels, whatever the size of the image is.
        self._unit = CROP_PX / camera.width
        self._weights = weights.w_landmarks * landmark_shares(weights).to(landmarks_px)

    def look(self, coefficients: Coefficients) -> LandmarkView:
        """Project the landmarks."""
        if coefficients.joints_rad is None:
            mean, basis = self._tables.at(coefficients.angles_rad[:, 1])
            shape = torch.cat([coefficients.identity, coefficients.expression], dim=1)
            points = mean + (basis @ shape[:, None, :, None])[..., 0]
            basis = basis[..., self._columns]
        else:
            points, basis = self._jointed(coefficients)
        rotation = rotation_matrix(coefficients.angles_rad)
        turned = rotate(points, rotation)
        camera = camera_of(self._camera, coefficients)
        placed = camera.from_object(turned + coefficients.translation_dm[:, None])
        is_free = FOCAL in self._layout.slices
        return LandmarkView(
            residuals=(camera.project(placed) - self._given) * self._unit,
            basis=basis,
            rotation=rotation,
            turned=turned,
            projection=camera.projection_derivatives(placed) * self._unit,
            by_focal=camera.zoom_derivatives(placed) * self._unit if is_free else None,
        )

    def _jointed(self, coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 68, 3) of faces whose joints turn, and how they move with what is free."""
        model = self._face_model
        columns = jointed_columns(model.layout, self._layout)
        points, bases = [], []
        for number in range(len(coefficients)):
            face = coefficients.item(number)
            vertices, moved = posed_motion(model, face)
            every = torch.cat([vertices[None], moved[..., columns].permute(2, 0, 1)])
            found = model.landmarks(every, face.angles_rad[:, 1].expand(len(every)))
            points.append(found[0])
            bases.append(found[1:].permute(1, 2, 0))
        return torch.stack(points), torch.stack(bases)

    def energy(self, view: LandmarkView) -> Float[Tensor, " batch"]:
        """Weighted squared distances."""
        return (view.residuals.square().sum(dim=-1) * self._weights).sum(dim=1)

    def equations(self, view: LandmarkView) -> NormalEquations:
        """Exact but for the second derivatives of the projection."""
        layout = self._layout
        rows = view.residuals.new_zeros(*view.residuals.shape, layout.size)
        by_shape = (view.projection @ view.rotation[:, None]) @ view.basis
        size = self._columns.stop - self._columns.start
        rows[..., :size] = by_shape[..., :size]
        if JOINTS in layout.slices:
            rows[..., layout.slices[JOINTS]] = by_shape[..., size:]
        turning = torch.linalg.cross(view.turned[:, :, None], view.projection)
        rows[..., layout.slices["angles_rad"]] = turning
        rows[..., layout.slices["translation_dm"]] = view.projection
        if view.by_focal is not None:
            rows[..., layout.slices[FOCAL]] = view.by_focal[..., None]
        roots = (2 * self._weights).sqrt()[:, None]
        return NormalEquations.of_squares(
            (rows * roots[..., None]).flatten(1, 2), (view.residuals * roots).flatten(1)
        )
