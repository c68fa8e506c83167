"""The energy of faces against their photos and landmarks, and its normal equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import Camera, rotation_angles, rotation_matrix
from models.face_model import FaceModel
from models.fitting.derivatives import FaceDerivatives
from models.fitting.energy import FitWeights
from models.fitting.gauss_newton import NormalEquations
from models.fitting.photometric import PhotometricTerm, Pixels
from models.fitting.priors import Quadratic
from models.parameters import Coefficients
from models.precision import full_products
from models.skeleton import rotation_from_axis_angle
from models.stages import PosedFace, ShapedFace, pose_face, shape_face

CROP_PX = 224
"""Landmark distances count in pixels of a crop of this size, whatever the photo's is."""


@dataclass(frozen=True)
class Evaluation:
    """Faces, and how well they explain what is given."""

    coefficients: Coefficients
    shaped: ShapedFace
    posed: PosedFace
    pixels: Pixels | None
    """What was compared with the photos; None where they are not looked at."""
    energies: Mapping[str, Float[Tensor, " batch"]]
    """Weighted terms by name."""

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """Their sum."""
        return torch.stack(list(self.energies.values())).sum(dim=0)


class FitProblem:
    """Faces against landmarks, priors and, where a term is given, photos."""

    def __init__(
        self,
        face_model: FaceModel,
        derivatives: FaceDerivatives,
        camera: Camera,
        weights: FitWeights,
        priors: Mapping[str, Quadratic],
        landmarks_px: Float[Tensor, "batch 68 2"] | None,
        photo: PhotometricTerm | None = None,
        free: tuple[str, ...] | None = None,
    ) -> None:
        """Put the terms together.

        Args:
            face_model: that is fitted.
            derivatives: its tables.
            camera: of the whole crop, in whose pixels landmarks are.
            weights: of the terms.
            priors: of `priors`.
            landmarks_px: given landmarks, continuous pixels; None leaves them out.
            photo: compares with the photos.
            free: blocks that may change; None is all.
        """
        self._face_model = face_model
        self._derivatives = derivatives
        self._camera = camera
        self._weights = weights
        self._priors = dict(priors)
        self._given = landmarks_px
        self._photo = photo
        slices = face_model.layout.slices
        mask = torch.zeros(face_model.layout.size, dtype=torch.bool)
        for name in slices if free is None else free:
            mask[slices[name]] = True
        self._free = mask.to(face_model.mean_shape.device)
        self._shares = weights.landmark_shares().to(face_model.mean_shape)

    @full_products()
    def evaluate(self, coefficients: Coefficients) -> Evaluation:
        """Shape, pose and render the faces, and weigh the terms."""
        model = self._face_model
        shaped = shape_face(model, coefficients)
        posed = pose_face(model, shaped, coefficients, self._camera)
        flat = model.layout.join(coefficients)
        energies = {name: prior(flat) for name, prior in self._priors.items()}
        if self._given is not None:
            distance = self._landmark_residuals(posed)
            squared = (distance.square().sum(dim=-1) * self._shares).sum(dim=1)
            energies["landmarks"] = self._weights.w_landmarks * squared
        pixels = None
        if self._photo is not None:
            pixels = self._photo.look(posed)
            energies["photo"] = self._photo.energy(pixels)
        return Evaluation(coefficients, shaped, posed, pixels, energies)

    @full_products()
    def linearise(self, evaluation: Evaluation) -> NormalEquations:
        """Sum the normal equations of all terms; blocks that are not free get none."""
        flat = self._face_model.layout.join(evaluation.coefficients)
        hessian = flat.new_zeros(len(flat), flat.shape[1], flat.shape[1])
        gradient = torch.zeros_like(flat)
        for prior in self._priors.values():
            hessian += 2 * prior.matrix
            gradient += prior.gradient(flat)
        total = NormalEquations(hessian, gradient)
        rotation = rotation_matrix(evaluation.coefficients.angles_rad)
        if self._given is not None:
            total = total + self._landmarks(evaluation, rotation)
        if self._photo is not None and evaluation.pixels is not None:
            total = total + self._pixels(self._photo, evaluation, evaluation.pixels, rotation)
        return self._of_free(total)

    def retract(
        self, coefficients: Coefficients, step: Float[Tensor, "batch parameters"]
    ) -> Coefficients:
        """Coefficients after a step: sums, but for the rotation, R -> exp([w]x) R."""
        layout = self._face_model.layout
        moved = layout.split(layout.join(coefficients) + step)
        turn = rotation_from_axis_angle(step[:, layout.slices["angles_rad"]])
        rotation = turn @ rotation_matrix(coefficients.angles_rad)
        return replace(moved, angles_rad=rotation_angles(rotation))

    def _landmark_residuals(self, posed: PosedFace) -> Float[Tensor, "batch 68 2"]:
        """Projected minus given, in pixels of a 224 crop."""
        assert self._given is not None
        return (posed.landmarks_px - self._given) * (CROP_PX / self._camera.width)

    def _landmarks(self, evaluation: Evaluation, rotation: Tensor) -> NormalEquations:
        coefficients, model = evaluation.coefficients, self._face_model
        yaw = coefficients.angles_rad[:, 1]
        points = model.landmarks(evaluation.posed.vertices_camera, yaw)
        projection = self._camera.projection_derivatives(points) * (CROP_PX / self._camera.width)
        offset = self._camera.to_object(points) - coefficients.translation_dm[:, None]
        by_shape = (projection @ rotation[:, None]) @ self._derivatives.landmarks(model, yaw)
        rows = projection.new_zeros(*projection.shape[:3], model.layout.size)
        slices = model.layout.slices
        rows[..., : by_shape.shape[-1]] = by_shape
        rows[..., slices["angles_rad"]] = torch.linalg.cross(offset[:, :, None], projection)
        rows[..., slices["translation_dm"]] = projection
        weights = self._weights.w_landmarks * self._shares[None, :, None].expand(rows.shape[:3])
        return normal_equations(rows, self._landmark_residuals(evaluation.posed), weights)

    def _pixels(
        self, photo: PhotometricTerm, evaluation: Evaluation, pixels: Pixels, rotation: Tensor
    ) -> NormalEquations:
        rows = photo.rows(
            pixels, evaluation.shaped, evaluation.posed, evaluation.coefficients, rotation
        )
        weights = photo.pixel_weights(pixels)[..., None].expand(rows.shape[:3])
        return normal_equations(rows, pixels.residuals, weights)

    def _of_free(self, equations: NormalEquations) -> NormalEquations:
        if bool(self._free.all()):
            return equations
        both = self._free[:, None] & self._free
        fixed = torch.diag(~self._free).to(equations.hessian)
        return NormalEquations(
            torch.where(both, equations.hessian, 0.0) + fixed,
            torch.where(self._free, equations.gradient, 0.0),
        )


def normal_equations(
    rows: Float[Tensor, "batch points axes parameters"],
    residuals: Float[Tensor, "batch points axes"],
    weights: Float[Tensor, "batch points axes"],
) -> NormalEquations:
    """Of the energy sum weights residuals^2: H = 2 J^T W J, gradient = 2 J^T W r."""
    root = (2 * weights).sqrt()
    scaled = (rows * root[..., None]).flatten(1, 2)
    target = (residuals * root).flatten(1)
    return NormalEquations(
        scaled.transpose(1, 2) @ scaled, (scaled.transpose(1, 2) @ target[..., None])[..., 0]
    )
