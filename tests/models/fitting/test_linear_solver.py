"""Damped steps solve their equations, of faces alone and of faces that share parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.fitting.linear_solver import solve, solve_shared
from models.fitting.terms import NormalEquations


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_step_solves_the_damped_equations(dtype: torch.dtype):
    rows = torch.randn(3, 9, 6, dtype=dtype) * torch.logspace(-1, 1, 6)
    equations = NormalEquations.of_squares(rows, torch.randn(3, 9, dtype=dtype))
    damping = torch.tensor([1e-3, 1.0, 0.0], dtype=dtype)
    step, solved = solve(equations, damping)
    assert solved.all() and step.dtype == dtype
    for item in range(3):
        matrix = equations.hessian[item].double().numpy()
        matrix = matrix + float(damping[item]) * np.diag(np.diag(matrix))
        expected = np.linalg.solve(matrix, -equations.gradient[item].double().numpy())
        np.testing.assert_allclose(step[item].numpy(), expected, rtol=1e-4)


SHARED = torch.tensor([False, True, False, False, True, False])


def shared_equations(faces: int) -> NormalEquations:
    rows = torch.randn(faces, 9, 6, dtype=torch.float64)
    return NormalEquations.of_squares(rows, torch.randn(faces, 9, dtype=torch.float64))


def test_shared_steps_solve_the_whole_system():
    """All faces' parameters beside each other, those that are shared once."""
    equations = shared_equations(4)
    step, solved = solve_shared(equations, torch.full((4,), 0.3, dtype=torch.float64), SHARED)
    assert solved.all()
    size = 2 + 4 * 4
    matrix, right = np.zeros((size, size)), np.zeros(size)
    for face in range(4):
        place = np.empty(6, int)
        place[SHARED.numpy()] = [0, 1]
        place[~SHARED.numpy()] = 2 + 4 * face + np.arange(4)
        hessian = equations.hessian[face].numpy()
        matrix[np.ix_(place, place)] += hessian + 0.3 * np.diag(np.diag(hessian))
        right[place] -= equations.gradient[face].numpy()
    expected = np.linalg.solve(matrix, right)
    for face in range(4):
        np.testing.assert_allclose(step[face, SHARED].numpy(), expected[:2])
        np.testing.assert_allclose(
            step[face, ~SHARED].numpy(), expected[2 + 4 * face : 6 + 4 * face]
        )


def test_one_face_shares_with_itself_only():
    equations, damping = shared_equations(1), torch.tensor([0.01], dtype=torch.float64)
    torch.testing.assert_close(
        solve_shared(equations, damping, SHARED)[0], solve(equations, damping)[0]
    )


@pytest.mark.parametrize("entry", [(1, 1), (0, 0)], ids=["shared", "local"])
def test_one_face_without_a_solution_holds_up_all_that_share(entry: tuple[int, int]):
    equations = shared_equations(3)
    equations.hessian[1, entry[0], entry[1]] = -1e6
    damping = torch.full((3,), 0.1, dtype=torch.float64)
    assert not solve_shared(equations, damping, SHARED)[1].any()
    assert solve(equations, damping)[1].tolist() == [True, False, True]
