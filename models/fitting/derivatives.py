"""How vertices, normals and landmarks of a face change with the coefficients of its shape.

Where joints turn parts of the face, tables are made anew for each face (`posed_motion`).

A linear face model has the same derivatives everywhere, but for its normals: a unit normal turns
by the more the flatter the face, yet so nearly as on the mean face that one table, made once a
face model, leads to the same fits (benchmarks/fitting.py measures it).

    v(a) = mean + B a,      n(a) ~ N(mean + B a),      dn / da = (dN / dv) B
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.face_model import FaceModel
from models.landmarks import EYE_CORNERS
from models.mesh import normal_derivatives
from models.parameters import Coefficients, ParameterLayout


@dataclass(frozen=True)
class LandmarkTables:
    """Landmarks of the mean face, and how they move with the shape, for A yaws of the head.

    One yaw, where the contour does not follow the silhouette.
    """

    yaws_rad: Float[Tensor, " yaws"]
    """Rising."""
    mean: Float[Tensor, "yaws landmarks 3"]
    """Object frame, decimetres."""
    basis: Float[Tensor, "yaws landmarks 3 coefficients"]

    @classmethod
    def of(cls, face_model: FaceModel) -> LandmarkTables:
        """Look the landmarks up at each yaw of the contour's table."""
        embedding = face_model.landmark_embedding
        basis = face_model.shape_basis.unflatten(1, (-1, 3))
        mean = face_model.mean_shape.reshape(1, -1, 3)
        both = torch.cat([mean, basis])
        yaws = embedding.contour_yaws_rad if embedding.has_contour else mean.new_zeros(1)
        at_yaws = torch.stack([embedding(both, yaw.expand(len(both))) for yaw in yaws])
        return cls(yaws, at_yaws[:, 0], at_yaws[:, 1:].permute(0, 2, 3, 1).contiguous())

    def at(
        self, yaw_rad: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch landmarks 3"], Float[Tensor, "batch landmarks 3 coefficients"]]:
        """Mean and basis for heads that are turned so far, as `LandmarkEmbedding` has them.

        The yaw is constant for gradients.
        """
        if len(self.yaws_rad) == 1:
            count = len(yaw_rad)
            return self.mean.expand(count, -1, -1), self.basis.expand(count, -1, -1, -1)
        yaws = self.yaws_rad
        yaw = yaw_rad.detach().clamp(yaws[0], yaws[-1])
        upper = torch.searchsorted(yaws, yaw).clamp(1, len(yaws) - 1)
        share = ((yaw - yaws[upper - 1]) / (yaws[upper] - yaws[upper - 1]))[:, None, None]
        mean = torch.lerp(self.mean[upper - 1], self.mean[upper], share)
        return mean, torch.lerp(self.basis[upper - 1], self.basis[upper], share[..., None])


@dataclass(frozen=True)
class FaceDerivatives:
    """Tables of one face model."""

    surface: Float[Tensor, "vertices 6 coefficients"]
    """Of each vertex (x, y, z, dm) and of its unit normal (x, y, z), object frame; beside each
    other because a pixel looks both up together."""
    albedo: Float[Tensor, "vertices 3 texture"]
    """Of each vertex's albedo by the texture coefficients."""
    landmarks: LandmarkTables
    is_front: Bool[Tensor, " triangles_and_none"]
    """Which triangles belong to the front region, and False for the id -1 of empty pixels."""
    is_about_eye: Bool[Tensor, "2 triangles_and_none"]
    """Which triangles surround each eye, and False."""
    is_iris: Bool[Tensor, "2 triangles_and_none"]
    """Which belong to the iris of each, and False; none where the face model knows no irises."""

    @classmethod
    def of(cls, face_model: FaceModel) -> FaceDerivatives:
        """Tables of a face model, normals about its mean face, joints at rest."""
        basis = face_model.shape_basis.unflatten(1, (-1, 3))
        vertices = basis.permute(1, 2, 0).contiguous()
        mean = face_model.mean_shape.unflatten(0, (-1, 3))
        normals = normal_derivatives(mean, face_model.triangles, vertices)
        albedo = face_model.albedo_basis.unflatten(1, (-1, 3)).permute(1, 2, 0).contiguous()
        return cls(
            surface=torch.cat([vertices, normals], dim=1),
            albedo=albedo,
            landmarks=LandmarkTables.of(face_model),
            is_front=_is_front(face_model),
            is_about_eye=_is_about_eye(face_model),
            is_iris=_is_iris(face_model),
        )

    @cached_property
    def is_about_eyes(self) -> Bool[Tensor, " triangles_and_none"]:
        """Which triangles surround an eye, and False."""
        return self.is_about_eye.any(dim=0)

    def posed(
        self, face_model: FaceModel, coefficients: Coefficients, layout: ParameterLayout
    ) -> FaceDerivatives:
        """Of one face whose joints turn: exact about that face, with columns of the joints.

        Args:
            face_model: with a skeleton.
            coefficients: a batch of one.
            layout: of what is free; the joints' columns come after those of the shape.
        """
        vertices, moved = posed_motion(face_model, coefficients)
        columns = jointed_columns(face_model.layout, layout)
        moved = moved[..., columns].contiguous()
        normals = normal_derivatives(vertices, face_model.triangles, moved)
        return replace(self, surface=torch.cat([moved, normals], dim=1))

    def only(self, face_model: FaceModel, layout: ParameterLayout) -> FaceDerivatives:
        """Of the blocks that a layout has, which saves most of the work where identity is known.

        Of shape at least the expression, or nothing.
        """
        moves = "expression" in layout.slices
        shape = shape_columns(face_model.layout, layout) if moves else slice(0, 0)
        texture = slice(None) if "texture" in layout.slices else slice(0, 0)
        return replace(
            self,
            surface=self.surface[..., shape].contiguous(),
            albedo=self.albedo[..., texture].contiguous(),
        )


def shape_columns(whole: ParameterLayout, layout: ParameterLayout) -> slice:
    """Which columns of the shape's basis the blocks of a layout are.

    Raises:
        ValueError: identity without expression has no use here.
    """
    if "expression" not in layout.slices:
        raise ValueError("expression is never held fixed in a fit")
    first = whole.slices["identity" if "identity" in layout.slices else "expression"].start
    return slice(first, whole.slices["expression"].stop)


def posed_motion(
    face_model: FaceModel, coefficients: Coefficients
) -> tuple[Float[Tensor, "vertices 3"], Float[Tensor, "vertices 3 columns"]]:
    """Vertices of one face whose joints turn, and how they move: by shape, then by joints."""
    skeleton, joints = face_model.skeleton, coefficients.joints_rad
    assert skeleton is not None and joints is not None
    shape = torch.cat([coefficients.identity, coefficients.expression], dim=1)
    at_rest = face_model.shape(coefficients.identity, coefficients.expression)
    by_shape = skeleton.shape_derivatives(face_model.shape_basis.unflatten(1, (-1, 3)), joints)
    by_joints = skeleton.joint_derivatives(at_rest, shape, joints)
    return skeleton(at_rest, shape, joints)[0], torch.cat([by_shape, by_joints], dim=-1)


def jointed_columns(whole: ParameterLayout, layout: ParameterLayout) -> Tensor:
    """Which columns of `posed_motion` the free blocks of a layout are."""
    shape = shape_columns(whole, layout)
    count = whole.slices["expression"].stop
    columns = torch.arange(shape.start, shape.stop)
    if JOINTS not in layout.slices:
        return columns
    joints = whole.slices[JOINTS]
    return torch.cat([columns, torch.arange(count, count + joints.stop - joints.start)])


ABOUT_EYES = (1.6, 0.95)
"""Half axes of what surrounds an eye, in half widths of the eye: to the crease of the upper lid,
not to the brow."""

JOINTS = "joints_rad"
"""Block of the rotations of joints."""


def _is_front(face_model: FaceModel) -> Bool[Tensor, " triangles_and_none"]:
    count = face_model.vertex_count
    # One number for three indices, to look rows up.
    place = torch.tensor([count * count, count, 1])
    front = (face_model.front_triangles.cpu().long() * place).sum(dim=1)
    every = (face_model.triangles.cpu().long() * place).sum(dim=1)
    found = torch.cat([torch.isin(every, front), torch.tensor([False])])
    return found.to(face_model.triangles.device)


def _is_about_eye(face_model: FaceModel) -> Bool[Tensor, "2 triangles_and_none"]:
    """Triangles about each eye, without eyeballs where the face model knows them.

    An iris is dark too, and tells where the eye looks.
    """
    inside = _in_ellipses(face_model)
    if "eyeballs" in face_model.regions:
        inside &= ~face_model.regions["eyeballs"].to(inside.device)
    return _whole_triangles(face_model, inside)


def _is_iris(face_model: FaceModel) -> Bool[Tensor, "2 triangles_and_none"]:
    inside = _in_ellipses(face_model)
    none = torch.zeros_like(inside[0])
    return _whole_triangles(
        face_model, inside & face_model.regions.get("iris", none).to(none.device)
    )


def _in_ellipses(face_model: FaceModel) -> Bool[Tensor, "2 vertices"]:
    """Vertices of the mean face within an ellipse about each eye, of its width.

    None of face models without the 68 landmarks.
    """
    vertices = face_model.mean_shape.reshape(-1, 3)[:, :2]
    landmarks = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))[0, :, :2]
    inside = vertices.new_zeros(2, len(vertices), dtype=torch.bool)
    if len(landmarks) == 68:
        for row, (outer, inner) in zip(inside, EYE_CORNERS, strict=True):
            corners = landmarks[[outer, inner]]
            half = (corners[0] - corners[1]).norm() / 2
            axes = half * half.new_tensor(ABOUT_EYES)
            row |= ((vertices - corners.mean(dim=0)) / axes).square().sum(dim=1) < 1
    return inside


def _whole_triangles(
    face_model: FaceModel, vertices: Bool[Tensor, "2 vertices"]
) -> Bool[Tensor, "2 triangles_and_none"]:
    found = vertices[:, face_model.triangles.long()].all(dim=2)
    return torch.cat([found, found.new_zeros(2, 1)], dim=1)
