"""Terms of an energy: each looks at coefficients, says what they cost, and linearises its cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from models.parameters import Coefficients


@dataclass(frozen=True)
class NormalEquations:
    """Second-order model of an energy about some coefficients.

    The angles' part is that of a small rotation vector w, R -> exp([w]x) R.
    """

    hessian: Float[Tensor, "batch parameters parameters"]
    """Positive semi-definite approximation of the Hessian."""
    gradient: Float[Tensor, "batch parameters"]

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.hessian + other.hessian, self.gradient + other.gradient)

    def __sub__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.hessian - other.hessian, self.gradient - other.gradient)

    @classmethod
    def of_squares(
        cls,
        rows: Float[Tensor, "batch residuals parameters"],
        residuals: Float[Tensor, "batch residuals"],
    ) -> NormalEquations:
        """Of the energy |r|^2 / 2: H = J^T J, gradient = J^T r; weights are in rows and r."""
        return cls(rows.mT @ rows, (rows.mT @ residuals[..., None])[..., 0])

    def times(self, factors: Float[Tensor, " batch"]) -> NormalEquations:
        """Of the energy of each face times a factor."""
        return NormalEquations(
            factors[:, None, None] * self.hessian, factors[:, None] * self.gradient
        )


@runtime_checkable
class Cost(Protocol):
    """A weighted part of an energy."""

    def look(self, coefficients: Coefficients) -> Any:
        """What is needed to judge them."""
        ...

    def energy(self, view: Any, /) -> Float[Tensor, " batch"]:
        """Cost of each face."""
        ...


@runtime_checkable
class Term(Cost, Protocol):
    """A cost that Gauss-Newton steps lower."""

    def equations(self, view: Any, /) -> NormalEquations:
        """Second-order model of the cost."""
        ...


@dataclass(frozen=True)
class Scaled:
    """A term that counts so many times, for each face its own."""

    term: Term
    factors: Float[Tensor, " batch"]

    def look(self, coefficients: Coefficients) -> Any:
        """As the term."""
        return self.term.look(coefficients)

    def energy(self, view: Any, /) -> Float[Tensor, " batch"]:
        """The term's times the factors."""
        return self.factors * self.term.energy(view)

    def equations(self, view: Any, /) -> NormalEquations:
        """The term's times the factors."""
        return self.term.equations(view).times(self.factors)
