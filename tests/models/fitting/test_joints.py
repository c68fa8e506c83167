"""Fits of face models with joints: rows by autograd and differences, and that a jaw is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.fitting.adam import fit_adam
from models.fitting.derivatives import FaceDerivatives, LandmarkTables
from models.fitting.energy import landmark_shares
from models.fitting.fitter import PRESETS, FaceFitter, Fit
from models.fitting.gauss_newton import StepRules
from models.fitting.landmark_term import LandmarkTerm
from models.fitting.priors import priors
from models.fitting.problem import FitProblem
from models.fitting.tracking import TRACKED, motion_of, track
from models.parameters import Coefficients
from models.renderer import Renderer
from models.skeleton import SkeletonData
from options.fitting_weights import PUBLIC_WEIGHTS, AdamSchedule, FitWeights, TrackWeights
from tests.models.fitting.faces import HELD_LOOSELY, photo_of, random_face, with_contour
from tests.models.fitting.test_photometric import Scene, weighted_rows, weights_of

RULES = PRESETS["balanced"]


def with_jaw(data: FaceModelData) -> FaceModelData:
    """The same face model with a neck, which carries all, and a jaw, which carries the lower half.

    The jaw hangs from the neck, and its place follows the shape.
    """
    height = data.mean_shape[:, 1]
    jaw = 1 / (1 + np.exp((height + 0.3) * 12))
    random = np.random.default_rng(4)
    return replace(
        data,
        skeleton=SkeletonData(
            names=("neck", "jaw"),
            parents=(-1, 0, 1),
            mean_joints=np.array([[0, -1, -1], [0, -1, -0.8], [0, 0, -0.6]], np.float32),
            joint_basis=(0.02 * random.normal(size=(3, 3, 5))).astype(np.float32),
            weights=np.stack([0 * jaw, 1 - jaw, jaw], axis=1).astype(np.float32),
            pose_basis=(0.01 * random.normal(size=(len(height), 3, 18))).astype(np.float32),
            sigma=np.array([0.05, 0.05, 0.05, 0.2, 0.05, 0.02], np.float32),
        ),
    )


@pytest.fixture
def model(tiny_face_data: FaceModelData) -> FaceModel:
    return FaceModel(with_jaw(tiny_face_data))


def turned(model: FaceModel, batch: int = 2, size: float = 0.5) -> Coefficients:
    faces = random_face(model, batch, size=size)
    joints = torch.zeros(batch, 6)
    joints[:, 3] = torch.linspace(0.15, 0.3, batch)  # the mouth opens
    joints[:, 1] = 0.03
    return replace(faces, joints_rad=joints)


@pytest.mark.parametrize("sliding", [False, True])
def test_landmark_equations_are_those_of_autograd(sliding: bool, tiny_face_data: FaceModelData):
    data = with_jaw(with_contour(tiny_face_data) if sliding else tiny_face_data)
    model = FaceModel(data).double()
    at, weights = turned(model).to(torch.float64), FitWeights()
    given = 112 + 30 * torch.randn(2, 68, 2, dtype=torch.float64)
    camera = Camera.rnet().to(torch.float64)
    term = LandmarkTerm(model, LandmarkTables.of(model), camera, weights, given, model.layout)
    problem = FitProblem(model.layout, {})
    step = torch.zeros(2, model.layout.size, dtype=torch.float64)

    def residuals(step: Tensor) -> Tensor:
        faces = problem.retract(at, step)
        posed = camera_points(model, camera, faces)
        roots = (weights.w_landmarks * landmark_shares(weights).double()).sqrt()
        return ((posed - given) * roots[:, None]).flatten(1)

    found = term.equations(term.look(at))
    torch.testing.assert_close(
        term.energy(term.look(at)), residuals(step).square().sum(dim=1), rtol=1e-5, atol=0
    )
    jacobian = torch.autograd.functional.jacobian(lambda s: residuals(s).sum(dim=0), step)
    rows = jacobian.permute(1, 0, 2)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(found.hessian, 2 * rows.mT @ rows, rtol=1e-5, atol=1e-6)
    gradient = 2 * (rows.mT @ residuals(step)[..., None])[..., 0]
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-5, atol=1e-6)
    assert found.gradient[:, model.layout.slices["joints_rad"]].abs().min() > 1e-6


def camera_points(model: FaceModel, camera: Camera, faces: Coefficients) -> Tensor:
    from models.stages import pose_face, shape_face

    return pose_face(model, shape_face(model, faces), faces, camera).landmarks_px


def test_every_row_of_pixels(model: FaceModel, monkeypatch: pytest.MonkeyPatch):
    """Exact about any face: the tables are made for it."""
    scene = Scene.of(model, turned(model, 1))
    rows, _ = weighted_rows(scene, monkeypatch)
    expected = weights_of(scene.view).sqrt()[..., None, None] * scene.jacobian()
    assert scene.view.shows[scene.view.attention > 0].all()
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-7)
    assert (expected.abs().amax(dim=(0, 1, 2)) > 1e-5).all()


def test_a_jaw_that_is_held_fixed_has_no_column(model: FaceModel):
    batch = photo_of(model, turned(model))
    fitter = FaceFitter(model, Camera.rnet(), Renderer())
    start = turned(model)
    free = ("expression", "angles_rad", "gamma", "translation_dm")
    terms, every = fitter.photo_terms(batch, 4, free), fitter.photo_terms(batch, 4)
    found, whole = (
        problem.linearise(problem.evaluate(start))
        for problem in (FitProblem(t.layout, t.by_name) for t in (terms, every))
    )
    kept = torch.cat([torch.arange(every.layout.size)[every.layout.slices[n]] for n in free])
    torch.testing.assert_close(
        found.hessian, whole.hessian[:, kept][:, :, kept], rtol=1e-4, atol=1e-5
    )


def test_turned_joints_cost_as_expressions_do(model: FaceModel):
    term = priors(model, FitWeights(w_expression=0.3))["joints_rad"]
    faces = turned(model)
    assert model.skeleton is not None and faces.joints_rad is not None
    expected = 0.3 * (faces.joints_rad / model.skeleton.sigma).square().sum(dim=1)
    torch.testing.assert_close(term.energy(term.look(faces)), expected)


def test_an_open_jaw_is_found(model: FaceModel):
    """By landmarks, then photo; and no stage raises its energy."""
    truth = turned(model)
    fitter = FaceFitter(model, Camera.rnet(), Renderer(), replace(HELD_LOOSELY, w_jaw=0.5))
    batch = photo_of(model, truth)
    fit = fitter.fit(batch, RULES)
    assert fit.coefficients.joints_rad is not None and truth.joints_rad is not None
    assert fit.coefficients.joints_rad[:, 3] == pytest.approx(truth.joints_rad[:, 3], abs=0.05)
    assert batch.landmarks_px is not None
    drawn = camera_points(model, fitter.camera, fit.coefficients)
    assert (drawn - batch.landmarks_px).norm(dim=-1).mean() < 0.3
    for stage in fit.stages:
        assert (torch.stack(list(stage.energies.values())).sum(dim=0) <= stage.first).all()


@pytest.mark.slow
def test_presets_are_ordered_by_energy_and_pass_the_public_steps(model: FaceModel):
    """As without joints, though their derivatives are made anew for every step."""
    fitter = FaceFitter(model, Camera.rnet(), Renderer(), PUBLIC_WEIGHTS)
    batch = photo_of(model, turned(model, 1))

    def energy(fit: Fit) -> float:
        whole = fitter.photo_terms(batch, 1)
        return float(fitter.minimise(fit.coefficients, whole, StepRules(most=0)).first)

    ends = [energy(fitter.fit(batch, PRESETS[name])) for name in ("fast", "balanced", "best")]
    assert ends[2] <= 1.001 * ends[1] <= 1.001**2 * ends[0]
    steps = AdamSchedule(rigid_steps=60, steps=60, rigid_rate=0.02, rate=0.02)
    public = fit_adam(fitter, batch, steps, stride=2)
    assert public.coefficients.joints_rad is not None and public.coefficients.joints_rad.any()
    assert max(ends) < energy(public)


def test_joints_are_followed_from_frame_to_frame(model: FaceModel):
    truth = turned(model, 1)
    assert truth.joints_rad is not None and "joints_rad" in TRACKED
    fitter = FaceFitter(model, Camera.rnet(), Renderer(), HELD_LOOSELY)
    shut = replace(truth, joints_rad=torch.zeros_like(truth.joints_rad))
    loose = TrackWeights(near_expression=1e-4, near_rotation=0.1, near_translation=0.1)
    frame = track(fitter, shut, photo_of(model, truth), RULES[0].rules, loose)
    found = frame.minimum.evaluation.coefficients
    assert found.joints_rad is not None
    assert found.joints_rad[0, 3] == pytest.approx(0.15, abs=0.05)
    assert frame.motion.shape == motion_of(found)[0].shape == (2 + 3 + 3 + 6,)
    assert frame.certainty.shape == (14, 14)


def test_tables_are_those_of_the_face(model: FaceModel):
    """At rest, its points move as in the tables that linear models share."""
    tables = FaceDerivatives.of(model)
    at_rest = random_face(model, 1, size=0.0)
    assert at_rest.joints_rad is not None and not at_rest.joints_rad.any()
    posed = tables.posed(model, at_rest, model.layout)
    torch.testing.assert_close(posed.surface[..., :5], tables.surface, rtol=1e-4, atol=1e-5)
    assert posed.surface.shape[2] == 5 + 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_fits_joints_as_the_cpu_does(model: FaceModel):
    batch, fits = photo_of(model, turned(model)), []
    for device in ("cpu", "cuda"):
        camera = Camera.rnet().to(device)
        fitter = FaceFitter(model.to(device), camera, Renderer("torch"), HELD_LOOSELY)
        fits.append(fitter.fit(batch.to(device), RULES))
    on_cpu, on_gpu = (fit.coefficients for fit in fits)
    assert on_gpu.identity.is_cuda
    assert on_cpu.joints_rad is not None and on_gpu.joints_rad is not None
    torch.testing.assert_close(on_gpu.joints_rad.cpu(), on_cpu.joints_rad, rtol=0, atol=0.02)
    torch.testing.assert_close(on_gpu.angles_rad.cpu(), on_cpu.angles_rad, rtol=0, atol=0.02)
