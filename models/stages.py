"""The stages of a reconstruction as types, so that an illegal order cannot be written.

Coefficients -> ShapedFace -> PosedFace -> Reconstruction
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.lighting import lit_harmonics, shade
from models.parameters import Coefficients
from models.precision import full_products
from models.renderer import Renderer, Rendering
from models.self_shadow import SelfShadow


@dataclass(frozen=True)
class ShapedFace:
    """A face before pose and light."""

    vertices_object: Float[Tensor, "batch vertices 3"]
    """Object frame, decimetres."""
    normals_object: Float[Tensor, "batch vertices 3"]
    """Unit, outwards."""
    albedo: Float[Tensor, "batch vertices 3"]
    """sRGB-encoded colour without light."""


@dataclass(frozen=True)
class KnownPerson:
    """What identity and texture give a face, computed once for many expressions of it."""

    neutral: Float[Tensor, "batch vertices 3"]
    """Vertices without expression, joints at rest; object frame, decimetres."""
    albedo: Float[Tensor, "batch vertices 3"]
    """As in `ShapedFace`."""

    @classmethod
    @full_products()
    def of(cls, face_model: FaceModel, person: Coefficients) -> KnownPerson:
        """Of coefficients, of which nothing else counts."""
        neutral = face_model.shape(person.identity, torch.zeros_like(person.expression))
        return cls(neutral, face_model.albedo(person.texture))


@dataclass(frozen=True)
class PosedFace:
    """A face in front of the camera, lit."""

    vertices_camera: Float[Tensor, "batch vertices 3"]
    """Camera frame, decimetres."""
    normals: Float[Tensor, "batch vertices 3"]
    """Unit normals in the rotated object frame, in which the light lives."""
    colours: Float[Tensor, "batch vertices 3"]
    """Albedo times irradiance."""
    landmarks_px: Float[Tensor, "batch landmarks 2"]
    """Projected landmarks: continuous pixels, y down."""
    shadow: Float[Tensor, "batch vertices 9"] | None = None
    """What it is in the way of, of the harmonics at its normals; None where nothing is."""

    @property
    def harmonics(self) -> Float[Tensor, "batch vertices 9"]:
        """What each coefficient of the light gives a vertex."""
        return lit_harmonics(self.normals, self.shadow)


@dataclass(frozen=True)
class Reconstruction:
    """Everything known about a batch of faces after rendering."""

    coefficients: Coefficients
    shaped: ShapedFace
    posed: PosedFace
    rendering: Rendering
    """Mask, depth and colour image of the whole mesh."""
    draw_face_mask: Callable[[], Float[Tensor, "batch 1 height width"]]
    """Draws `face_mask`."""

    @cached_property
    def face_mask(self) -> Float[Tensor, "batch 1 height width"]:
        """Where the front-face region is drawn; constant for gradients.

        Drawn when first asked for: losses look at it, files do not.
        """
        return self.draw_face_mask()


@full_products()
def shape_face(
    face_model: FaceModel, coefficients: Coefficients, person: KnownPerson | None = None
) -> ShapedFace:
    """Decode identity, expression, joints and texture.

    Args:
        face_model: whose coefficients they are.
        coefficients: of the faces.
        person: whose they all are, if that is known.
    """
    vertices = face_model.shape(
        coefficients.identity,
        coefficients.expression,
        coefficients.joints_rad,
        None if person is None else person.neutral,
    )
    return ShapedFace(
        vertices_object=vertices,
        normals_object=face_model.normals(vertices),
        albedo=face_model.albedo(coefficients.texture) if person is None else person.albedo,
    )


@full_products()
def pose_face(
    face_model: FaceModel,
    shaped: ShapedFace,
    coefficients: Coefficients,
    camera: Camera,
    self_shadow: SelfShadow | None = None,
) -> PosedFace:
    """Rotate, translate, light and project a shaped face.

    Args:
        face_model: of the face.
        shaped: the face.
        coefficients: of its pose and light.
        camera: that sees it.
        self_shadow: the light that the face keeps from itself; None as in the public code, where
            nothing is in the way.
    """
    rotation = rotation_matrix(coefficients.angles_rad)
    posed = rotate(shaped.vertices_object, rotation) + coefficients.translation_dm[:, None]
    vertices_camera = camera.from_object(posed)
    normals = rotate(shaped.normals_object, rotation)
    shadow = None if self_shadow is None else self_shadow.at(rotation)
    return PosedFace(
        vertices_camera=vertices_camera,
        normals=normals,
        colours=shade(shaped.albedo, normals, coefficients.gamma, shadow),
        landmarks_px=camera.project(
            face_model.landmarks(vertices_camera, coefficients.angles_rad[:, 1])
        ),
        shadow=shadow,
    )


@full_products()
def reconstruct(
    face_model: FaceModel, renderer: Renderer, camera: Camera, coefficients: Coefficients
) -> Reconstruction:
    """Run all stages: decode, pose, light, render."""
    shaped = shape_face(face_model, coefficients)
    posed = pose_face(face_model, shaped, coefficients, camera)
    rendering = renderer(posed.vertices_camera, face_model.triangles, camera, posed.colours)

    @full_products()
    def draw_face_mask() -> Tensor:
        return renderer.coverage(posed.vertices_camera, face_model.front_triangles, camera)

    return Reconstruction(coefficients, shaped, posed, rendering, draw_face_mask)
