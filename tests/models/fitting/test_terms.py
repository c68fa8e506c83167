"""Normal equations: of squares, and added."""

from __future__ import annotations

import torch

from models.face_model import FaceModel
from models.fitting.terms import NormalEquations, Scaled
from models.parameters import Coefficients


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


class Squares:
    """A term of fixed rows."""

    def __init__(self) -> None:
        self.rows, self.residuals = torch.randn(2, 5, 3), torch.randn(2, 5)

    def look(self, coefficients: Coefficients) -> int:
        return len(coefficients)

    def energy(self, view: int, /) -> torch.Tensor:
        return view * self.residuals.square().sum(dim=1) / 2

    def equations(self, view: int, /) -> NormalEquations:
        return NormalEquations.of_squares(self.rows, view * self.residuals)


def test_each_face_has_its_own_factor(tiny_face_model: FaceModel):
    """As if its residuals were the root of it as large."""
    plain, rooted = Squares(), Squares()
    factors = torch.tensor([1.0, 3.0])
    rooted.rows = plain.rows * factors.sqrt()[:, None, None]
    rooted.residuals = plain.residuals * factors.sqrt()[:, None]
    scaled = Scaled(plain, factors)
    view = scaled.look(tiny_face_model.layout.zeros(2))
    torch.testing.assert_close(scaled.energy(view), rooted.energy(view))
    found, expected = scaled.equations(view), rooted.equations(view)
    torch.testing.assert_close(found.hessian, expected.hessian)
    torch.testing.assert_close(found.gradient, expected.gradient)
