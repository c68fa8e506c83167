"""Landmarks on triangles: against a loop, at vertices, and their gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.landmark_embedding import LandmarkEmbedding


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
