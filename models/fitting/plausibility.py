"""Whether a fit has found the face that the photo shows."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from models.batch import FaceBatch
from models.fitting.fitter import FaceFitter, FitTerms
from models.fitting.gauss_newton import StepRules
from models.fitting.light_term import LightTerm
from models.fitting.pixel_rows import Mixer
from models.parameters import Coefficients

_RULES = StepRules(most=15, least_decrease=1e-3, damping=1e-4)


@torch.no_grad()
def left_of_flat(
    fitter: FaceFitter, batch: FaceBatch, coefficients: Coefficients, stride: int = 4
) -> Float[Tensor, " batch"]:
    """Colour distance over that of the same shape in one colour, each in the light that suits it.

    Brows, eyes and lips where the photo has them lower it; where the landmarks are another face's,
    or the face lies elsewhere or upside down, they are no better than plain skin, and it comes near
    to 1. The distance itself tells less: it is large for beards, hard shadows and make-up too.

    Args:
        fitter: face model, camera, renderer and weights.
        batch: crops in [0, 1] with skin masks.
        coefficients: of the fits.
        stride: side of the squares of pixels that are averaged.
    """
    # Dark eyes are the best evidence of a face: the rule that suspects them in a fit would take it.
    fitter = fitter.weighing(replace(fitter.weights, dark_lids=1.0))
    view = fitter.photo_term(batch, stride).look(coefficients)
    albedo = Mixer(view.corners, view.barycentrics)(view.shaped.albedo)
    mean = (albedo * view.shares[..., None]).sum(dim=1, keepdim=True)
    layout = fitter.face_model.layout.only(("gamma",))

    def left(albedo: Float[Tensor, "batch vertices 3"]) -> Float[Tensor, " batch"]:
        photo = LightTerm(view, fitter.weights, albedo)
        terms = FitTerms(layout, {**fitter.priors_of(layout), "photo": photo})
        return fitter.minimise(coefficients, terms, _RULES).evaluation.energies["photo"]

    own = view.shaped.albedo
    return left(own) / left(mean.expand_as(own)).clamp(min=1e-9)
