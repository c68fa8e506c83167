"""SynergyNet's losses against loops and derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from models.synergy.losses import ParamLoss, WingLoss
from models.synergy.parameters import SynergyLayout

LAYOUT = SynergyLayout()


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)


def test_wing_is_the_formula_point_by_point():
    a, b = pair(2, 3, 7)
    a *= 20
    total = 0.0
    for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
        d = abs(x - y)
        total += 10 * math.log(1 + d / 2) if d < 10 else d - (10 - 10 * math.log(6))
    assert math.isclose(float(WingLoss()(a, b)), total / a.numel(), rel_tol=1e-12)
    assert float(WingLoss()(a, a)) == 0


def test_wing_has_no_step_at_its_width():
    ends = torch.tensor([10 - 1e-9, 10 + 1e-9], dtype=torch.float64)
    values = [
        float(WingLoss()(end.reshape(1, 1, 1).expand(1, 3, 1), torch.zeros(1, 3, 1)))
        for end in ends
    ]
    assert abs(values[0] - values[1]) < 1e-7


def test_parameters_by_loops():
    a, b = pair(5, 62)
    whole = face = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        squares = [(p - q) ** 2 for p, q in zip(x, y, strict=True)]
        pose, rest = sum(squares[:12]) / 12, sum(squares[12:]) / 50
        whole += math.sqrt(pose + rest) / 5
        face += math.sqrt(rest) / 5
    loss = ParamLoss(LAYOUT)
    assert math.isclose(float(loss(a, b)), whole, rel_tol=1e-12)
    assert math.isclose(float(loss(a, b, only_face=True)), face, rel_tol=1e-12)


def test_the_public_slip_compares_shifted_numbers():
    a, b = pair(5, 62)
    expected = ((a[:, :50] - b[:, 12:]) ** 2).mean(dim=1).sqrt().mean()
    public = ParamLoss(LAYOUT, public=True)
    torch.testing.assert_close(public(a, b, only_face=True), expected)
    torch.testing.assert_close(public(a, b), ParamLoss(LAYOUT)(a, b))


def test_gradients():
    a, b = (value.requires_grad_() for value in pair(3, 62))
    loss = ParamLoss(LAYOUT)
    assert torch.autograd.gradcheck(loss, (a, b))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, only_face=True), (a, b))
    a, b = (value.requires_grad_() for value in pair(2, 3, 4))
    assert torch.autograd.gradcheck(lambda x, y: WingLoss()(8 * x, y), (a, b))


@pytest.mark.parametrize("only_face", [True, False])
def test_the_gradient_at_zero_is_finite(only_face: bool):
    a = torch.zeros(2, 62, requires_grad=True)
    ParamLoss(LAYOUT)(a, torch.zeros(2, 62), only_face=only_face).backward()
    assert a.grad is not None and torch.isfinite(a.grad).all()
