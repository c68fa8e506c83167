"""Supervision by true coefficients: zero at the truth, each term against numpy, gradients."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel
from models.lighting import irradiance
from models.stages import pose_face, shape_face
from models.truth import RECIPE, TruthObjective
from options.loss_options import LabelOptions, TruthOptions

TERMS = {
    "w_truth_shape": "t_shape",
    "w_truth_pose": "t_pose",
    "w_truth_px": "t_px",
    "w_truth_albedo": "t_albedo",
    "w_truth_light": "t_light",
    "w_truth_coefficients": "t_coeff",
}
EVERYTHING = TruthOptions(**dict.fromkeys(TERMS, 1.0))


def make(model: FaceModel, options: TruthOptions = EVERYTHING) -> TruthObjective:
    return TruthObjective(model, Camera.rnet(), options)


def two_faces(model: FaceModel, batch: int = 2) -> tuple[Tensor, Tensor]:
    size = model.layout.size
    return 0.2 * torch.randn(batch, size), 0.2 * torch.randn(batch, size)


def test_it_is_zero_at_the_truth_with_finite_gradients(tiny_face_model: FaceModel):
    true, _ = two_faces(tiny_face_model)
    predicted = true.clone().requires_grad_()
    terms = make(tiny_face_model)(tiny_face_model.layout.split(predicted), true)
    assert list(terms) == list(TERMS.values())
    assert all(float(term.detach()) == pytest.approx(0, abs=1e-6) for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert predicted.grad is not None and torch.isfinite(predicted.grad).all()


def test_each_weight_scales_its_own_term(tiny_face_model: FaceModel):
    predicted, true = two_faces(tiny_face_model)
    split = tiny_face_model.layout.split(predicted)
    base = make(tiny_face_model)(split, true)
    weights = {f.name for f in fields(TruthOptions) if f.name.startswith("w_")}
    assert weights == TERMS.keys()
    for weight, term in TERMS.items():
        changed = make(tiny_face_model, replace(EVERYTHING, **{weight: 5.0}))(split, true)
        for name, value in base.items():
            factor = 5 if name == term else 1
            assert float(changed[name]) == pytest.approx(factor * float(value), rel=1e-5), name


def test_each_block_moves_the_terms_that_see_it(tiny_face_model: FaceModel):
    sees = {
        "identity": {"t_shape", "t_pose", "t_px", "t_coeff"},
        "expression": {"t_shape", "t_pose", "t_px", "t_coeff"},
        "texture": {"t_albedo", "t_coeff"},
        "angles_rad": {"t_pose", "t_px"},
        "gamma": {"t_light"},
        "translation_dm": {"t_px"},
    }
    _, true = two_faces(tiny_face_model)
    objective = make(tiny_face_model)
    for name, part in tiny_face_model.layout.slices.items():
        predicted = true.clone()
        predicted[:, part] += 0.1
        terms = objective(tiny_face_model.layout.split(predicted), true)
        moved = {term for term, value in terms.items() if float(value) > 1e-6}
        assert moved == sees[name], name


def test_terms_equal_the_stages_of_the_reconstruction(tiny_face_model: FaceModel):
    """With all of the 224 vertices as probes the distances are those of the decoded meshes."""
    predicted, true = (tiny_face_model.layout.split(flat) for flat in two_faces(tiny_face_model))
    terms = make(tiny_face_model)(predicted, tiny_face_model.layout.join(true))
    camera = Camera.rnet()

    def stages(coefficients):
        shaped = shape_face(tiny_face_model, coefficients)
        posed = pose_face(tiny_face_model, shaped, coefficients, camera)
        return shaped, posed

    (shaped, posed), (true_shaped, true_posed) = stages(predicted), stages(true)

    def points(vertices: Tensor) -> np.ndarray:
        return torch.cat([vertices, tiny_face_model.landmarks(vertices)], dim=1).numpy()

    difference = points(shaped.vertices_object) - points(true_shaped.vertices_object)
    expected = np.linalg.norm(difference, axis=-1).mean()
    assert float(terms["t_shape"]) == pytest.approx(expected, rel=1e-4)

    moved = posed.vertices_camera + predicted.translation_dm[:, None] * torch.tensor([-1, -1, 1])
    true_moved = true_posed.vertices_camera + true.translation_dm[:, None] * torch.tensor(
        [-1, -1, 1]
    )
    expected = np.linalg.norm(points(moved) - points(true_moved), axis=-1).mean()
    assert float(terms["t_pose"]) == pytest.approx(expected, rel=1e-4)

    def pixels(vertices_camera: Tensor) -> np.ndarray:
        return camera.project(torch.from_numpy(points(vertices_camera))).numpy()

    distance = np.linalg.norm(
        pixels(posed.vertices_camera) - pixels(true_posed.vertices_camera), axis=-1
    )
    weights = np.concatenate([np.ones(224 + 17), np.full(51, 2.0)])
    expected = (distance * weights).sum() / (2 * weights.sum())
    assert float(terms["t_px"]) == pytest.approx(expected, rel=1e-4)

    expected = (shaped.albedo - true_shaped.albedo).abs().mean()
    assert float(terms["t_albedo"]) == pytest.approx(float(expected), rel=1e-4)

    expected = np.concatenate(
        [
            (predicted.identity - true.identity).numpy() ** 2,
            ((predicted.expression - true.expression).numpy() / [0.5, 2.0]) ** 2,
            (predicted.texture - true.texture).numpy() ** 2,
        ],
        axis=1,
    ).mean()
    assert float(terms["t_coeff"]) == pytest.approx(expected, rel=1e-4)


def test_light_is_compared_on_the_mean_face_in_the_true_pose(tiny_face_model: FaceModel):
    flat, other = two_faces(tiny_face_model)
    true = tiny_face_model.layout.split(flat)
    guess = tiny_face_model.layout.split(other)
    predicted = replace(true, gamma=guess.gamma, angles_rad=guess.angles_rad)
    zero = tiny_face_model.layout.zeros(2)
    turned = replace(zero, angles_rad=true.angles_rad)
    normals = pose_face(
        tiny_face_model, shape_face(tiny_face_model, zero), turned, Camera.rnet()
    ).normals
    expected = (irradiance(normals, predicted.gamma) - irradiance(normals, true.gamma)).abs()
    terms = make(tiny_face_model)(predicted, flat)
    assert float(terms["t_light"]) == pytest.approx(float(expected.mean()), rel=1e-4)


def test_it_is_active_with_any_weight(tiny_face_model: FaceModel):
    assert not make(tiny_face_model, TruthOptions()).active
    for weight in TERMS:
        assert make(tiny_face_model, TruthOptions(**{weight: 0.1})).active


def test_gradient(tiny_face_model: FaceModel):
    model = tiny_face_model.double()
    objective = TruthObjective(model, Camera.rnet().to(torch.float64), EVERYTHING).double()
    predicted, true = (flat.double() for flat in two_faces(tiny_face_model, batch=1))

    def total(flat: Tensor) -> Tensor:
        return torch.stack(list(objective(model.layout.split(flat), true).values())).sum()

    assert torch.autograd.gradcheck(total, (predicted.requires_grad_(),))


def test_nothing_enters_checkpoints_and_nothing_is_trained(tiny_face_model: FaceModel):
    objective = make(tiny_face_model)
    assert not objective.state_dict() and not list(objective.parameters())


def test_probes_are_always_the_same(open_face_model: FaceModel):
    torch.manual_seed(1)
    first = make(open_face_model)
    torch.manual_seed(2)
    second = make(open_face_model)
    assert first.mean_points.numel() == 3 * (400 + 68)
    assert torch.equal(first.mean_points, second.mean_points)


def test_the_weight_of_fits_falls_in_a_line_to_nothing():
    labels = LabelOptions(w_coeff=2.0, coeff_until=0.4)
    shares = [0.0, 0.1, 0.2, 0.4, 0.7, 1.0]
    assert [labels.weight(share) for share in shares] == pytest.approx([2, 1.5, 1, 0, 0, 0])
    assert LabelOptions().weight(0.0) == 0
    for w_coeff in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="--w_coeff is "):
            LabelOptions(w_coeff=w_coeff)
    for until in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="--coeff_until is "):
            LabelOptions(coeff_until=until)


def test_fits_have_the_terms_of_truth_and_its_weights_if_it_has_some(tiny_face_model: FaceModel):
    predicted, fits = two_faces(tiny_face_model)
    split = tiny_face_model.layout.split(predicted)
    of_truth = make(tiny_face_model, RECIPE)(split, fits)
    for options, expected in (
        (EVERYTHING, make(tiny_face_model)(split, fits)),
        (TruthOptions(), of_truth),
    ):
        found = make(tiny_face_model, options).weighed(split, fits, 0.25)
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(0.25 * float(value), rel=1e-5), name


def test_weights_of_fits_are_those_of_the_recipe():
    text = (Path(__file__).resolve().parents[2] / "configs/synthetic.yaml").read_text("utf-8")
    recipe = yaml.safe_load(text)
    assert {name: getattr(RECIPE, name) for name in TERMS} == {name: recipe[name] for name in TERMS}
