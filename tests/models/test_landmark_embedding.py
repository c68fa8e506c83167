"""Landmarks on triangles: against a loop, at vertices, and their gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.face_model import FaceModel
from models.landmark_embedding import LandmarkEmbedding, MovingContour


def embedding(count: int, vertex_count: int = 40) -> LandmarkEmbedding:
    generator = np.random.default_rng(count)
    corners = generator.integers(0, vertex_count, (count, 3)).astype(np.int32)
    weights = generator.dirichlet(np.ones(3), count).astype(np.float32)
    return LandmarkEmbedding(torch.from_numpy(corners), torch.from_numpy(weights))


@pytest.mark.parametrize("count", [5, 68, 77, 468])
def test_points_are_mixes_of_three_corners(count: int):
    points = embedding(count)
    vertices = torch.randn(2, 40, 3)
    expected = np.zeros((2, count, 3))
    for n in range(count):
        for corner, weight in zip(points.vertices[n], points.barycentrics[n], strict=True):
            expected[:, n] += float(weight) * vertices[:, int(corner)].numpy()
    assert points.count == count
    np.testing.assert_allclose(points(vertices).numpy(), expected, atol=1e-6)


def test_a_point_at_a_vertex_is_that_vertex_exactly():
    corners = torch.tensor([[7, 7, 7], [3, 3, 3]], dtype=torch.int32)
    points = LandmarkEmbedding(corners, torch.tensor([[1.0, 0.0, 0.0]]).repeat(2, 1))
    vertices = torch.randn(3, 40, 3)
    assert torch.equal(points(vertices), vertices[:, [7, 3]])


def test_points_move_with_the_face():
    points, vertices = embedding(68).double(), torch.randn(1, 40, 3, dtype=torch.float64)
    shift = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(points(2 * vertices + shift), 2 * points(vertices) + shift)
    assert torch.autograd.gradcheck(points, vertices.requires_grad_())


def test_it_is_no_part_of_checkpoints():
    assert not embedding(68).state_dict()


def test_a_contour_follows_the_yaw():
    """Two of three landmarks move, between the rows of the two nearest angles."""
    contour = MovingContour(
        landmarks=np.array([2, 0]),
        yaws_rad=np.array([0.0, -0.5, 0.5]),
        vertices=np.array([[[5, 5, 5], [6, 6, 6]], [[7, 7, 7], [8, 8, 8]], [[0, 1, 2], [4, 4, 4]]]),
        barycentrics=np.tile(np.array([0.2, 0.3, 0.5]), (3, 2, 1)),
    )
    embedding = LandmarkEmbedding(
        torch.tensor([[0, 0, 0], [1, 1, 1], [2, 2, 2]], dtype=torch.int32),
        torch.tensor([[1.0, 0, 0]] * 3),
        contour,
    )
    vertices = torch.randn(4, 9, 3, requires_grad=True)
    points = embedding(vertices, torch.tensor([0.0, -0.5, 0.5, 9.0]))
    assert torch.equal(points[:, 1], vertices[:, 1])
    for item, moved in enumerate([(5, 6), (7, 8)]):
        torch.testing.assert_close(points[item, [2, 0]], vertices[item, list(moved)])
    for item in (2, 3):
        mixed = 0.2 * vertices[item, 0] + 0.3 * vertices[item, 1] + 0.5 * vertices[item, 2]
        torch.testing.assert_close(points[item, 2], mixed)
    between = embedding(vertices[:1], torch.tensor([-0.125]))[0, 0]
    torch.testing.assert_close(between, 0.75 * vertices[0, 6] + 0.25 * vertices[0, 8])
    torch.testing.assert_close(embedding(vertices), vertices[:, :3])  # yaw unknown: as they are
    points.sum().backward()
    assert vertices.grad is not None and vertices.grad[0, 5].tolist() == [1, 1, 1]


def test_yaw_changes_nothing_without_a_contour(tiny_face_model: FaceModel):
    vertices = torch.randn(2, 224, 3)
    assert torch.equal(
        tiny_face_model.landmarks(vertices, torch.tensor([0.5, -0.5])),
        tiny_face_model.landmarks(vertices),
    )
