"""What fitting minimises: its terms, their weights, and the coefficients they look at.

    E = w_photo  sum_p m_p rho(|rendering_p - photo_p|) / sum_p m_p      p: pixels, m: skin
      + w_landmarks  sum_k w_k |projected_k - given_k|^2 / sum_k w_k     in pixels of a 224 crop
      + w_identity |id|^2 + w_expression |exp - usual|^2 + w_texture |tex|^2      in standard
                                                             deviations, by the usual covariance
      + w_light_colour  variance of the light over the channels
      + w_light  mean square of the light against the constant one
      + w_reflectance  variance of the albedo over the skin
  + w_focal  log(focal length / given one)^2, in fits that look for it

with rho(e) = tau log(1 + e / tau), tau = `robust_colour`: small differences count by their size,
those of hair, glasses and hands ever less. An infinite tau gives the terms of the trainer
(`models.losses`). About the eyes tau is less where the photo is the darker, down to `dark_lids` of
it: what the face model lacks there, lashes, rims and shadows of lids, is dark, and so is an open
eye. Of photos that the face explains well w_photo is a multiple (`trust`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.landmarks import INNER, JAW, LIDS
from options.fitting_weights import FitWeights


def landmark_shares(weights: FitWeights) -> Float[Tensor, " 68"]:
    """Weight of each landmark, sum 1; zero for all if none has any."""
    shares = torch.ones(68)
    shares[JAW] = weights.w_jaw
    shares[28:31] = shares[48:68] = weights.w_mouth
    shares[list(LIDS)] = weights.w_lids
    return shares / shares.sum().clamp(min=1e-12)


@dataclass(frozen=True)
class PixelCosts:
    """What pixels cost, to the second order in their residuals r: gradient w q, Hessian about w."""

    costs: Float[Tensor, "batch pixels"]
    weights: Float[Tensor, "batch pixels"]
    """w, rho'(|r|) / |r|, bounded where r vanishes."""
    pulls: Float[Tensor, "batch pixels 3"]
    """q: the residuals, and about the eyes what the change of tau with them adds."""


def pixel_costs(
    residuals: Float[Tensor, "batch pixels 3"],
    about_eyes: Bool[Tensor, "batch pixels"],
    weights: FitWeights,
) -> PixelCosts:
    """What each pixel's residual costs, and how that changes with it.

    How far a pixel is suspected of showing what the face model lacks follows the cosine s between
    its residual and grey u, from none at a right angle to all of `dark_lids` where the photo is
    darker in all channels alike:

        tau = robust_colour dark_lids^max(s, 0)
        d tau = tau log(dark_lids) (u - s r / |r|) . dr / |r|

    Args:
        residuals: rendering minus photo, in [-1, 1].
        about_eyes: which pixels show what surrounds an eye.
        weights: of the terms.
    """
    distance, tau = torch.linalg.vector_norm(residuals, dim=-1), weights.robust_colour
    if weights.dark_lids == 1 or math.isinf(tau):
        return PixelCosts(*robust(distance, tau), residuals)
    safe = distance.clamp(min=1e-9)
    grey = 1 / math.sqrt(3)
    cosine = about_eyes * (grey * residuals.sum(dim=-1) / safe).clamp(min=0)
    taus = tau * weights.dark_lids**cosine
    cost, weight = robust(distance, taus)
    by_tau = cost / taus - distance / (taus + distance)
    by_cosine = (cosine > 0) * by_tau * taus * math.log(weights.dark_lids)
    turn = grey - (cosine / safe)[..., None] * residuals
    return PixelCosts(cost, weight, residuals + (by_cosine / (safe * weight))[..., None] * turn)


def trust(unexplained: Float[Tensor, " batch"], weights: FitWeights) -> Float[Tensor, " batch"]:
    """How many times w_photo counts for photos that faces explain so well, 1 to `MOST_TRUST`.

    Least squares weigh by the inverse of the variance. That of most photos is what hair, light and
    skin show and no face model knows, whatever the shape, and is in w_photo.

    Args:
        unexplained: of each photo (`photometric.unexplained`); NaN, where nothing is seen, gives 1.
        weights: of the terms.
    """
    factors = (weights.trusted_colour / unexplained.clamp(min=1e-9)).square()
    return factors.nan_to_num(nan=1.0).clamp(1, MOST_TRUST)


MOST_TRUST = 4.0
"""Times w_photo."""


def robust(distance: Tensor, tau: float | Tensor) -> tuple[Tensor, Tensor]:
    """rho(e) of colour distances, and rho'(e) / e, the weight of a pixel's squared residual.

    The weight is bounded where the distance vanishes, so that no pixel rules the others.
    """
    least = distance.clamp(min=LEAST_DISTANCE)
    if isinstance(tau, float) and math.isinf(tau):
        return distance, least.reciprocal()
    return tau * torch.log1p(distance / tau), (least * (1 + distance / tau)).reciprocal()


LEAST_DISTANCE = 0.01
"""Colour distance below which residuals count as their squares."""

assert INNER.start == JAW.stop == 17  # what `landmark_shares` counts on
