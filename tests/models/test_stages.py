"""The ladder coefficients -> shape -> pose -> rendering, against its single rungs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.camera import Camera
from models.face_model import FaceModel
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import KnownPerson, pose_face, reconstruct, shape_face


def some_coefficients(model: FaceModel, batch: int = 2) -> Coefficients:
    flat = 0.2 * torch.randn(batch, model.layout.size)
    return model.layout.split(flat)


def test_shape_face_decodes_without_pose(tiny_face_model: FaceModel):
    coefficients = some_coefficients(tiny_face_model)
    shaped = shape_face(tiny_face_model, coefficients)
    expected = tiny_face_model.shape(coefficients.identity, coefficients.expression)
    torch.testing.assert_close(shaped.vertices_object, expected)
    torch.testing.assert_close(shaped.normals_object, tiny_face_model.normals(expected))
    torch.testing.assert_close(shaped.albedo, tiny_face_model.albedo(coefficients.texture))


def test_a_known_person_has_the_same_faces(tiny_face_model: FaceModel):
    """Whatever their expression, and though the person is known from one of them."""
    every = some_coefficients(tiny_face_model, 3)
    one = every.item(0)
    same = {name: getattr(one, name).expand(3, -1) for name in ("identity", "texture")}
    faces = replace(every, **same)
    known = KnownPerson.of(tiny_face_model, replace(one, expression=one.expression + 1))
    found = shape_face(tiny_face_model, faces.item(2), known)
    expected = shape_face(tiny_face_model, faces.item(2))
    torch.testing.assert_close(vars(found), vars(expected))


def test_pose_is_scipys_rotation_then_translation(tiny_face_model: FaceModel):
    coefficients = some_coefficients(tiny_face_model)
    camera = Camera.rnet()
    shaped = shape_face(tiny_face_model, coefficients)
    posed = pose_face(tiny_face_model, shaped, coefficients, camera)
    for item in range(2):
        rotation = Rotation.from_euler("xyz", coefficients.angles_rad[item].numpy())
        expected = rotation.apply(shaped.vertices_object[item].numpy())
        expected = expected + coefficients.translation_dm[item].numpy()
        world = camera.to_object(posed.vertices_camera)[item]
        np.testing.assert_allclose(world.numpy(), expected, atol=1e-5)
        normals = rotation.apply(shaped.normals_object[item].numpy())
        np.testing.assert_allclose(posed.normals[item].numpy(), normals, atol=1e-5)


def test_normals_of_the_pose_are_those_of_the_posed_mesh(tiny_face_model: FaceModel):
    """Rotating the normals equals taking the normals of the rotated mesh."""
    coefficients = some_coefficients(tiny_face_model)
    camera = Camera.rnet()
    posed = pose_face(
        tiny_face_model, shape_face(tiny_face_model, coefficients), coefficients, camera
    )
    again = tiny_face_model.normals(camera.to_object(posed.vertices_camera))
    torch.testing.assert_close(again, posed.normals, atol=1e-4, rtol=1e-4)


def test_landmarks_lie_on_the_projected_mesh(tiny_face_model: FaceModel):
    coefficients = some_coefficients(tiny_face_model)
    camera = Camera.rnet()
    posed = pose_face(
        tiny_face_model, shape_face(tiny_face_model, coefficients), coefficients, camera
    )
    expected = camera.project(tiny_face_model.landmarks(posed.vertices_camera))
    torch.testing.assert_close(posed.landmarks_px, expected)


def test_translation_moves_the_face_as_it_says(tiny_face_model: FaceModel):
    """Right is right, up is up, towards the camera is larger."""
    layout = tiny_face_model.layout
    flat = torch.zeros(4, layout.size)
    part = layout.slices["translation_dm"]
    flat[1, part.start], flat[2, part.start + 1], flat[3, part.start + 2] = 0.2, 0.2, 1.0
    coefficients = layout.split(flat)
    shaped = shape_face(tiny_face_model, coefficients)
    landmarks = pose_face(tiny_face_model, shaped, coefficients, Camera.rnet()).landmarks_px
    base, right, up, near = landmarks
    assert (right[:, 0] > base[:, 0]).all()
    assert (up[:, 1] < base[:, 1]).all()
    assert near.std(dim=0).sum() > base.std(dim=0).sum()


def test_posed_landmarks_gradient(tiny_face_model: FaceModel):
    model, camera = tiny_face_model.double(), Camera.rnet().to(torch.float64)
    flat = (0.2 * torch.randn(1, model.layout.size, dtype=torch.float64)).requires_grad_()

    def landmarks_and_colours(flat: torch.Tensor):
        coefficients = model.layout.split(flat)
        posed = pose_face(model, shape_face(model, coefficients), coefficients, camera)
        return posed.landmarks_px[:, ::9], posed.colours[:, ::40]

    assert torch.autograd.gradcheck(landmarks_and_colours, (flat,))


def test_reconstruction_of_the_mean_face(tiny_face_model: FaceModel):
    coefficients = tiny_face_model.layout.zeros(2)
    result = reconstruct(tiny_face_model, Renderer("torch"), Camera.rnet(), coefficients)
    mask, face = result.rendering.mask, result.face_mask
    assert result.rendering.image is not None
    assert result.rendering.image.shape == (2, 3, 224, 224)
    # The front region is a part of the face, and it covers the centre of the image.
    assert 0 < face.sum() < mask.sum()
    assert ((face > 0) <= (mask > 0)).all()
    assert face[0, 0, 112, 112] == 1
    # Outside the face there is nothing; inside, the depth is that of a face 10 dm away.
    assert not result.rendering.image[(mask == 0).expand(-1, 3, -1, -1)].any()
    depth = result.rendering.depth_dm[mask > 0]
    assert depth.min() > 8.9 and depth.max() < 10.5
    torch.testing.assert_close(result.rendering.image[0], result.rendering.image[1])


def test_the_face_mask_is_drawn_when_it_is_asked_for(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[int] = []
    coverage = Renderer.coverage

    def counted(*arguments: Any) -> Any:
        drawn.append(1)
        return coverage(*arguments)

    monkeypatch.setattr(Renderer, "coverage", counted)
    zeros = tiny_face_model.layout.zeros(1)
    result = reconstruct(tiny_face_model, Renderer("torch"), Camera.rnet(), zeros)
    assert not drawn
    first, second = result.face_mask, result.face_mask
    assert first is second and len(drawn) == 1


def test_gradients_reach_every_block(tiny_face_model: FaceModel):
    flat = torch.zeros(1, tiny_face_model.layout.size, requires_grad=True)
    result = reconstruct(
        tiny_face_model, Renderer("torch"), Camera.rnet(), tiny_face_model.layout.split(flat)
    )
    assert result.rendering.image is not None
    weights = torch.rand_like(result.rendering.image)
    (result.rendering.image * weights).sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()
    for name, part in tiny_face_model.layout.slices.items():
        assert flat.grad[:, part].abs().max() > 0, name
    assert not result.face_mask.requires_grad
