"""Damped Gauss-Newton steps for a batch of faces at once, each with its own damping.

Levenberg and Marquardt: (H + mu diag H) step = -gradient. A step that lowers the energy is taken
and mu divided, any other is undone and mu multiplied: the energy never rises, and what is not
finite is never taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.fitting.problem import Evaluation, FitProblem
from models.fitting.terms import NormalEquations
from models.parameters import Coefficients


@dataclass(frozen=True)
class StepRules:
    """When to stop, and how much to damp."""

    most: int = 20
    """Steps tried, the undone ones included."""
    least_decrease: float = 1e-3
    """A face is done when a step lowers its energy by less than this share of it."""
    undamped_below: float = 0.1
    """Such a step tells something only where mu is not above this: much damped, good steps are
    small too."""
    damping: float = 1e-2
    """mu at the start."""
    relax: float = 4.0
    """mu is divided by it after a good step."""
    tighten: float = 6.0
    """mu is multiplied by it after a bad one."""
    largest_damping: float = 1e4
    """A face whose mu exceeds it is done: no step helps any more."""


@dataclass(frozen=True)
class SecondOrder:
    """The energy to the second order about some coefficients."""

    about: Evaluation
    equations: NormalEquations


@dataclass(frozen=True)
class Minimum:
    """Where the steps ended."""

    evaluation: Evaluation
    first: Float[Tensor, " batch"]
    """Energy of each face at the start."""
    tried: Tensor
    """(B,) steps tried for each face."""
    converged: Bool[Tensor, " batch"]
    """Whether a face ended by itself, not by the number of steps."""
    model: SecondOrder
    """The last one, from which the last step was taken."""


def minimise(
    problem: FitProblem,
    start: Coefficients,
    rules: StepRules,
    watch: Callable[[Evaluation], None] | None = None,
) -> Minimum:
    """Lower the energy until every face is done.

    Args:
        problem: energy and its model.
        start: coefficients of the faces.
        rules: of the steps.
        watch: called with the evaluation after each step.
    """
    now = problem.evaluate(start)
    first = now.own
    damping = torch.full_like(now.total, rules.damping)
    done = torch.zeros_like(now.total, dtype=torch.bool)
    tried = torch.zeros_like(now.total, dtype=torch.int64)
    model = SecondOrder(now, problem.linearise(now))
    for _ in range(rules.most):
        if model.about is not now:
            model = SecondOrder(now, problem.linearise(now))
        step, solved = problem.solve(model.equations, damping)
        then = problem.evaluate(
            problem.retract(now.coefficients, torch.where(solved[:, None], step, 0.0))
        )
        # A comparison with NaN is false: such a step is undone.
        better = solved & (then.total < now.total) & ~done
        tried += ~done
        gained_little = now.total - then.total < rules.least_decrease * now.total
        enough = better & gained_little & (damping <= rules.undamped_below)
        damping = torch.where(better, damping / rules.relax, damping * rules.tighten)
        done |= enough | (damping > rules.largest_damping)
        if bool(better.all()):
            now = then
        elif bool(better.any()):
            now = problem.evaluate(choose(better, then, now))
        if watch is not None:
            watch(now)
        if bool(done.all()):
            break
    return Minimum(now, first, tried, done, model)


def choose(better: Bool[Tensor, " batch"], then: Evaluation, now: Evaluation) -> Coefficients:
    """The later coefficients of some faces, the earlier of the others."""
    later = dict(then.coefficients.items())
    blocks = {
        name: torch.where(better[:, None], later[name], block)
        for name, block in now.coefficients.items()
    }
    return Coefficients(**blocks)
