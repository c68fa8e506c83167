"""Similarity transforms: exact recovery, Umeyama's answer, and no NaN whatever comes in."""

import numpy as np
import pytest
import torch

from models.similarity import estimate_similarity

TARGET = torch.tensor(
    [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], dtype=torch.float64
)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Umeyama (1991) as printed, by singular values."""
    p, q = source - source.mean(0), target - target.mean(0)
    u, values, vt = np.linalg.svd(q.T @ p)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (values * sign).sum() / (p**2).sum()
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.concatenate([scale * rotation, shift[:, None]], axis=1)


def test_recovers_a_known_transform() -> None:
    angle, scale = torch.tensor([0.3, -2.0, 3.1]), torch.tensor([0.5, 1.0, 7.0])
    a, b = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1).double()
    shift = torch.tensor([[100.0, -3.0], [0.0, 0.0], [-500.0, 20.0]], dtype=torch.float64)
    expected = torch.cat([linear, shift[..., None]], dim=2)
    # Points that the transform carries onto the template.
    source = torch.linalg.solve(linear, (TARGET - shift[:, None]).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(estimate_similarity(source, TARGET), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_umeyama(dtype) -> None:
    rng = np.random.default_rng(0)
    # A face, noise, and a mirrored face, for which the best rotation is a poor one.
    source = np.stack(
        [
            TARGET.numpy() + rng.normal(0, 5, (5, 2)),
            rng.uniform(0, 224, (5, 2)),
            TARGET.numpy() * [-1, 1] + [300, 50],
        ]
    )
    found = estimate_similarity(torch.from_numpy(source).to(dtype), TARGET.to(dtype))
    expected = np.stack([umeyama(points, TARGET.numpy()) for points in source])
    tolerance = 2e-3 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)


def test_degenerate_points_give_the_identity_without_nan() -> None:
    source = torch.stack(
        [
            torch.full((5, 2), 77.7),
            torch.full((5, 2), float("nan")),
            TARGET.float() * float("inf"),
            torch.zeros(5, 2),
            TARGET.float(),
        ]
    ).requires_grad_()
    found = estimate_similarity(source, TARGET.float())
    identity = torch.eye(2, 3)
    for item in range(5):
        torch.testing.assert_close(found[item], identity, atol=1e-4, rtol=0)
    found.sum().backward()
    assert source.grad is not None
    assert source.grad.isfinite().all()


def test_gradient() -> None:
    source = (TARGET + torch.randn(3, 5, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: estimate_similarity(s, TARGET), source)
