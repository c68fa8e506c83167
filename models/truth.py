"""Supervision by the true coefficients of rendered faces, measured on the face itself.

A coefficient matters by what it does to the face, so the terms compare vertices, landmarks, albedo
and shading that the predicted and the true coefficients give, in place of the coefficients. A few
hundred vertices spread over the face carry the same information as ten thousand, at a fraction of
the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models import losses
from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.landmarks import INNER
from models.lighting import irradiance
from models.mesh import vertex_areas
from models.parameters import Coefficients
from models.precision import full_products

PROBES = 400
INNER_LANDMARK_WEIGHT = 2.0


@dataclass(frozen=True)
class TruthOptions:
    """Weights of the supervision by true coefficients (synthetic faces)."""

    w_truth_shape: float = 0.0
    """Distance of neutral-pose vertices, per decimetre."""
    w_truth_pose: float = 0.0
    """Distance of rotated vertices, per decimetre."""
    w_truth_px: float = 0.0
    """Distance of projected vertices and landmarks, per pixel."""
    w_truth_identity: float = 0.0
    """Distance of the vertices of the face without expression, less what a motion with scale
    explains, per decimetre: one picture does not show how large a head is, and what it does show
    of a person counts alone here."""
    w_truth_points: float = 0.0
    """Distance of the points that --net_recon dlib locates all over the face, per pixel."""
    w_truth_albedo: float = 0.0
    """Absolute difference of the albedo."""
    w_truth_light: float = 0.0
    """Absolute difference of the light on the true normals."""
    w_truth_coefficients: float = 0.0
    """Squared difference of identity, expression and texture in standard deviations."""
    weak_from: float = 0.0
    """Share of the training after which the weakly-supervised losses join this supervision; 1
    leaves them off."""


class TruthObjective(nn.Module):
    """Weighted terms between predicted and true coefficients."""

    mean_points: Tensor
    points_basis: Tensor
    mean_albedo: Tensor
    albedo_basis: Tensor
    probe_normals: Tensor
    pixel_weights: Tensor
    sigma: Tensor
    probes: Tensor
    skin: Tensor
    identity_basis: Tensor

    def __init__(self, face_model: FaceModel, camera: Camera, options: TruthOptions) -> None:
        """Cut the probe vertices and the landmarks out of the face model's bases."""
        super().__init__()
        self.options = options
        self.camera = camera
        self.layout = face_model.layout
        self._weights = {
            "t_shape": options.w_truth_shape,
            "t_pose": options.w_truth_pose,
            "t_px": options.w_truth_px,
            "t_identity": options.w_truth_identity,
            "t_points": options.w_truth_points,
            "t_albedo": options.w_truth_albedo,
            "t_light": options.w_truth_light,
            "t_coeff": options.w_truth_coefficients,
        }
        # In a tuple, so that the shared face model does not become a submodule.
        self._face_model = (face_model,)
        neutral = face_model.mean_shape.reshape(1, -1, 3)
        probes = _spread_vertices(neutral[0], face_model.triangles, PROBES)

        def rows(basis: Tensor) -> Tensor:
            """Basis (K, 3 V) -> probes and landmarks (K, points, 3)."""
            vertices = basis.unflatten(1, (-1, 3))
            return torch.cat([vertices[:, probes], face_model.landmarks(vertices)], dim=1)

        skin = _on_the_skin(face_model, probes)
        points = neutral[0, probes[skin]]
        identity = face_model.shape_basis[: face_model.identity_sigma.numel()]
        identity = identity.unflatten(1, (-1, 3))[:, probes[skin]]
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
            "skin": skin,
            "identity_basis": _without_similarity(identity, points).flatten(1),
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.detach().clone(), persistent=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the terms that have a weight."""
        return tuple(term for term, weight in self._weights.items() if weight != 0)

    @property
    def active(self) -> bool:
        """Whether any term has a weight."""
        return bool(self.names)

    @full_products()
    def forward(
        self,
        predicted: Coefficients,
        true: Float[Tensor, "batch parameters"],
        surface_px: Float[Tensor, "batch points 2"] | None = None,
    ) -> dict[str, Tensor]:
        """Weighted terms by name.

        Args:
            predicted: by the network.
            true: of the same faces.
            surface_px: where the network locates as many of the `surface_probes`; without it
                their term is 0.
        """
        truth = self.layout.split(true)
        camera = self.camera.to(true.device)
        points, true_points = self._points(predicted), self._points(truth)
        rotation = rotation_matrix(predicted.angles_rad)
        true_rotation = rotation_matrix(truth.angles_rad)
        turned, true_turned = rotate(points, rotation), rotate(true_points, true_rotation)

        def project(turned_points: Tensor, coefficients: Coefficients) -> Tensor:
            moved = turned_points + coefficients.translation_dm[:, None]
            return camera.project(camera.from_object(moved))

        true_px = project(true_turned, truth)
        located = torch.zeros_like(predicted.identity[:, 0]).sum()
        if surface_px is not None:
            surface = self.surface_probes(surface_px.shape[1])
            located = losses.mean_distance(surface_px[:, : len(surface)], true_px[:, surface])
        # The mean face's normals in the true pose stand for the true normals: light is compared
        # where it falls, and no gradient should reach the shape through it.
        normals = rotate(self.probe_normals.expand(len(truth), -1, -1), true_rotation)
        blocks = slice(0, self.sigma.numel())
        terms = {
            "t_shape": losses.mean_distance(points, true_points),
            "t_pose": losses.mean_distance(turned, true_turned),
            "t_px": losses.mean_distance(project(turned, predicted), true_px, self.pixel_weights),
            "t_identity": self._identity(predicted, truth),
            "t_points": located,
            "t_albedo": losses.mean_absolute_error(self._albedo(predicted), self._albedo(truth)),
            "t_light": losses.mean_absolute_error(
                irradiance(normals, predicted.gamma), irradiance(normals, truth.gamma)
            ),
            "t_coeff": losses.standardised_squared_error(
                self.layout.join(predicted)[:, blocks], true[:, blocks], self.sigma
            ),
        }
        return {name: self._weights[name] * terms[name] for name in self.names}

    def surface_probes(self, count: int) -> Int[Tensor, " points"]:
        """Numbers of at most `count` probes that lie on the skin in front, spread evenly."""
        count = min(count, len(self.skin))
        chosen = torch.linspace(0, len(self.skin) - 1, count, device=self.skin.device)
        return self.skin[chosen.round().long()]

    def _identity(self, predicted: Coefficients, truth: Coefficients) -> Tensor:
        moved = (predicted.identity - truth.identity) @ self.identity_basis
        moved = moved.unflatten(1, (-1, 3))
        return losses.mean_distance(moved, torch.zeros_like(moved))

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


def _on_the_skin(face_model: FaceModel, probes: Tensor) -> Int[Tensor, " points"]:
    """Numbers of the probes in the front-face region, less the eyeballs, which turn."""
    seen = torch.zeros(face_model.vertex_count, dtype=torch.bool, device=probes.device)
    seen[face_model.front_triangles.flatten().long()] = True
    if "eyeballs" in face_model.regions:
        seen &= ~face_model.regions["eyeballs"].to(seen.device)
    return seen[probes].nonzero()[:, 0]


def _without_similarity(
    basis: Float[Tensor, "components points 3"], points: Float[Tensor, "points 3"]
) -> Float[Tensor, "components points 3"]:
    """What of each component no small motion and no scale of the points explains."""
    centred = points - points.mean(dim=0)
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    motions = [axis.expand_as(points) for axis in axes]
    motions += [torch.linalg.cross(axis.expand_as(points), centred) for axis in axes]
    modes = torch.stack([*motions, centred]).flatten(1)
    orthonormal = torch.linalg.qr(modes.T.double()).Q.to(basis.dtype)
    flat = basis.flatten(1)
    return (flat - flat @ orthonormal @ orthonormal.T).unflatten(1, (-1, 3))


def _spread_vertices(vertices: Tensor, triangles: Tensor, count: int) -> Tensor:
    """Vertices drawn with probability proportional to their area, always the same ones."""
    count = min(count, vertices.shape[0])
    areas = vertex_areas(vertices, triangles)
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(areas.cpu(), count, generator=generator).sort().values.to(areas.device)
