"""Vector neurons: they turn with their input; the formula of one layer by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from models.synergy.network import PointLayer, VectorRefinement
from models.synergy.vector_neurons import VectorEncoder, VectorLayer


def settled(module: torch.nn.Module) -> torch.nn.Module:
    """In float64, its normalisations as after training."""
    generator = torch.Generator().manual_seed(2)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            part.running_mean = torch.rand(part.num_features, generator=generator)
            part.running_var = torch.rand(part.num_features, generator=generator) + 0.5
            torch.nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
            torch.nn.init.uniform_(part.bias, -0.5, 0.5, generator=generator)
    return module.double().eval()


@pytest.mark.parametrize("training", [False, True])
def test_vectors_turn_with_the_points(training: bool):
    torch.manual_seed(1)
    encoder = settled(VectorEncoder()).train(training)
    assert isinstance(encoder, VectorEncoder)
    points = torch.randn(3, 3, 68, dtype=torch.float64)
    turn = torch.from_numpy(Rotation.from_euler("xyz", [20, -70, 130], degrees=True).as_matrix())
    x = points
    before, after = encoder.of_points(x), encoder.of_points(turn @ x)
    torch.testing.assert_close(after, torch.einsum("xy,bcyp->bcxp", turn, before))
    lengths = torch.linalg.vector_norm(before, dim=2)
    torch.testing.assert_close(torch.linalg.vector_norm(after, dim=2), lengths)
    assert lengths.std() > 0.01


def test_a_layer_by_hand():
    """One channel in, one out: q = 2 x, k = -x or x; lengths 2 |x| normalised to (2 |x| - 1)."""
    layer = VectorLayer(1, 1).double().eval()
    x = torch.tensor([0.0, 3.0, 4.0], dtype=torch.float64)[None, None, :, None]
    torch.nn.init.constant_(layer.feature.weight, 2)
    assert layer.bn.running_mean is not None
    layer.bn.running_mean.fill_(1)
    torch.nn.init.constant_(layer.direction.weight, 1)
    expected = x / 5 * 9
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)
    torch.nn.init.constant_(layer.direction.weight, -1)  # all of q points against it
    torch.testing.assert_close(layer(x), torch.zeros_like(x), rtol=0, atol=1e-5)


def test_the_forks_sizes():
    """Its sixth layer takes 3236 numbers a point; residuals of both signs without `public`."""
    refinement = VectorRefinement(1280, 199 + 29)
    first = refinement.layers[0]
    assert isinstance(first, PointLayer) and first.conv.in_channels == 3236
    out = refinement(torch.randn(4, 3, 77), torch.randn(4, 1280), torch.randn(4, 228))
    assert out.shape == (4, 3, 77) and (out < 0).any() and (out > 0).any()
    out.square().sum().backward()
    gradients = [parameter.grad for parameter in refinement.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    order = torch.randperm(77)
    plain = settled(VectorRefinement(8, 2))
    points, rest = torch.randn(2, 3, 77).double(), (torch.randn(2, 8).double(), torch.ones(2, 2))
    torch.testing.assert_close(
        plain(points[..., order], rest[0], rest[1].double()),
        plain(points, rest[0], rest[1].double())[..., order],
    )
