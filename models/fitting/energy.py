"""What fitting minimises: its terms, their weights, and the coefficients they look at.

    E = T w_photo  sum_p m_p rho(|rendering_p - photo_p|) / sum_p m_p    p: pixels, m: skin
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
eye. T is 1, or more in photos that the face explains well (`trust`).
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


def pixel_costs(
    residuals: Float[Tensor, "batch pixels 3"],
    about_eyes: Bool[Tensor, "batch pixels"],
    weights: FitWeights,
) -> Float[Tensor, "batch pixels"]:
    """Rho of each pixel's residual r.

    How far a pixel is suspected of showing what the face model lacks follows the cosine s between
    its residual and grey u, from none at a right angle to all of `dark_lids` where the photo is
    darker in all channels alike: tau = robust_colour dark_lids^max(s, 0).

    Args:
        residuals: rendering minus photo, in [-1, 1].
        about_eyes: which pixels show what surrounds an eye.
        weights: of the terms.
    """
    distance = torch.linalg.vector_norm(residuals, dim=-1)
    costs, _ = robust(distance, weights.robust_colour)
    suspected = _suspected(residuals, about_eyes, weights)
    if suspected is None:
        return costs
    tau = weights.robust_colour * weights.dark_lids ** _cosine_to_grey(residuals[suspected])
    return costs.masked_scatter(suspected, robust(distance[suspected], tau)[0])


@dataclass(frozen=True)
class PixelDerivatives:
    """How costs change with the residuals r: their gradient is w q, where |r| >= `LEAST_DISTANCE`.

    Nearer to 0 it falls to 0 with r, as that of a square.
    """

    weights: Float[Tensor, "batch pixels"]
    """w, rho'(|r|) / |r|, bounded where r vanishes: of the squared residuals."""
    pulls: Float[Tensor, "batch pixels 3"]
    """q: the residuals, and about the eyes what the change of tau with them adds,

        d tau = tau log(dark_lids) (u - s r / |r|) . dr / |r|
    """


def pixel_derivatives(
    residuals: Float[Tensor, "batch pixels 3"],
    about_eyes: Bool[Tensor, "batch pixels"],
    weights: FitWeights,
) -> PixelDerivatives:
    """Of `pixel_costs`, for normal equations."""
    distance = torch.linalg.vector_norm(residuals, dim=-1)
    _, found = robust(distance, weights.robust_colour)
    suspected = _suspected(residuals, about_eyes, weights)
    if suspected is None:
        return PixelDerivatives(found, residuals)
    r, e = residuals[suspected], distance[suspected].clamp(min=1e-9)
    cosine = _cosine_to_grey(r)
    tau = weights.robust_colour * weights.dark_lids**cosine
    cost, weight = robust(e, tau)
    by_cosine = (cost - tau * e / (tau + e)) * math.log(weights.dark_lids)
    turn = (1 / math.sqrt(3) - (cosine / e)[:, None] * r) / e[:, None]
    pulls = residuals.clone()
    pulls[suspected] += (by_cosine / weight)[:, None] * turn
    return PixelDerivatives(found.masked_scatter(suspected, weight), pulls)


def _suspected(
    residuals: Float[Tensor, "batch pixels 3"],
    about_eyes: Bool[Tensor, "batch pixels"],
    weights: FitWeights,
) -> Bool[Tensor, "batch pixels"] | None:
    """Pixels about the eyes that are darker in the photo; None if the weights suspect none."""
    if weights.dark_lids == 1 or math.isinf(weights.robust_colour):
        return None
    return about_eyes & (residuals.detach().sum(dim=-1) > 0)


def _cosine_to_grey(residuals: Float[Tensor, "pixels 3"]) -> Float[Tensor, " pixels"]:
    distance = torch.linalg.vector_norm(residuals, dim=-1).clamp(min=1e-9)
    return residuals.sum(dim=-1) / (math.sqrt(3) * distance)


def trust(unexplained: Float[Tensor, " batch"], weights: FitWeights) -> Float[Tensor, " batch"]:
    """How many times w_photo counts for photos that faces explain so well, 1 to `MOST_TRUST`.

    Least squares weigh by the inverse of the variance. That of most photos is what hair, light and
    skin show and no face model knows, whatever the shape, and is in w_photo.

    Args:
        unexplained: of each photo (`photometric.unexplained`); NaN, where nothing is seen, and
            infinity, of black photos, give 1.
        weights: of the terms.
    """
    if not weights.w_photo:
        return torch.ones_like(unexplained)
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
