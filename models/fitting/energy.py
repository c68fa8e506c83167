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
(`models.losses`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
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


def robust(distance: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """rho(e) of colour distances, and rho'(e) / e, the weight of a pixel's squared residual.

    The weight is bounded where the distance vanishes, so that no pixel rules the others.
    """
    least = distance.clamp(min=LEAST_DISTANCE)
    if math.isinf(tau):
        return distance, least.reciprocal()
    return tau * torch.log1p(distance / tau), (least * (1 + distance / tau)).reciprocal()


LEAST_DISTANCE = 0.01
"""Colour distance below which residuals count as their squares."""

assert INNER.start == JAW.stop == 17  # what `landmark_shares` counts on
