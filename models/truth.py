"""Supervision by known coefficients, measured on the face itself.

They are the true ones of rendered faces, or those that were fitted to photos, which are good
enough to begin with (`LabelOptions`).

A coefficient matters by what it does to the face, so the terms compare vertices, landmarks, albedo
and shading that the predicted and the true coefficients give, in place of the coefficients. A few
hundred vertices spread over the face carry the same information as ten thousand, at a fraction of
the cost.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models import losses
from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.landmarks import INNER
from models.lighting import irradiance
from models.mesh import vertex_areas
from models.parameters import Coefficients
from models.precision import full_products
from options.loss_options import TruthOptions

PROBES = 400
INNER_LANDMARK_WEIGHT = 2.0


RECIPE = TruthOptions(
    w_truth_shape=5.0,
    w_truth_pose=5.0,
    w_truth_px=0.15,
    w_truth_albedo=1.5,
    w_truth_light=1.5,
    w_truth_coefficients=0.02,
)
"""The weights of configs/synthetic.yaml, which --w_coeff takes where none are given."""


class TruthObjective(nn.Module):
    """Weighted terms between predicted and known coefficients."""

    mean_points: Tensor
    points_basis: Tensor
    mean_albedo: Tensor
    albedo_basis: Tensor
    probe_normals: Tensor
    pixel_weights: Tensor
    sigma: Tensor
    probes: Tensor

    def __init__(self, face_model: FaceModel, camera: Camera, options: TruthOptions) -> None:
        """Cut the probe vertices and the landmarks out of the face model's bases."""
        super().__init__()
        self.options = options
        self.camera = camera
        self.layout = face_model.layout
        # In a tuple, so that the shared face model does not become a submodule.
        self._face_model = (face_model,)
        neutral = face_model.mean_shape.reshape(1, -1, 3)
        probes = _spread_vertices(neutral[0], face_model.triangles, PROBES)

        def rows(basis: Tensor) -> Tensor:
            """Basis (K, 3 V) -> probes and landmarks (K, points, 3)."""
            vertices = basis.unflatten(1, (-1, 3))
            return torch.cat([vertices[:, probes], face_model.landmarks(vertices)], dim=1)

        weights = torch.ones(len(probes) + face_model.landmark_embedding.count)
        weights[len(probes) :][INNER] = INNER_LANDMARK_WEIGHT
        sigma = torch.cat(
            [face_model.identity_sigma, face_model.expression_sigma, face_model.albedo_sigma]
        )
        buffers = {
            "mean_points": rows(face_model.mean_shape[None]).flatten(),
            "points_basis": rows(face_model.shape_basis).flatten(1),
            "mean_albedo": face_model.mean_albedo.unflatten(0, (-1, 3))[probes].flatten(),
            "albedo_basis": face_model.albedo_basis.unflatten(1, (-1, 3))[:, probes].flatten(1),
            "probe_normals": face_model.normals(neutral)[:, probes],
            "pixel_weights": weights,
            "sigma": sigma,
            "probes": probes,
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.detach().clone(), persistent=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the terms."""
        return ("t_shape", "t_pose", "t_px", "t_albedo", "t_light", "t_coeff")

    @property
    def active(self) -> bool:
        """Whether any term has a weight."""
        weights = vars(self.options).items()
        return any(value for name, value in weights if name.startswith("w_"))

    def weighed(
        self, predicted: Coefficients, known: Float[Tensor, "batch parameters"], weight: float
    ) -> dict[str, Tensor]:
        """A multiple of the terms, those of the recipe where the options have none."""
        terms = self(predicted, known, self.options if self.active else RECIPE)
        return {name: weight * term for name, term in terms.items()}

    @full_products()
    def forward(
        self,
        predicted: Coefficients,
        true: Float[Tensor, "batch parameters"],
        weights: TruthOptions | None = None,
    ) -> dict[str, Tensor]:
        """Weighted terms by name; the weights are those of the options unless others are given."""
        o, truth = weights or self.options, self.layout.split(true)
        camera = self.camera.to(true.device)
        points, true_points = self._points(predicted), self._points(truth)
        rotation = rotation_matrix(predicted.angles_rad)
        true_rotation = rotation_matrix(truth.angles_rad)
        turned, true_turned = rotate(points, rotation), rotate(true_points, true_rotation)

        def project(turned_points: Tensor, coefficients: Coefficients) -> Tensor:
            moved = turned_points + coefficients.translation_dm[:, None]
            return camera.project(camera.from_object(moved))

        # The mean face's normals in the true pose stand for the true normals: light is compared
        # where it falls, and no gradient should reach the shape through it.
        normals = rotate(self.probe_normals.expand(len(truth), -1, -1), true_rotation)
        blocks = slice(0, self.sigma.numel())
        return {
            "t_shape": o.w_truth_shape * losses.mean_distance(points, true_points),
            "t_pose": o.w_truth_pose * losses.mean_distance(turned, true_turned),
            "t_px": o.w_truth_px
            * losses.mean_distance(
                project(turned, predicted), project(true_turned, truth), self.pixel_weights
            ),
            "t_albedo": o.w_truth_albedo
            * losses.mean_absolute_error(self._albedo(predicted), self._albedo(truth)),
            "t_light": o.w_truth_light
            * losses.mean_absolute_error(
                irradiance(normals, predicted.gamma), irradiance(normals, truth.gamma)
            ),
            "t_coeff": o.w_truth_coefficients
            * losses.standardised_squared_error(
                self.layout.join(predicted)[:, blocks], true[:, blocks], self.sigma
            ),
        }

    def _points(self, coefficients: Coefficients) -> Float[Tensor, "batch points 3"]:
        if coefficients.joints_rad is not None:
            # Turned parts are not linear: the whole face is shaped.
            model, c = self._face_model[0], coefficients
            vertices = model.shape(c.identity, c.expression, c.joints_rad)
            return torch.cat([vertices[:, self.probes], model.landmarks(vertices)], dim=1)
        weights = torch.cat([coefficients.identity, coefficients.expression], dim=1)
        return torch.addmm(self.mean_points, weights, self.points_basis).unflatten(1, (-1, 3))

    def _albedo(self, coefficients: Coefficients) -> Float[Tensor, "batch probes 3"]:
        flat = torch.addmm(self.mean_albedo, coefficients.texture, self.albedo_basis)
        return flat.unflatten(1, (-1, 3))


def _spread_vertices(vertices: Tensor, triangles: Tensor, count: int) -> Tensor:
    """Vertices drawn with probability proportional to their area, always the same ones."""
    count = min(count, vertices.shape[0])
    areas = vertex_areas(vertices, triangles)
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(areas.cpu(), count, generator=generator).sort().values.to(areas.device)
