"""Priors are the losses of the trainer, weighted, and the natural expression; all are exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.face_model import FaceModel, FaceModelData, NaturalExpression
from models.fitting.priors import Nearness, Quadratic, priors, step_rates
from models.losses import coefficient_regularisation, gamma_loss, reflectance_loss
from models.parameters import Coefficients
from options.fitting_weights import PUBLIC_WEIGHTS, FitWeights
from tests.models.fitting.faces import by_steps, random_face

WEIGHTS = FitWeights(
    w_identity=0.3,
    w_expression=0.7,
    w_texture=0.2,
    w_light_colour=5.0,
    w_light=0.4,
    w_reflectance=2.0,
)


def energy(term: Quadratic, coefficients: Coefficients) -> torch.Tensor:
    return term.energy(term.look(coefficients))


NATURAL = NaturalExpression(
    np.array([0.3, -0.2], np.float32), np.array([[0.5, 0.3], [0.3, 0.4]], np.float32)
)


@pytest.fixture
def model(tiny_face_model: FaceModel) -> FaceModel:
    return tiny_face_model.double()


@pytest.fixture
def natural(tiny_face_data: FaceModelData) -> FaceModel:
    return FaceModel(replace(tiny_face_data, natural_expression=NATURAL)).double()


@pytest.fixture
def faces(model: FaceModel) -> Coefficients:
    return random_face(model, 3).to(torch.float64)


def test_blocks_count_in_standard_deviations(model: FaceModel, faces: Coefficients):
    terms = priors(model, WEIGHTS)
    found = sum(energy(terms[name], faces) for name in ("identity", "expression", "texture"))
    for number in range(3):
        expected = coefficient_regularisation(
            faces.item(number),
            w_id=0.3,
            w_exp=0.7,
            w_tex=0.2,
            identity_sigma=model.identity_sigma,
            expression_sigma=model.expression_sigma,
            texture_sigma=model.albedo_sigma,
        )
        assert found[number] == pytest.approx(expected.item())  # pyright: ignore


def test_the_usual_expression_costs_nothing_and_others_by_how_rare_they_are(natural: FaceModel):
    """Minus twice the logarithm of the normal density, weighted."""
    term = priors(natural, WEIGHTS)["expression"]
    faces = natural.layout.zeros(40).to(torch.float64)
    random = np.random.default_rng(1).normal(size=(39, 2))
    expression = torch.from_numpy(np.vstack([NATURAL.mean, random]))
    found = energy(term, replace(faces, expression=expression))
    assert found[0].item() == pytest.approx(0, abs=1e-6)
    sigma = natural.expression_sigma
    spread = torch.from_numpy(NATURAL.covariance).double() + 0.02 * torch.diag(sigma.square())
    mean = torch.from_numpy(NATURAL.mean).double()
    density = torch.distributions.MultivariateNormal(mean, spread).log_prob
    torch.testing.assert_close(found, 0.7 * 2 * (density(mean) - density(expression)))


def test_the_neutral_face_can_be_the_usual_one(natural: FaceModel, model: FaceModel):
    faces = random_face(model, 3).to(torch.float64)
    neutral = priors(natural, replace(WEIGHTS, natural_expression=False))["expression"]
    assert torch.equal(energy(neutral, faces), energy(priors(model, WEIGHTS)["expression"], faces))
    without = replace(WEIGHTS, w_expression=0.0)
    assert "expression" not in priors(natural, without) | priors(model, without)


def test_light_is_held_to_grey_and_to_the_constant_one(model: FaceModel, faces: Coefficients):
    found = energy(priors(model, WEIGHTS)["light"], faces)
    for number in range(3):
        gamma = faces.item(number).gamma
        expected = 5.0 * gamma_loss(gamma) + 0.4 * gamma.square().mean()
        assert found[number].item() == pytest.approx(expected.item())


def test_reflectance_is_the_variance_of_the_skin(model: FaceModel, faces: Coefficients):
    found = energy(priors(model, WEIGHTS)["reflectance"], faces)
    for number in range(3):
        albedo = model.albedo(faces.item(number).texture)
        expected = 2.0 * reflectance_loss(albedo, model.skin_mask)
        assert found[number].item() == pytest.approx(expected.item())
    assert (found > 0.1 * found.max()).all()


@pytest.mark.parametrize("kind", ["model", "natural"])
def test_equations_are_exact(kind: str, faces: Coefficients, request: pytest.FixtureRequest):
    """So the energy anywhere else is the second-order model's."""
    model: FaceModel = request.getfixturevalue(kind)
    step = torch.randn(3, model.layout.size, dtype=torch.float64)
    for term in priors(model, WEIGHTS).values():
        flat = term.look(faces).requires_grad_()
        found = term.equations(flat.detach())
        (gradient,) = torch.autograd.grad(term.energy(flat).sum(), flat)
        torch.testing.assert_close(found.gradient, gradient)
        product = (found.hessian @ step[..., None])[..., 0]
        second_order = (found.gradient * step).sum(dim=1) + (product * step).sum(dim=1) / 2
        change = term.energy(flat.detach() + step) - term.energy(flat.detach())
        torch.testing.assert_close(change, second_order)


