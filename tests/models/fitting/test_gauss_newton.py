"""Damped steps: each face for itself, downwards only, whatever its equations are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.fitting.gauss_newton import Minimum, StepRules, minimise
from models.fitting.problem import Evaluation, FitProblem
from models.fitting.terms import NormalEquations
from models.parameters import Coefficients, ParameterLayout

LAYOUT = ParameterLayout.for_sizes(2, 1, 1)
THOROUGH = StepRules(most=400, least_decrease=1e-12)


class Valley:
    """Rosenbrock's curved valley in the two identity coefficients, of a steepness for each face.

    E = (s (y - x^2))^2 + (1 - x)^2, least at (1, 1); not defined where x exceeds `wall`.
    """

    def __init__(self, steepness: list[float], wall: float = math.inf) -> None:
        self.steepness = torch.tensor(steepness, dtype=torch.float64)
        self.wall = wall

    def look(self, coefficients: Coefficients) -> Tensor:
        return coefficients.identity

    def energy(self, view: Tensor) -> Tensor:
        x, y = view.unbind(1)
        value = (self.steepness * (y - x * x)).square() + (1 - x).square()
        return torch.where(x > self.wall, math.nan, value)

    def equations(self, view: Tensor) -> NormalEquations:
        x, y = view.unbind(1)
        residuals = torch.stack([self.steepness * (y - x * x), 1 - x], dim=1)
        rows = torch.zeros(len(view), 2, LAYOUT.size, dtype=torch.float64)
        rows[:, 0, 0], rows[:, 0, 1], rows[:, 1, 0] = -2 * self.steepness * x, self.steepness, -1.0
        return NormalEquations.of_squares(math.sqrt(2) * rows, math.sqrt(2) * residuals)


def starts(identity: list[list[float]]) -> Coefficients:
    flat = torch.randn(len(identity), LAYOUT.size, dtype=torch.float64)
    flat[:, :2] = torch.tensor(identity, dtype=torch.float64)
    return LAYOUT.split(flat)


def run(
    term: Any, start: Coefficients, rules: StepRules = THOROUGH
) -> tuple[Minimum, list[Evaluation]]:
    seen: list[Evaluation] = []
    return minimise(FitProblem(LAYOUT, {"valley": term}), start, rules, seen.append), seen


@pytest.mark.parametrize("seed", range(6))
def test_the_energy_never_rises_and_the_valley_is_found(seed: int):
    start = starts(np.random.default_rng(seed).uniform(-3, 3, (5, 2)).tolist())
    term = Valley([1.0, 3.0, 10.0, 30.0, 100.0])
    minimum, seen = run(term, start)
    energies = torch.stack([minimum.first, *(evaluation.total for evaluation in seen)])
    assert torch.equal(minimum.first, term.energy(start.identity))
    assert (energies.diff(dim=0) <= 0).all()
    found = minimum.evaluation.coefficients.identity
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-4)
    assert minimum.converged.all()
    assert torch.equal(minimum.evaluation.total, energies[-1])


@pytest.mark.parametrize("most", [0, 1, 5])
def test_the_last_model_is_where_the_last_step_began(most: int):
    term = Valley([10.0])
    minimum, seen = run(term, starts([[-1.0, 1.1]]), StepRules(most, 0.0))
    energies = [float(minimum.first), *(float(evaluation.total) for evaluation in seen)]
    about = minimum.model.about
    # A step that was undone began where all ended.
    assert float(about.total) == max(energies[-2:])
    expected = term.equations(about.coefficients.identity)
    assert torch.equal(minimum.model.equations.hessian, expected.hessian)


def test_what_is_not_finite_is_never_taken():
    """Also where the way down leads there: the steps end before it."""
    start = starts([[-1.0, 2.0], [0.3, 0.0]])
    minimum, seen = run(Valley([1.0, 5.0], wall=0.5), start)
    for evaluation in seen:
        assert evaluation.total.isfinite().all()
    found = minimum.evaluation.coefficients.identity
    assert (found[:, 0] <= 0.5).all() and (found[:, 0] > 0.3).all()
    assert (minimum.evaluation.total < minimum.first).all()


def test_a_start_that_is_not_finite_stays():
    start = starts([[2.0, 2.0], [0.0, 0.0]])
    minimum, _ = run(Valley([1.0, 1.0], wall=1.5), start)
    found = minimum.evaluation.coefficients
    assert torch.equal(LAYOUT.join(found)[0], LAYOUT.join(start)[0])
    assert minimum.evaluation.total[1] < 1e-9
    assert minimum.converged.all()


def test_faces_of_a_batch_are_damped_and_stopped_each_for_itself():
    places, steepness = [[-2.0, 3.0], [0.9, 0.8], [2.5, -3.0]], [100.0, 1.0, 10.0]
    start = starts(places)
    together, _ = run(Valley(steepness), start)
    tried = []
    for item in range(3):
        alone, _ = run(Valley(steepness[item : item + 1]), start.item(item))
        torch.testing.assert_close(
            LAYOUT.join(together.evaluation.coefficients)[item],
            LAYOUT.join(alone.evaluation.coefficients)[0],
        )
        assert together.tried[item] == alone.tried[0]
        tried.append(int(alone.tried[0]))
    assert len(set(tried)) == 3  # each went its own way


def test_a_face_that_is_done_no_longer_moves():
    start = starts([[-2.0, 3.0], [0.9, 0.8]])
    minimum, seen = run(Valley([100.0, 1.0]), start, StepRules(most=200, least_decrease=1e-6))
    first, last = int(minimum.tried[1]), int(minimum.tried[0])
    assert last > first + 3
    flats = [LAYOUT.join(evaluation.coefficients) for evaluation in seen]
    for later in flats[first:]:
        assert torch.equal(later[1], flats[first - 1][1])
    assert not torch.equal(flats[-1][0], flats[first - 1][0])


def test_a_small_step_under_heavy_damping_is_not_the_end():
    """Where a much damped start gains little, the steps go on until they gain little undamped."""
    start = starts([[0.2, 0.5], [-0.5, 0.0]])
    rules = StepRules(most=60, least_decrease=1e-3, damping=8e3)
    minimum, seen = run(Valley([3.0, 1.0]), start, rules)
    gains = 1 - seen[0].total / minimum.first
    assert (gains > 0).all() and (gains < 1e-3).all()
    assert minimum.converged.all()
    assert (minimum.evaluation.total < 1e-3 * minimum.first).all()
    stopped, _ = run(Valley([3.0, 1.0]), start, StepRules(most=2, damping=8e3))
    assert not stopped.converged.any()


def test_the_number_of_steps_is_a_limit():
    start = starts([[-2.0, 3.0], [1.0, 1.0]])
    minimum, seen = run(Valley([100.0, 1.0]), start, StepRules(most=3, least_decrease=1e-9))
    assert len(seen) == 3 and minimum.tried[0] == 3 and not minimum.converged[0]
    none, seen = run(Valley([100.0, 1.0]), start, StepRules(most=0))
    assert not seen and not none.tried.any()
    assert torch.equal(none.evaluation.total, none.first)


class Broken(Valley):
    """A valley whose first face has equations that say nothing."""

    def __init__(self, spoil: Callable[[NormalEquations], None]) -> None:
        super().__init__([3.0, 3.0])
        self.spoil = spoil

    def equations(self, view: Tensor) -> NormalEquations:
        equations = super().equations(view)
        self.spoil(equations)
        return equations


def not_finite(equations: NormalEquations) -> None:
    equations.hessian[0, 0, 0] = math.nan


def infinite_gradient(equations: NormalEquations) -> None:
    equations.gradient[0, 1] = math.inf


def not_definite(equations: NormalEquations) -> None:
    equations.hessian[0] *= -1


def nothing(equations: NormalEquations) -> None:
    equations.hessian[0] = 0
    equations.gradient[0] = 0


@pytest.mark.parametrize("spoil", [not_finite, infinite_gradient, not_definite, nothing])
def test_equations_without_a_solution_are_survived(spoil: Callable[[NormalEquations], None]):
    start = starts([[-2.0, 3.0], [-2.0, 3.0]])
    minimum, _ = run(Broken(spoil), start)
    found = minimum.evaluation.coefficients
    assert torch.equal(LAYOUT.join(found)[0], LAYOUT.join(start)[0])
    assert minimum.converged.all()
    torch.testing.assert_close(found.identity[1], torch.ones(2).double(), rtol=0, atol=1e-4)


def test_parameters_that_nothing_depends_on_stay():
    start = starts([[-2.0, 3.0]])
    minimum, _ = run(Valley([10.0]), start)
    for name, block in minimum.evaluation.coefficients.items():
        before = dict(start.items())[name]
        if name == "angles_rad":  # which pass through a rotation
            torch.testing.assert_close(block, before)
        elif name != "identity":
            assert torch.equal(block, before), name


def test_faces_that_share_a_block_go_down_together():
    """One energy, one damping; what they share stays the same."""
    start = starts([[-2.0, 3.0], [0.5, 3.0], [1.5, 3.0]])
    together = torch.tensor([[0.4, 1.1]], dtype=torch.float64).expand(3, -1)
    start = Coefficients(**{**dict(start.items()), "identity": together})
    seen: list[Evaluation] = []
    problem = FitProblem(LAYOUT, {"valley": Valley([1.0, 30.0, 5.0])}, shared=("identity",))
    minimum = minimise(problem, start, THOROUGH, seen.append)
    energies = torch.stack([minimum.first.sum(), *(evaluation.total[0] for evaluation in seen)])
    assert (energies.diff(dim=0) <= 0).all() and minimum.converged.all()
    # Each face's own energy is told beside.
    torch.testing.assert_close(minimum.evaluation.own.sum(), minimum.evaluation.total[1])
    found = minimum.evaluation.coefficients.identity
    assert torch.equal(found, found[:1].expand(3, -1))
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-4)
