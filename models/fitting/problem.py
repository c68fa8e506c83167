"""The energy of faces as the sum of its terms, over the coefficients that are free."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.camera import rotation_angles, rotation_matrix
from models.fitting.linear_solver import solve, solve_shared
from models.fitting.terms import NormalEquations, Term
from models.parameters import Coefficients, ParameterLayout
from models.precision import full_products
from models.skeleton import rotation_from_axis_angle


@dataclass(frozen=True)
class Evaluation:
    """Coefficients, and what they cost."""

    coefficients: Coefficients
    views: Mapping[str, Any]
    """What each term sees of them."""
    energies: Mapping[str, Float[Tensor, " batch"]]
    """Weighted terms by name."""
    together: bool = False
    """Whether the faces share parameters, so that their energies count as one."""

    @property
    def own(self) -> Float[Tensor, " batch"]:
        """The energy of each face."""
        return torch.stack(list(self.energies.values())).sum(dim=0)

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """What each face's steps must lower: its energy, or that of all where they share some."""
        own = self.own
        return own.sum().expand(len(own)) if self.together else own


class FitProblem:
    """What Gauss-Newton steps minimise."""

    def __init__(
        self,
        layout: ParameterLayout,
        terms: Mapping[str, Term],
        shared: Collection[str] = (),
    ) -> None:
        """Put the terms together.

        Args:
            layout: of the coefficients that are free, which the terms' equations have too.
            terms: by name.
            shared: blocks that are the same for all faces, at the start too.
        """
        self._layout = layout
        self._terms = dict(terms)
        self._shared = torch.zeros(layout.size, dtype=torch.bool)
        for name in shared:
            self._shared[layout.slices[name]] = True

    @full_products()
    def evaluate(self, coefficients: Coefficients) -> Evaluation:
        """The energy of faces."""
        views = {name: term.look(coefficients) for name, term in self._terms.items()}
        energies = {name: term.energy(views[name]) for name, term in self._terms.items()}
        return Evaluation(coefficients, views, energies, together=bool(self._shared.any()))

    @full_products()
    def linearise(self, evaluation: Evaluation) -> NormalEquations:
        """Its second-order model there."""
        equations = (term.equations(evaluation.views[name]) for name, term in self._terms.items())
        return reduce(add, equations)

    def solve(
        self, equations: NormalEquations, damping: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch parameters"], Bool[Tensor, " batch"]]:
        """The damped step of each face, and whether there is one."""
        if self._shared.any():
            return solve_shared(equations, damping, self._shared.to(damping.device))
        return solve(equations, damping)

    def retract(
        self, coefficients: Coefficients, step: Float[Tensor, "batch parameters"]
    ) -> Coefficients:
        """Coefficients after a step: sums, but for the rotation, R -> exp([w]x) R."""
        parts = self._layout.slices
        moved = {
            name: block + step[:, parts[name]]
            for name, block in coefficients.items()
            if name in parts
        }
        if "angles_rad" in parts:
            turn = rotation_from_axis_angle(step[:, parts["angles_rad"]])
            rotation = turn @ rotation_matrix(coefficients.angles_rad)
            moved["angles_rad"] = rotation_angles(rotation)
        return replace(coefficients, **moved)
