"""Normal equations: of squares, and added."""

from __future__ import annotations

import torch

from models.fitting.terms import NormalEquations


def test_equations_of_squares_are_the_derivatives_of_half_of_them():
    rows = torch.randn(2, 7, 4, dtype=torch.float64)
    residuals = torch.randn(2, 7, dtype=torch.float64)

    def energy(step: torch.Tensor) -> torch.Tensor:
        return (residuals + (rows @ step[..., None])[..., 0]).square().sum() / 2

    step = torch.zeros(2, 4, dtype=torch.float64)
    found = NormalEquations.of_squares(rows, residuals)
    torch.testing.assert_close(found.gradient, torch.autograd.functional.jacobian(energy, step))
    hessian = torch.autograd.functional.hessian(energy, step)
    for item in range(2):
        torch.testing.assert_close(found.hessian[item], hessian[item, :, item])  # pyright: ignore


def test_equations_add_up():
    one, two = (
        NormalEquations.of_squares(torch.randn(1, 3, 2), torch.randn(1, 3)) for _ in range(2)
    )
    both = one + two
    assert torch.equal(both.hessian, one.hessian + two.hessian)
    assert torch.equal(both.gradient, one.gradient + two.gradient)
