"""How vertices, normals and landmarks of a face change with the coefficients of its shape.

A linear face model has the same derivatives everywhere, but for its normals: a unit normal turns
by the more the flatter the face, yet so nearly as on the mean face that one table, made once a
face model, leads to the same fits (benchmarks/fitting.py measures it).

    v(a) = mean + B a,      n(a) ~ N(mean + B a),      dn / da = (dN / dv) B
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.face_model import FaceModel
from models.mesh import normal_derivatives
from models.parameters import ParameterLayout


@dataclass(frozen=True)
class FaceDerivatives:
    """Tables of one face model."""

    surface: Float[Tensor, "vertices 6 coefficients"]
    """Of each vertex (x, y, z, dm) and of its unit normal (x, y, z), object frame; beside each
    other because a pixel looks both up together."""
    albedo: Float[Tensor, "vertices 3 texture"]
    """Of each vertex's albedo by the texture coefficients."""
    basis: Float[Tensor, "coefficients vertices 3"]
    """The vertices' part again, as `LandmarkEmbedding` takes it."""
    is_front: Bool[Tensor, " triangles_and_none"]
    """Which triangles belong to the front region, and False for the id -1 of empty pixels."""

    @classmethod
    def of(cls, face_model: FaceModel) -> FaceDerivatives:
        """Tables of a linear face model, normals about its mean face.

        Raises:
            ValueError: the face model has joints, whose motion is not linear.
        """
        if face_model.skeleton is not None:
            raise ValueError(
                f"face model {face_model.card.name} has joints, which fitting does not know yet; "
                "take one without, such as open"
            )
        basis = face_model.shape_basis.unflatten(1, (-1, 3))
        vertices = basis.permute(1, 2, 0).contiguous()
        mean = face_model.mean_shape.unflatten(0, (-1, 3))
        normals = normal_derivatives(mean, face_model.triangles, vertices)
        albedo = face_model.albedo_basis.unflatten(1, (-1, 3)).permute(1, 2, 0).contiguous()
        return cls(torch.cat([vertices, normals], dim=1), albedo, basis, _is_front(face_model))

    def only(self, face_model: FaceModel, layout: ParameterLayout) -> FaceDerivatives:
        """Of the blocks that a layout has, which saves most of the work where identity is known."""
        shape = shape_columns(face_model.layout, layout)
        texture = slice(None) if "texture" in layout.slices else slice(0, 0)
        return replace(
            self,
            surface=self.surface[..., shape].contiguous(),
            albedo=self.albedo[..., texture].contiguous(),
        )

    def landmarks(
        self, face_model: FaceModel, yaw_rad: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch landmarks 3 coefficients"]:
        """Of the landmarks (object frame, dm) of faces that are turned so far."""
        embedding = face_model.landmark_embedding
        count = len(self.basis)
        if not embedding.has_contour:
            one = embedding(self.basis)
            return one.permute(1, 2, 0).expand(len(yaw_rad), -1, -1, -1)
        turned = [embedding(self.basis, yaw.expand(count)) for yaw in yaw_rad]
        return torch.stack(turned).permute(0, 2, 3, 1)


def shape_columns(whole: ParameterLayout, layout: ParameterLayout) -> slice:
    """Which columns of the shape's basis the blocks of a layout are.

    Raises:
        ValueError: identity without expression has no use here.
    """
    if "expression" not in layout.slices:
        raise ValueError("expression is never held fixed in a fit")
    first = whole.slices["identity" if "identity" in layout.slices else "expression"].start
    return slice(first, whole.slices["expression"].stop)


def _is_front(face_model: FaceModel) -> Bool[Tensor, " triangles_and_none"]:
    count = face_model.vertex_count
    # One number for three indices, to look rows up.
    place = torch.tensor([count * count, count, 1])
    front = (face_model.front_triangles.cpu().long() * place).sum(dim=1)
    every = (face_model.triangles.cpu().long() * place).sum(dim=1)
    found = torch.cat([torch.isin(every, front), torch.tensor([False])])
    return found.to(face_model.triangles.device)
