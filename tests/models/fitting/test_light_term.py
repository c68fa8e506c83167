"""The light of faces that stay where they are: the photometric term's cost, autograd's slopes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.energy import LEAST_DISTANCE, pixel_derivatives
from models.fitting.fitter import LIGHT_RULES, FaceFitter
from models.fitting.light_term import LightTerm
from models.parameters import Coefficients
from models.renderer import Renderer
from tests.models.fitting.faces import moved, photo_of, random_face


@pytest.fixture
def fitter(tiny_face_model: FaceModel) -> FaceFitter:
    return FaceFitter(tiny_face_model, Camera.rnet(), Renderer())


@pytest.fixture
def truth(tiny_face_model: FaceModel) -> Coefficients:
    return random_face(tiny_face_model, 2, size=0.7)


def lit_by(coefficients: Coefficients, size: float, seed: int = 0) -> Coefficients:
    draw = torch.Generator().manual_seed(seed)
    change = size * torch.randn(coefficients.gamma.shape, generator=draw)
    return replace(coefficients, gamma=coefficients.gamma + change)


@pytest.mark.parametrize("size", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("shaded", [False, True])
def test_cost_is_that_of_rendering_again(
    size: float, shaded: bool, fitter: FaceFitter, truth: Coefficients
) -> None:
    """Clipped pixels, which strong light makes, included; in the face's own shadow too."""
    fitter = fitter.shaded() if shaded else fitter
    photo = fitter.photo_term(photo_of(fitter.face_model, truth), 4)
    start = moved(fitter.face_model, truth, size=0.2)
    term = LightTerm(photo.look(start), fitter.weights)
    other = lit_by(start, size)
    torch.testing.assert_close(
        term.energy(term.look(other)), photo.energy(photo.look(other)), rtol=1e-5, atol=1e-6
    )


def test_equations_are_those_of_autograd(fitter: FaceFitter, truth: Coefficients) -> None:
    """The gradient of the cost; the Hessian of the squared residuals, weighted as they are here."""
    photo = fitter.photo_term(photo_of(fitter.face_model, truth), 16)
    view = photo.look(moved(fitter.face_model, truth, size=0.2))
    at = lit_by(view.coefficients, 0.1)
    # All as if about the eyes, and none so near that its weight is bounded.
    apart = LightTerm(view, fitter.weights).look(at).residuals.norm(dim=-1) > 2 * LEAST_DISTANCE
    assert apart.double().mean() > 0.5
    everywhere = torch.ones_like(view.about_eyes)
    view = replace(view, about_eyes=everywhere, attention=view.attention * apart)
    for weights in (fitter.weights, replace(fitter.weights, robust_colour=float("inf"))):
        term = LightTerm(view, weights)
        found = pixel_derivatives(term.look(at).residuals, everywhere, weights)
        roots = (weights.w_photo * view.shares * found.weights).sqrt()[..., None]
        gamma = at.gamma.clone().requires_grad_()
        lit = term.look(replace(at, gamma=gamma))
        (gradient,) = torch.autograd.grad(term.energy(lit).sum(), gamma, retain_graph=True)
        weighted = (roots * lit.residuals).flatten(1)
        equations = term.equations(term.look(at))
        for face in range(2):
            rows = torch.stack(
                [
                    torch.autograd.grad(value, gamma, retain_graph=True)[0][face]
                    for value in weighted[face]
                ]
            )
            for found_here, expected in (
                (equations.hessian[face], rows.T @ rows),
                (equations.gradient[face], gradient[face]),
            ):
                size = float(expected.abs().max())
                torch.testing.assert_close(found_here, expected, rtol=0, atol=1e-4 * size)


def test_the_light_of_a_known_face_is_found(fitter: FaceFitter, truth: Coefficients) -> None:
    """And nothing else moves."""
    weights = replace(fitter.weights, w_light=1e-6, w_light_colour=0.0)
    loose = FaceFitter(fitter.face_model, fitter.camera, fitter.renderer, weights)
    dark = replace(truth, gamma=torch.zeros_like(truth.gamma))
    batch = photo_of(fitter.face_model, truth)
    rules = replace(LIGHT_RULES, most=30, least_decrease=1e-6)
    found = loose.minimise(dark, loose.light_terms(batch, 2, dark), rules).evaluation.coefficients
    for name, block in found.items():
        if name != "gamma":
            assert torch.equal(block, dict(truth.items())[name])
    # Averaged squares of pixels are not quite the colours of their middles.
    relit = [photo_of(fitter.face_model, faces).images for faces in (found, truth)]
    assert (relit[0] - relit[1]).abs().max() < 0.02
