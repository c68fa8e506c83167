"""Weights that make sense, and the robust distance of colours."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from models.fitting.energy import (
    LEAST_DISTANCE,
    landmark_shares,
    pixel_costs,
    pixel_derivatives,
    robust,
    trust,
)
from options.fitting_weights import PUBLIC_WEIGHTS, FitWeights


@pytest.mark.parametrize("tau", [0.02, 0.1, 3.0])
def test_the_weight_is_the_derivative_over_the_distance(tau: float):
    distance = torch.linspace(LEAST_DISTANCE, 1.7, 60, dtype=torch.float64).requires_grad_()
    cost, weight = robust(distance, tau)
    (slope,) = torch.autograd.grad(cost.sum(), distance)
    torch.testing.assert_close(weight.detach(), slope / distance.detach())
    torch.testing.assert_close(cost, tau * torch.log1p(distance / tau))


def test_an_infinite_scale_counts_distances_as_they_are():
    distance = torch.linspace(0, 1.7, 60, dtype=torch.float64)
    cost, weight = robust(distance, math.inf)
    assert torch.equal(cost, distance)
    torch.testing.assert_close(weight, 1 / distance.clamp(min=LEAST_DISTANCE))
    nearly = robust(distance, 1e7)
    torch.testing.assert_close(cost, nearly[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(weight, nearly[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("tau", [0.02, 0.1, math.inf])
def test_weights_are_bounded_and_fall(tau: float):
    distance = torch.linspace(0, 1.7, 200, dtype=torch.float64)
    cost, weight = robust(distance, tau)
    assert weight.isfinite().all() and weight.max() <= 1 / LEAST_DISTANCE
    assert (weight.diff() <= 0).all()
    assert (cost <= distance).all() and (cost.diff() > 0).all() and cost[0] == 0


def test_what_is_far_off_counts_ever_less():
    near, far = robust(torch.tensor([0.01, 1.0]), 0.1)[0]
    assert near > 0.95 * 0.01 and far < 0.25


def test_what_is_too_dark_about_the_eyes_counts_less():
    """By the angle between residual and grey: below 90 degrees the photo is the darker."""
    grey, across = torch.ones(3) / math.sqrt(3), torch.tensor([1.0, -1.0, 0.0]) / math.sqrt(2)
    angles = torch.deg2rad(torch.tensor([0.0, 30.0, 60.0, 90.0, 150.0, 180.0]))
    residuals = 0.3 * (angles.cos()[:, None] * grey + angles.sin()[:, None] * across)
    weights = FitWeights(robust_colour=0.2, dark_lids=0.1)
    everywhere, nowhere = torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.bool)
    costs = pixel_costs(residuals[None], everywhere, weights)[0]
    found = pixel_derivatives(residuals[None], everywhere, weights).weights[0]
    for number, share in enumerate([1.0, math.sqrt(0.75), 0.5, 0.0, 0.0, 0.0]):
        cost, weight = robust(torch.tensor(0.3), 0.2 * 0.1**share)
        torch.testing.assert_close(costs[number], cost)
        torch.testing.assert_close(found[number], weight)
    elsewhere = pixel_costs(residuals[None], nowhere, weights)
    torch.testing.assert_close(elsewhere, robust(torch.tensor(0.3), 0.2)[0].expand(1, 6))


@pytest.mark.parametrize("dark_lids", [0.1, 0.7, 1.0])
def test_pulls_are_gradients_over_weights(dark_lids: float):
    """Of residuals that are not tiny; the gradient of those falls to 0 with them."""
    generator = torch.Generator().manual_seed(3)
    residuals = 0.3 * torch.randn(2, 60, 3, generator=generator, dtype=torch.float64)
    residuals[0, :3] = torch.tensor([[0.2], [-0.2], [0.02]], dtype=torch.float64)  # grey ones
    residuals[1, :6] *= 1e-3
    residuals[1, 6] = 0
    tiny = torch.zeros(2, 60, dtype=torch.bool)
    tiny[1, :7] = True
    residuals.requires_grad_()
    about_eyes = torch.arange(60).expand(2, -1) % 3 > 0
    weights = FitWeights(dark_lids=dark_lids)
    found = pixel_derivatives(residuals.detach(), about_eyes, weights)
    costs = pixel_costs(residuals, about_eyes, weights)
    (expected,) = torch.autograd.grad(costs.sum(), residuals)
    gradient = found.weights[..., None] * found.pulls
    torch.testing.assert_close(gradient[~tiny], expected[~tiny])
    small = residuals.detach()[tiny].norm(dim=1)
    assert expected.isfinite().all() and gradient.isfinite().all()
    assert (gradient[tiny].norm(dim=1) <= 1.2 * small / LEAST_DISTANCE).all()
    plain = (found.pulls == residuals).all(dim=-1)
    assert plain[~about_eyes].all() and plain.all() == (dark_lids == 1)


def test_costs_never_jump():
    """Along ways through all colours, about the eyes too, steps cost in proportion to them."""
    generator = torch.Generator().manual_seed(3)
    ends = 0.4 * torch.randn(40, 3, generator=generator, dtype=torch.float64)
    weights, everywhere = FitWeights(), torch.ones(1, 4001, dtype=torch.bool)
    for start, end in zip(ends[::2], ends[1::2], strict=True):
        along = torch.lerp(start, end, torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None])
        step = (end - start).norm() / 4000
        assert pixel_costs(along[None], everywhere, weights).diff().abs().max() < 5 * step
        found = pixel_derivatives(along[None], everywhere, weights)
        assert found.weights.log().diff().abs().max() < 100 * step


@pytest.mark.parametrize("changed", [{"dark_lids": 1.0}, {"robust_colour": math.inf}])
def test_nothing_is_suspect_where_the_weights_say_so(changed: dict[str, float]):
    weights = FitWeights(**changed)  # type: ignore[arg-type]
    residuals = torch.linspace(-0.5, 0.5, 33).reshape(1, 11, 3)
    everywhere = torch.ones(1, 11, dtype=torch.bool)
    found = pixel_derivatives(residuals, everywhere, weights)
    usual = robust(residuals.square().sum(dim=-1).sqrt(), weights.robust_colour)
    costs = pixel_costs(residuals, everywhere, weights)
    torch.testing.assert_close((costs, found.weights), usual)
    assert torch.equal(found.pulls, residuals)


def test_photos_are_trusted_by_what_is_left_of_them():
    weights = FitWeights(trusted_colour=0.03)
    left = torch.tensor([0.0, 0.01, 0.015, 0.02, 0.03, 0.3, math.nan, math.inf])
    assert trust(left, weights).tolist() == pytest.approx([4, 4, 4, 2.25, 1, 1, 1, 1])
    for alike in (FitWeights(trusted_colour=0.0), FitWeights(w_photo=0.0)):
        assert torch.equal(trust(left, alike), torch.ones(8))


def test_shares_of_landmarks():
    shares = landmark_shares(FitWeights(w_jaw=0.5, w_mouth=4.0, w_lids=3.0))
    assert shares.sum().item() == pytest.approx(1)
    assert (shares[:17] / shares[17]).tolist() == pytest.approx([0.5] * 17)
    strong = [28, 29, 30, *range(48, 68)]
    assert (shares[strong] / shares[17]).tolist() == pytest.approx([4.0] * 23)
    lids = [37, 38, 40, 41, 43, 44, 46, 47]
    assert (shares[lids] / shares[17]).tolist() == pytest.approx([3.0] * 8)
    others = [k for k in range(17, 68) if k not in (*strong, *lids)]
    assert (shares[others] == shares[17]).all()
    # Ten times the mouth and the nose bridge, as in the public fitter.
    public = landmark_shares(PUBLIC_WEIGHTS)
    assert (10 * public[[0, 17]]).tolist() == pytest.approx(public[[28, 67]].tolist())
    only_inner = landmark_shares(FitWeights(w_jaw=0.0))
    assert not only_inner[:17].any() and only_inner.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"w_photo": -1.0}, "--w_photo is -1.0"),
        ({"w_jaw": math.nan}, "--w_jaw is nan"),
        ({"w_not_skin": 1.5}, r"--w_not_skin is 1.5.*between 0 and 1"),
        ({"robust_colour": 0.0}, r"--robust_colour is 0.*or inf"),
        ({"dark_lids": 0.0}, "--dark_lids is 0.0; it must be above 0, and 1 at most"),
        ({"dark_lids": 1.5}, "--dark_lids is 1.5; it must be above 0, and 1 at most"),
        ({"dark_lids": -1.0}, "--dark_lids is -1.0; it must be above 0, and 1 at most"),
        ({"dark_lids": math.inf}, "--dark_lids is inf"),
        ({"robust_colour": math.nan}, "--robust_colour is nan"),
        ({"w_texture": math.inf}, "--w_texture is inf; it must be a number from 0 on"),
    ],
)
def test_weights_that_reward_errors_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        FitWeights(**wrong)
