"""Head pose from point pairs: recovered from projections of the same points."""

from __future__ import annotations

import pytest
import torch

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.pose import pose_from_points


@pytest.mark.parametrize("kind", ["five", "all"])
def test_the_pose_of_projected_points_is_recovered(tiny_face_model: FaceModel, kind: str):
    vertices = tiny_face_model.mean_shape.reshape(1, -1, 3)
    points = (
        tiny_face_model.alignment_points
        if kind == "five"
        else tiny_face_model.landmarks(vertices)[0]
    )
    angles = torch.tensor([[0.0, 0.0, 0.0], [0.2, -0.3, 0.1], [-0.15, 0.5, -0.4]])
    shift = torch.tensor([[0.0, 0.0, 0.0], [0.2, -0.1, 1.0], [-0.1, 0.2, -1.0]])
    camera = Camera.rnet()
    true_rotation = rotation_matrix(angles)
    turned = rotate(points.expand(3, -1, -1), true_rotation) + shift[:, None]
    pixels = camera.project(camera.from_object(turned))
    rotation, translation = pose_from_points(pixels, points, camera)
    identity = torch.eye(3).expand(3, -1, -1)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3), atol=1e-5, rtol=0)
    cosine = ((rotation * true_rotation).sum(dim=(1, 2)) - 1) / 2
    assert torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).max() < 0.2
    assert (translation[:, :2] - shift[:, :2]).abs().max() < 0.005
    assert (translation[:, 2] - shift[:, 2]).abs().max() < 0.02
    again = rotate(points.expand(3, -1, -1), rotation) + translation[:, None]
    error = (camera.project(camera.from_object(again)) - pixels).norm(dim=-1)
    assert error.mean() < 0.05


def test_items_are_independent(tiny_face_model: FaceModel):
    points, camera = tiny_face_model.alignment_points, Camera.rnet()
    pixels = 112 + 40 * torch.randn(2, 5, 2)
    rotation, translation = pose_from_points(pixels, points, camera)
    alone_rotation, alone_translation = pose_from_points(pixels[1:], points, camera)
    torch.testing.assert_close(rotation[1:], alone_rotation, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(translation[1:], alone_translation, atol=1e-4, rtol=1e-4)
