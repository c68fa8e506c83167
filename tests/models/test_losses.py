"""Losses against plain loops over numpy arrays, their gradients, and their edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models import losses
from models.parameters import Coefficients, ParameterLayout

GENERATOR = np.random.default_rng(0)


def _tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(GENERATOR.random(shape))


def _coefficients(flat: torch.Tensor) -> Coefficients:
    return ParameterLayout.for_sizes(3, 2, 4).split(flat)


def test_photometric_loss_is_the_masked_mean_colour_distance():
    rendered, target = _tensor(2, 3, 4, 5), _tensor(2, 3, 4, 5)
    mask = _tensor(2, 1, 4, 5)
    mask[0, :, :2] = 0
    total = 0.0
    for b in range(2):
        for row in range(4):
            for column in range(5):
                squared = 1e-6
                for c in range(3):
                    squared += float(rendered[b, c, row, column] - target[b, c, row, column]) ** 2
                total += math.sqrt(squared) * float(mask[b, 0, row, column])
    expected = total / float(mask.sum())
    assert float(losses.photometric_loss(rendered, target, mask)) == pytest.approx(expected)


def test_photometric_loss_divides_by_the_mask_of_the_whole_batch():
    """One full and one nearly empty mask: not the mean of two per-image means."""
    rendered, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    rendered[1] = 1.0
    mask = torch.zeros(2, 1, 4, 4)
    mask[0] = 1.0
    mask[1, 0, 0, 0] = 1.0
    expected = (16 * 1e-3 + math.sqrt(3 + 1e-6)) / 17
    assert float(losses.photometric_loss(rendered, target, mask)) == pytest.approx(expected)


def test_photometric_loss_of_an_empty_mask_is_zero():
    loss = losses.photometric_loss(
        torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)
    )
    assert float(loss) == 0.0


def test_photometric_loss_has_finite_gradients_where_images_agree():
    image = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    losses.photometric_loss(image, image.detach(), torch.ones(1, 1, 2, 2)).backward()
    assert image.grad is not None
    assert torch.equal(image.grad, torch.zeros_like(image))


def test_photometric_loss_takes_the_mask_as_constant():
    rendered = torch.rand(1, 3, 2, 2, requires_grad=True)
    mask = torch.rand(1, 1, 2, 2, requires_grad=True)
    losses.photometric_loss(rendered, torch.zeros(1, 3, 2, 2), mask).backward()
    assert mask.grad is None
    assert rendered.grad is not None and rendered.grad.abs().sum() > 0


def test_landmark_weights_are_the_published_ones():
    expected = [20.0 if n in {28, 29, 30, *range(60, 68)} else 1.0 for n in range(68)]
    assert losses.LANDMARK_WEIGHTS.tolist() == expected


@pytest.mark.parametrize("own_weights", [False, True])
def test_landmark_loss_is_the_weighted_mean_square(own_weights: bool):
    predicted, given = 224 * _tensor(3, 68, 2), 224 * _tensor(3, 68, 2)
    weights = _tensor(68) if own_weights else None
    total = 0.0
    for b in range(3):
        for n in range(68):
            weight = float((losses.LANDMARK_WEIGHTS if weights is None else weights)[n])
            dx, dy = (predicted[b, n] - given[b, n]).tolist()
            total += weight * (dx * dx + dy * dy)
    loss = losses.landmark_loss(predicted, given, weights)
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(total / (3 * 68))


def test_landmark_loss_keeps_single_precision():
    loss = losses.landmark_loss(torch.zeros(1, 68, 2), torch.ones(1, 68, 2))
    assert loss.dtype == torch.float32


def test_identity_loss_is_the_mean_of_the_networks_distance():
    predicted, target = _tensor(4, 8), _tensor(4, 8)

    def manhattan(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().sum(dim=1)

    expected = np.abs(predicted.numpy() - target.numpy()).sum() / 4
    assert float(losses.identity_loss(predicted, target, manhattan)) == pytest.approx(expected)


def test_coefficient_regularisation_weighs_blocks_and_divides_by_the_batch():
    flat = _tensor(5, 3 + 2 + 4 + 33)
    values = flat.numpy()
    expected = 0.0
    for b in range(5):
        expected += 1.0 * sum(v * v for v in values[b, 0:3])
        expected += 0.8 * sum(v * v for v in values[b, 3:5])
        expected += 1.7e-2 * sum(v * v for v in values[b, 5:9])
    loss = losses.coefficient_regularisation(_coefficients(flat))
    assert float(loss) == pytest.approx(expected / 5)


def test_coefficient_regularisation_counts_in_standard_deviations():
    flat = _tensor(2, 42)
    sigma = _tensor(2) + 0.5
    scaled = flat.clone()
    scaled[:, 3:5] *= sigma
    assert torch.allclose(
        losses.coefficient_regularisation(_coefficients(scaled), expression_sigma=sigma),
        losses.coefficient_regularisation(_coefficients(flat)),
    )


def test_gamma_loss_is_the_variance_over_colours():
    gamma = _tensor(2, 27)
    values = gamma.numpy()
    total = 0.0
    for b in range(2):
        for k in range(9):
            channel_mean = (values[b, k] + values[b, 9 + k] + values[b, 18 + k]) / 3
            for c in range(3):
                total += (values[b, 9 * c + k] - channel_mean) ** 2
    assert float(losses.gamma_loss(gamma)) == pytest.approx(total / (2 * 27))


def test_gamma_loss_of_white_light_is_zero():
    white = _tensor(2, 9).repeat(1, 3)
    assert float(losses.gamma_loss(white)) == pytest.approx(0.0, abs=1e-15)


def test_reflectance_loss_is_the_variance_of_the_skin():
    albedo = _tensor(2, 7, 3)
    mask = torch.tensor([1.0, 0, 1, 1, 0, 1, 0], dtype=torch.float64)
    skin = albedo.numpy()[:, mask.numpy() > 0]
    total = 0.0
    for b in range(2):
        mean = skin[b].mean(axis=0)
        for v in range(4):
            total += float(((skin[b, v] - mean) ** 2).sum())
    assert float(losses.reflectance_loss(albedo, mask)) == pytest.approx(total / (2 * 4))


def test_reflectance_loss_ignores_what_is_not_skin():
    albedo, mask = _tensor(1, 5, 3), torch.tensor([1.0, 1, 1, 0, 0], dtype=torch.float64)
    changed = albedo.clone()
    changed[:, 3:] = 9.0
    assert torch.equal(
        losses.reflectance_loss(albedo, mask), losses.reflectance_loss(changed, mask)
    )


def test_mean_distance_is_not_squared():
    predicted = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]])
    true = torch.zeros(1, 2, 3)
    assert float(losses.mean_distance(predicted, true)) == pytest.approx(2.5)
    weights = torch.tensor([1.0, 3.0])
    assert float(losses.mean_distance(predicted, true, weights)) == pytest.approx(5 / 4)


def test_mean_distance_has_zero_gradient_at_the_truth():
    points = torch.ones(1, 2, 3, requires_grad=True)
    losses.mean_distance(points, points.detach()).backward()
    assert points.grad is not None
    assert torch.equal(points.grad, torch.zeros(1, 2, 3))


def test_mean_absolute_error_averages_points_and_channels():
    predicted, true, weights = _tensor(2, 4, 3), _tensor(2, 4, 3), _tensor(4)
    difference = np.abs(predicted.numpy() - true.numpy())
    assert float(losses.mean_absolute_error(predicted, true)) == pytest.approx(difference.mean())
    total = sum(
        float(weights[n]) * difference[b, n, c]
        for b in range(2)
        for n in range(4)
        for c in range(3)
    )
    expected = total / (2 * 3 * float(weights.sum()))
    assert float(losses.mean_absolute_error(predicted, true, weights)) == pytest.approx(expected)


def test_equal_weights_change_nothing():
    predicted, true, weights = _tensor(2, 4, 3), _tensor(2, 4, 3), torch.full((4,), 7.0)
    for loss in (losses.mean_distance, losses.mean_absolute_error):
        assert torch.allclose(loss(predicted, true, weights), loss(predicted, true))


def test_standardised_squared_error_divides_by_sigma():
    predicted, true, sigma = _tensor(3, 4), _tensor(3, 4), _tensor(4) + 0.5
    expected = (((predicted - true).numpy() / sigma.numpy()) ** 2).mean()
    loss = losses.standardised_squared_error(predicted, true, sigma)
    assert float(loss) == pytest.approx(expected)


def test_every_loss_has_right_gradients():
    def check(function, *shape: int) -> None:
        assert torch.autograd.gradcheck(function, _tensor(*shape).requires_grad_())

    image, mask = _tensor(2, 3, 3, 2), _tensor(2, 1, 3, 2)
    check(lambda x: losses.photometric_loss(x, image, mask), 2, 3, 3, 2)
    landmarks = _tensor(1, 68, 2)
    check(lambda x: losses.landmark_loss(x, landmarks), 1, 68, 2)
    check(lambda x: losses.coefficient_regularisation(_coefficients(x)), 2, 42)
    check(losses.gamma_loss, 2, 27)
    skin = torch.tensor([1.0, 0, 1, 1], dtype=torch.float64)
    check(lambda x: losses.reflectance_loss(x, skin), 2, 4, 3)
    points, weights = _tensor(2, 4, 3), _tensor(4)
    check(lambda x: losses.mean_distance(x, points, weights), 2, 4, 3)
    check(lambda x: losses.mean_absolute_error(x, points, weights), 2, 4, 3)
    parameters, sigma = _tensor(2, 5), _tensor(5) + 0.5
    check(lambda x: losses.standardised_squared_error(x, parameters, sigma), 2, 5)