def test_pose_has_no_prior(model: FaceModel, faces: Coefficients):
    pose = [model.layout.slices[name] for name in ("angles_rad", "translation_dm")]
    for term in priors(model, WEIGHTS).values():
        found = term.equations(term.look(faces))
        for part in pose:
            assert not found.gradient[:, part].any() and not found.hessian[:, part].any()


def test_weights_of_zero_leave_their_terms_out(model: FaceModel):
    none = FitWeights(
        w_identity=0.0,
        w_expression=0.0,
        w_texture=0.0,
        w_light_colour=0.0,
        w_light=0.0,
        w_reflectance=0.0,
    )
    assert not priors(model, none)
    assert set(priors(model, PUBLIC_WEIGHTS)) == {
        "identity",
        "expression",
        "texture",
        "reflectance",
    }


def test_parts_of_priors(model: FaceModel, faces: Coefficients):
    """Over fewer blocks a term is what these add to it; without any of them there is none."""
    layout = model.layout.only(("expression", "gamma"))
    mean = model.layout.zeros(3).to(torch.float64)
    free = {name: dict(faces.items())[name] for name in layout.slices}
    alone = Coefficients(**{**dict(mean.items()), **free})
    for name, term in priors(model, WEIGHTS).items():
        part = term.only(layout)
        if name not in ("expression", "light"):
            assert part is None
            continue
        assert part is not None
        torch.testing.assert_close(energy(part, faces), energy(term, alone) - energy(term, mean))


def test_nearness_is_measured_in_angles_and_its_steps_turn(model: FaceModel, faces: Coefficients):
    layout = model.layout.only(("expression", "angles_rad", "translation_dm"))
    weights = torch.rand(layout.size, dtype=torch.float64)
    term = Nearness(layout, weights, torch.randn(3, layout.size, dtype=torch.float64))
    offset = layout.join(faces) - term.centre
    torch.testing.assert_close(term.energy(faces), (weights * offset.square()).sum(dim=1))
    kept = torch.cat(
        [torch.arange(model.layout.size)[model.layout.slices[n]] for n in layout.slices]
    )
    found = by_steps(model, lambda at: term.energy(term.look(at)), faces)[:, kept]
    torch.testing.assert_close(term.equations(faces).gradient, found, rtol=1e-6, atol=1e-8)
    rates = by_steps(model, layout.join, faces)[..., kept]
    torch.testing.assert_close(step_rates(layout, faces), rates, rtol=1e-6, atol=1e-8)
    expected = 2 * rates.mT @ (weights[:, None] * rates)
    torch.testing.assert_close(term.equations(faces).hessian, expected, rtol=1e-6, atol=1e-8)
