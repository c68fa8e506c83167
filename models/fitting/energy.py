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
(`models.losses`). About the eyes tau is `dark_lids` times as large where the photo is the darker:
what the face model lacks there, lashes, rims and shadows of lids, is dark, and so is an open eye.
Of photos that the face explains well w_photo is a multiple (`trust`).
"""

from __future__ import annotations

import math

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


def pixel_costs(
    residuals: Float[Tensor, "batch pixels 3"],
    about_eyes: Bool[Tensor, "batch pixels"],
    weights: FitWeights,
) -> tuple[Float[Tensor, "batch pixels"], Float[Tensor, "batch pixels"]]:
    """What pixels cost, and the weights of their squared residuals: `robust` of each.

    Args:
        residuals: rendering minus photo, in [-1, 1].
        about_eyes: which pixels show the surroundings of an eye, or the eye.
        weights: of the terms.
    """
    distance, tau = torch.linalg.vector_norm(residuals, dim=-1), weights.robust_colour
    if weights.dark_lids == 1 or math.isinf(tau):
        return robust(distance, tau)
    darker = about_eyes & (residuals.detach().sum(dim=-1) > 0)
    return robust(
        distance, torch.full_like(distance, tau).masked_fill(darker, weights.dark_lids * tau)
    )


def trust(energies: Float[Tensor, " batch"], weights: FitWeights) -> Float[Tensor, " batch"]:
    """How many times w_photo counts for photos that faces explain so well, 1 to `MOST_TRUST`.

    Least squares weigh by the inverse of the variance. That of most photos is what hair, light and
    skin show and no face model knows, whatever the shape, and is in w_photo.

    Args:
        energies: of the photometric term, weighted.
        weights: of the terms.
    """
    if not weights.w_photo:
        return torch.ones_like(energies)
    distances = (energies / weights.w_photo).clamp(min=LEAST_DISTANCE)
    return (weights.clean_colour / distances).square().clamp(1, MOST_TRUST)


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
