"""The public schedule: the energy of the Gauss-Newton steps, differentiated by autograd."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.adam import costs, descend, fit_adam
from models.fitting.fitter import PRESETS, FaceFitter
from models.fitting.gauss_newton import StepRules
from models.fitting.problem import Evaluation
from models.parameters import Coefficients
from models.renderer import Renderer
from options.fitting_weights import PUBLIC_WEIGHTS, AdamSchedule, FitWeights
from tests.models.fitting.faces import by_steps, moved, photo_of, random_face

LOOK = StepRules(most=0)
SHORT = AdamSchedule(rigid_steps=60, steps=40, rigid_rate=0.02, rate=0.02)


def fitter_of(model: FaceModel, weights: FitWeights = PUBLIC_WEIGHTS) -> FaceFitter:
    return FaceFitter(model, Camera.rnet(), Renderer(), weights)


def total_of(fitter: FaceFitter, batch: FaceBatch, at: Coefficients, stride: int) -> Tensor:
    terms = costs(fitter, batch, stride)
    return torch.stack([term.energy(term.look(at)) for term in terms.values()]).sum(dim=0)


@pytest.fixture
def truth(tiny_face_model: FaceModel) -> Coefficients:
    return random_face(tiny_face_model, 2, size=0.7)


@pytest.fixture
def photo(tiny_face_model: FaceModel, truth: Coefficients) -> FaceBatch:
    photo = photo_of(tiny_face_model, truth)
    return replace(photo, skin_mask=torch.rand_like(photo.images[:, :1]))


@pytest.mark.parametrize("weights", [FitWeights(), PUBLIC_WEIGHTS], ids=["own", "public"])
@pytest.mark.parametrize("stride", [1, 4])
def test_the_energy_is_that_of_gauss_newton(
    weights: FitWeights,
    stride: int,
    tiny_face_model: FaceModel,
    truth: Coefficients,
    photo: FaceBatch,
):
    fitter = fitter_of(tiny_face_model, weights)
    for size in (0.1, 0.5):
        at = moved(tiny_face_model, truth, size)
        looked = fitter.minimise(at, fitter.photo_terms(photo, stride), LOOK)
        terms = costs(fitter, photo, stride)
        assert list(terms) == list(looked.evaluation.energies)
        for name, term in terms.items():
            expected = looked.evaluation.energies[name]
            torch.testing.assert_close(term.energy(term.look(at)), expected, msg=name)
        torch.testing.assert_close(total_of(fitter, photo, at, stride), looked.evaluation.total)
        assert (looked.evaluation.energies["photo"] > 0.02).all()


def test_the_gradient_is_that_of_the_energy(tiny_face_model: FaceModel, truth: Coefficients):
    """Of the coefficients that change no visibility, in double precision."""
    model = tiny_face_model.double()
    at = moved(model, truth).to(torch.float64)
    photo = photo_of(model, truth.to(torch.float64))
    camera = Camera.rnet().to(torch.float64)
    fitter = FaceFitter(model, camera, Renderer(), FitWeights())
    blocks = {name: block.requires_grad_() for name, block in at.items()}
    total_of(fitter, photo, at, 4).sum().backward()
    with torch.no_grad():
        found = by_steps(model, lambda faces: total_of(fitter, photo, faces, 4), at)
    for name in ("texture", "gamma"):
        gradient = blocks[name].grad
        assert gradient is not None
        torch.testing.assert_close(
            gradient, found[:, model.layout.slices[name]], rtol=1e-5, atol=1e-8
        )


def test_a_photo_that_is_explained_has_a_finite_gradient(
    tiny_face_model: FaceModel, truth: Coefficients, photo: FaceBatch
):
    for block in dict(truth.items()).values():
        block.requires_grad_()
    total_of(fitter_of(tiny_face_model), photo, truth, 1).sum().backward()
    for name, block in truth.items():
        assert block.grad is not None and block.grad.isfinite().all(), name


def test_stages_free_the_pose_and_then_everything(tiny_face_model: FaceModel, photo: FaceBatch):
    seen: list[tuple[str, Evaluation]] = []
    fit = fit_adam(
        fitter_of(tiny_face_model), photo, SHORT, stride=4, watch=lambda *look: seen.append(look)
    )
    assert [name for name, _ in seen] == ["rigid"] * 60 + ["all"] * 40
    rigid, whole = fit.stages
    assert (rigid.name, whole.name) == ("rigid", "all")
    assert list(rigid.energies) == ["landmarks"]
    assert set(whole.energies) == {
        *("identity", "expression", "texture", "reflectance", "photo", "landmarks")
    }
    after = seen[59][1].coefficients
    for name in ("identity", "expression", "texture", "gamma"):
        assert not dict(after.items())[name].any()
    for name, block in fit.coefficients.items():
        assert (block != dict(after.items())[name]).any(), name
        assert not block.requires_grad
    for stage, steps in ((rigid, 60), (whole, 40)):
        end = torch.stack(list(stage.energies.values())).sum(dim=0)
        assert (end < 0.8 * stage.first).all()
        assert stage.tried.tolist() == [steps, steps] and not stage.converged.any()
    # Kept looks do not change with later steps.
    assert seen[0][1].coefficients.angles_rad.abs().max() == pytest.approx(0.02, rel=1e-3)
    torch.testing.assert_close(seen[-1][1].total, end)


def test_fits_are_repeatable_and_faces_alone_in_a_batch(
    tiny_face_model: FaceModel, photo: FaceBatch
):
    fitter, layout = fitter_of(tiny_face_model), tiny_face_model.layout
    schedule = replace(SHORT, rigid_steps=30, steps=10)
    one, two = (
        layout.join(fit_adam(fitter, photo, schedule, stride=4).coefficients) for _ in range(2)
    )
    assert torch.equal(one, two)
    for item in range(2):
        alone = fit_adam(fitter, photo.rows(torch.tensor([item])), schedule, stride=4)
        torch.testing.assert_close(layout.join(alone.coefficients)[0], one[item], rtol=0, atol=1e-2)


def test_a_start_is_left_as_it_is(
    tiny_face_model: FaceModel, truth: Coefficients, photo: FaceBatch
):
    """And photos without landmarks go without the first stage."""
    before = {name: block.clone() for name, block in truth.items()}
    unmarked = replace(photo, landmarks_px=None)
    fitter, schedule = fitter_of(tiny_face_model), AdamSchedule(rigid_steps=0, steps=2)
    fit = fit_adam(fitter, unmarked, schedule, stride=4, start=truth)
    assert [stage.name for stage in fit.stages] == ["all"]
    assert fit.coefficients.identity == pytest.approx(truth.identity, abs=0.03)
    for name, block in truth.items():
        assert torch.equal(block, before[name]) and not block.requires_grad
    with pytest.raises(ValueError, match="rigid steps need landmarks"):
        fit_adam(fitter, unmarked, SHORT)


def test_gauss_newton_reaches_less_in_a_few_steps(tiny_face_model: FaceModel, photo: FaceBatch):
    fitter = fitter_of(tiny_face_model)
    slow = fit_adam(fitter, photo, replace(SHORT, rigid_steps=200, steps=100), stride=4)
    fast = fitter.fit(photo, PRESETS["fast"])
    ends = [
        fitter.minimise(fit.coefficients, fitter.photo_terms(photo, 4), LOOK).first
        for fit in (fast, slow)
    ]
    assert (ends[0] < ends[1]).all()


def test_photos_of_one_person_share_its_face(tiny_face_model: FaceModel, photo: FaceBatch):
    """One leaf for all: its gradient is that of the sum."""
    fitter = fitter_of(tiny_face_model)
    fit = fit_adam(fitter, photo, AdamSchedule(5, 4), stride=4, one_person=True)
    for name, block in fit.coefficients.items():
        is_shared = name in ("identity", "texture")
        assert torch.equal(block, block[:1].expand_as(block)) == is_shared, name
        assert block.any(), name
    last = fit.stages[-1]
    assert torch.stack(list(last.energies.values())).sum() < last.first.sum()


class Wall:
    """A slope that ends in what is not a number, for each face at another place."""

    def __init__(self, *walls: float) -> None:
        self._walls = torch.tensor(walls)
        self.looks = 0

    def look(self, coefficients: Coefficients) -> Tensor:
        self.looks += 1
        return coefficients.identity[:, 0]

    def energy(self, view: Tensor) -> Tensor:
        return torch.where(view > self._walls, math.nan, -view)


def test_what_is_not_finite_is_never_kept(tiny_face_model: FaceModel):
    """The face that meets it stays before it, where it was; the other goes on as if alone."""
    seen: list[Evaluation] = []
    start, wall = random_face(tiny_face_model, 2, size=0.0), Wall(1.0, 100.0)
    found, report = descend(
        "wall",
        {"wall": wall},
        start,
        30,
        0.1,
        watch=lambda _, evaluation: seen.append(evaluation),
    )
    for evaluation in seen:
        assert evaluation.total.isfinite().all()
        for _, block in evaluation.coefficients.items():
            assert block.isfinite().all()
    assert 0.5 < found.identity[0, 0] <= 1.0
    assert found.identity[1, 0] > 2.5
    assert report.energies["wall"].isfinite().all()
    alone, _ = descend("wall", {"wall": Wall(100.0)}, start.item(1), 30, 0.1)
    assert torch.equal(alone.identity[0], found.identity[1])
    stop, steps = report.tried.tolist()
    assert 5 < stop < 20 and steps == 30
    for evaluation in seen[stop - 1 :]:
        assert torch.equal(evaluation.coefficients.identity[0], found.identity[0])
    # The start, each step, and once more for the step that was taken back.
    assert wall.looks == 1 + 30 + 1


def test_steps_end_where_no_face_goes_on(tiny_face_model: FaceModel):
    start = random_face(tiny_face_model, 2, size=0.0)
    wall = Wall(0.5, 1.0)
    found, report = descend("wall", {"wall": wall}, start, 1000, 0.1)
    assert wall.looks < 30 and max(report.tried.tolist()) < 20
    assert (found.identity[:, 0] <= torch.tensor([0.5, 1.0])).all()
    # Of one person: where one photo's energy ends, all do.
    wall = Wall(0.5, 100.0)
    found, report = descend("wall", {"wall": wall}, start, 1000, 0.1, shared=("identity",))
    assert found.identity[0, 0] == found.identity[1, 0] <= 0.5
    assert wall.looks < 20 and report.tried[0] == report.tried[1] < 20
    # A start that is no face's is not led anywhere.
    lost = replace(start, identity=torch.full_like(start.identity, math.nan))
    found, report = descend("wall", {"wall": Wall(1.0, 1.0)}, lost, 10, 0.1)
    assert report.tried.tolist() == [0, 0]


def test_the_schedule_is_the_public_one():
    schedule = AdamSchedule()
    assert (schedule.rigid_steps, schedule.steps) == (1000, 500)
    assert (schedule.rigid_rate, schedule.rate) == (0.01, 0.01)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rigid_steps": -1}, "rigid_steps is -1"),
        ({"steps": -5}, "steps is -5"),
        ({"next_steps": -2}, "next_steps is -2"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rigid_rate": math.nan}, "rigid_rate is nan"),
    ],
)
def test_schedules_that_lead_nowhere_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        AdamSchedule(**wrong)
