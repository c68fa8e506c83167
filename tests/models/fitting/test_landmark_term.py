"""The landmark term: its cost by the formula, its equations by autograd."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.fitting.derivatives import LandmarkTables
from models.fitting.energy import landmark_shares
from models.fitting.landmark_term import LandmarkTerm
from models.fitting.problem import FitProblem
from models.stages import pose_face, shape_face
from options.fitting_weights import FitWeights
from tests.models.fitting.faces import random_face, with_contour

WEIGHTS = FitWeights(w_landmarks=0.7, w_jaw=0.25, w_mouth=3.0, w_lids=2.0)


def camera_of(kind: str) -> Camera:
    """Of a crop of 448 pixels, in which distances count half."""
    two = torch.full((1, 2), 2.0)
    larger = Camera.rnet().regrid(two, torch.zeros(1, 2), (448, 448)).to(torch.float64)
    return replace(larger, kind=kind)  # pyright: ignore[reportArgumentType]


def term_of(model: FaceModel, camera: Camera, given: Tensor) -> LandmarkTerm:
    tables = LandmarkTables.of(model)
    return LandmarkTerm(model, tables, camera, WEIGHTS, given, model.layout)


@pytest.fixture(params=[False, True], ids=["fixed", "sliding"])
def model(request: pytest.FixtureRequest, tiny_face_data: FaceModelData) -> FaceModel:
    data = with_contour(tiny_face_data) if request.param else tiny_face_data
    return FaceModel(data).double()


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_residuals_and_cost_are_those_of_the_whole_face(kind: str, model: FaceModel):
    camera = camera_of(kind)
    at = random_face(model, 2).to(torch.float64)
    given = 224 + 60 * torch.randn(2, 68, 2, dtype=torch.float64)
    term = term_of(model, camera, given)
    view = term.look(at)
    posed = pose_face(model, shape_face(model, at), at, camera)
    distance = (posed.landmarks_px - given) / 2
    # The points' own weights sum to 1 in single precision.
    torch.testing.assert_close(view.residuals, distance, rtol=0, atol=1e-5)
    weights = torch.ones(68, dtype=torch.float64)
    weights[:17] = 0.25
    weights[[28, 29, 30, *range(48, 68)]] = 3.0
    weights[[37, 38, 40, 41, 43, 44, 46, 47]] = 2.0
    expected = 0.7 * (weights * distance.square().sum(dim=2)).sum(dim=1) / weights.sum()
    torch.testing.assert_close(term.energy(view), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_equations_are_those_of_autograd(kind: str, model: FaceModel):
    """Of each face by its own step; how a sliding jaw slides is constant for both."""
    camera = camera_of(kind)
    at = random_face(model, 2).to(torch.float64)
    given = 224 + 60 * torch.randn(2, 68, 2, dtype=torch.float64)
    term = term_of(model, camera, given)
    problem = FitProblem(model.layout, {})
    step = torch.zeros(2, model.layout.size, dtype=torch.float64)

    def weighted(step: Tensor) -> Tensor:
        residuals = term.look(problem.retract(at, step)).residuals
        roots = (0.7 * landmark_shares(WEIGHTS).double()).sqrt()
        return (residuals * roots[:, None]).flatten(1)

    def cost(step: Tensor) -> Tensor:
        return term.energy(term.look(problem.retract(at, step))).sum()

    jacobian = torch.autograd.functional.jacobian(lambda step: weighted(step).sum(dim=0), step)
    rows = jacobian.permute(1, 0, 2)  # pyright: ignore[reportAttributeAccessIssue]
    found = term.equations(term.look(at))
    torch.testing.assert_close(found.hessian, 2 * rows.mT @ rows)
    torch.testing.assert_close(found.gradient, torch.autograd.functional.jacobian(cost, step))
    for name in ("texture", "gamma"):
        assert not found.gradient[:, model.layout.slices[name]].any()


def test_blocks_that_are_held_fixed_have_no_columns(model: FaceModel):
    camera, at = camera_of("perspective"), random_face(model, 2).to(torch.float64)
    given = 224 + 60 * torch.randn(2, 68, 2, dtype=torch.float64)
    whole = term_of(model, camera, given)
    layout = model.layout.only(("expression", "angles_rad", "gamma", "translation_dm"))
    part = LandmarkTerm(model, LandmarkTables.of(model), camera, WEIGHTS, given, layout)
    kept = torch.cat(
        [torch.arange(model.layout.size)[model.layout.slices[n]] for n in layout.slices]
    )
    expected, found = whole.equations(whole.look(at)), part.equations(part.look(at))
    torch.testing.assert_close(found.hessian, expected.hessian[:, kept][:, :, kept])
    torch.testing.assert_close(found.gradient, expected.gradient[:, kept])
