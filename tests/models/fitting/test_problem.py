"""The energy as a sum, its free blocks, and steps of the coefficients."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from models.camera import rotation_matrix
from models.face_model import FaceModel
from models.fitting.priors import priors
from models.fitting.problem import FitProblem
from options.fitting_weights import FitWeights
from tests.models.fitting.faces import random_face


@pytest.fixture
def model(tiny_face_model: FaceModel) -> FaceModel:
    return tiny_face_model.double()


def test_energy_and_equations_are_sums_over_the_terms(model: FaceModel):
    terms = priors(model, FitWeights())
    at = random_face(model, 2).to(torch.float64)
    problem = FitProblem(model.layout, terms)
    evaluation = problem.evaluate(at)
    assert set(evaluation.energies) == set(terms)
    alone = {name: term.energy(term.look(at)) for name, term in terms.items()}
    for name, energy in alone.items():
        assert torch.equal(evaluation.energies[name], energy)
    torch.testing.assert_close(evaluation.total, torch.stack(list(alone.values())).sum(dim=0))
    equations = problem.linearise(evaluation)
    single = [term.equations(term.look(at)) for term in terms.values()]
    torch.testing.assert_close(equations.hessian, sum(one.hessian for one in single))
    torch.testing.assert_close(equations.gradient, sum(one.gradient for one in single))
    # The terms keep their own: looking twice gives the same.
    again = problem.linearise(problem.evaluate(at))
    assert torch.equal(again.hessian, equations.hessian)


def test_blocks_outside_of_the_layout_stay(model: FaceModel):
    at = random_face(model, 2).to(torch.float64)
    layout = model.layout.only(("expression", "angles_rad"))
    then = FitProblem(layout, {}).retract(at, torch.rand(2, layout.size, dtype=torch.float64))
    for name, block in then.items():
        assert bool((block != dict(at.items())[name]).all()) == (name in layout.slices), name


def test_faces_that_share_blocks_have_one_energy_and_one_step(model: FaceModel):
    at = random_face(model, 3).to(torch.float64)
    problem = FitProblem(model.layout, priors(model, FitWeights()), shared=("texture",))
    evaluation = problem.evaluate(at)
    each = torch.stack(list(evaluation.energies.values())).sum(dim=0)
    torch.testing.assert_close(evaluation.total, each.sum().expand(3))
    damping = torch.full((3,), 0.1, dtype=torch.float64)
    step, solved = problem.solve(problem.linearise(evaluation), damping)
    assert solved.all()
    texture = step[:, model.layout.slices["texture"]]
    assert texture.any() and torch.equal(texture, texture[:1].expand_as(texture))
    assert (step[0, :5] != step[1, :5]).all()


def test_a_step_adds_up_but_turns_the_face(model: FaceModel):
    """Blocks are sums; the rotation is turned further, about the axes of the camera."""
    at = random_face(model, 3).to(torch.float64)
    step = 0.3 * torch.randn(3, model.layout.size, dtype=torch.float64)
    then = FitProblem(model.layout, {}).retract(at, step)
    for name, block in then.items():
        part = model.layout.slices[name]
        if name != "angles_rad":
            torch.testing.assert_close(block, dict(at.items())[name] + step[:, part])
    vectors = step[:, model.layout.slices["angles_rad"]].numpy()
    before = Rotation.from_matrix(rotation_matrix(at.angles_rad).numpy())
    expected = (Rotation.from_rotvec(vectors) * before).as_matrix()
    torch.testing.assert_close(rotation_matrix(then.angles_rad), torch.from_numpy(expected))


def test_no_step_changes_nothing(model: FaceModel):
    at = random_face(model, 3).to(torch.float64)
    then = FitProblem(model.layout, {}).retract(at, torch.zeros(3, model.layout.size).double())
    torch.testing.assert_close(model.layout.join(then), model.layout.join(at))
