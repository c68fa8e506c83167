"""Faces to fit, photos of them, and derivatives of anything by steps of the fitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.fitting.problem import FitProblem
from models.landmark_embedding import MovingContour
from models.parameters import Coefficients
from models.renderer import Renderer
from models.self_shadow import SelfShadow
from models.stages import Reconstruction, pose_face, reconstruct, shape_face
from options.fitting_weights import FitWeights

HELD_LOOSELY = FitWeights(
    w_photo=1.6,
    w_identity=1e-6,
    w_expression=1e-6,
    w_texture=1e-7,
    w_light_colour=0.0,
    w_light=1e-5,
    w_reflectance=0.0,
    w_jaw=1.0,
    natural_expression=False,
    self_shadow=False,
    trusted_colour=0.0,
)
"""Priors that leave a face to its photo, which is drawn without shadows; those of tests are normal,
not natural."""


def random_face(face_model: FaceModel, batch: int = 1, size: float = 1.0) -> Coefficients:
    """Faces away from the mean in all that is fitted, in single precision.

    Args:
        face_model: whose coefficients.
        batch: number of faces.
        size: of identity, expression and texture, in standard deviations; pose and light stay.
    """
    draw = torch.Generator().manual_seed(11)
    blocks = dict(face_model.layout.zeros(batch).items())
    sigmas = {block.name: block.sigma for block in face_model.layout.blocks}
    for name in ("identity", "expression", "texture"):
        drawn = torch.randn(blocks[name].shape, generator=draw)
        blocks[name] = size * drawn * torch.tensor(sigmas[name])
    for name, spread in (("angles_rad", 0.15), ("translation_dm", 0.05), ("gamma", 0.04)):
        blocks[name] = spread * torch.randn(blocks[name].shape, generator=draw)
    return Coefficients(**blocks)


def moved(face_model: FaceModel, coefficients: Coefficients, size: float = 0.3) -> Coefficients:
    """Other faces near these: where a fit may begin."""
    draw = torch.Generator().manual_seed(12)
    spread = {"angles_rad": 0.1, "translation_dm": 0.1, "gamma": 0.1}
    return Coefficients(
        **{
            name: block
            + size * spread.get(name, 1.0) * torch.randn(block.shape, generator=draw).to(block)
            for name, block in coefficients.items()
        }
    )


def render(face_model: FaceModel, coefficients: Coefficients) -> Reconstruction:
    camera = Camera.rnet().to(coefficients.identity.dtype)
    return reconstruct(face_model, Renderer(), camera, coefficients)


def photo_of(
    face_model: FaceModel, coefficients: Coefficients, self_shadow: SelfShadow | None = None
) -> FaceBatch:
    """Renderings before grey, with their landmarks; with a shadow, shaded by themselves."""
    camera = Camera.rnet().to(coefficients.identity.dtype)
    shaped = shape_face(face_model, coefficients)
    posed = pose_face(face_model, shaped, coefficients, camera, self_shadow)
    drawn = Renderer()(posed.vertices_camera, face_model.triangles, camera, posed.colours)
    assert drawn.image is not None
    image = torch.where(drawn.mask > 0, drawn.image.clamp(0, 1), 0.5)
    return FaceBatch(
        images=image,
        paths=tuple(str(number) for number in range(len(image))),
        landmarks_px=posed.landmarks_px,
    )


def with_contour(data: FaceModelData) -> FaceModelData:
    """The same face model, whose jaw slides to other vertices when it turns."""
    jaw = np.arange(17)
    places = np.stack([data.landmark_vertices[:17], data.landmark_vertices[17:34]])
    weights = np.stack([data.landmark_barycentrics[:17], data.landmark_barycentrics[17:34]])
    contour = MovingContour(jaw, np.array([-1.0, 1.0]), places, weights)
    return replace(data, contour=contour)


def by_steps(
    face_model: FaceModel, function: Callable[[Coefficients], Tensor], at: Coefficients
) -> Tensor:
    """Derivative (..., P) of a function of coefficients by the fitter's steps, about no step.

    By central differences, in double precision: to about 1e-8.
    """
    problem, size = FitProblem(face_model.layout, {}), 1e-5
    columns = []
    for number in range(face_model.layout.size):
        step = torch.zeros(len(at), face_model.layout.size, dtype=torch.float64)
        step[:, number] = size
        ahead, behind = (function(problem.retract(at, sign * step)) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * size))
    return torch.stack(columns, dim=-1)
