"""What fitting minimises: its terms, their weights, and the coefficients they look at.

    E = w_photo  sum_p m_p rho(|rendering_p - photo_p|) / sum_p m_p      p: pixels, m: skin
      + w_landmarks  sum_k w_k |projected_k - given_k|^2 / sum_k w_k     in pixels of a 224 crop
      + w_identity |id|^2 + w_expression |exp|^2 + w_texture |tex|^2     in standard deviations
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
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.landmarks import INNER, JAW


@dataclass(frozen=True)
class FitWeights:
    """Weights of the terms of a fit."""

    w_photo: float = 8.0
    """Colour distance over the visible skin, RGB in [0, 1]."""
    w_landmarks: float = 2e-3
    """Squared landmark distance in pixels of a 224 crop."""
    w_jaw: float = 0.1
    """Weight of each jaw landmark against an inner one: detectors mark a silhouette there."""
    w_mouth: float = 1.0
    """Weight of each mouth and nose bridge landmark (28 to 30, 48 to 67, counted from 0) against
    another inner one."""
    w_identity: float = 4e-3
    """Squared identity coefficients, in standard deviations."""
    w_expression: float = 2e-3
    """Squared expression coefficients."""
    w_texture: float = 5e-4
    """Squared texture coefficients."""
    w_light_colour: float = 10.0
    """Variance of the light over the colour channels."""
    w_light: float = 2.0
    """Mean square of the light coefficients against the constant light: whether a face is dark
    or badly lit, a photo does not tell."""
    w_reflectance: float = 0.0
    """Variance of the albedo over the skin. It prefers dark skin, whose variance is less: the
    texture's own prior serves better where the face model has a good one."""
    w_focal: float = 1e-3
    """Squared logarithm of the focal length over the given one, in fits that look for it
    (--fit_focal); counted once for each face, as all priors are."""
    w_not_skin: float = 0.2
    """Least attention of a pixel of the face's front whose colour is none of skin: lips, brows and
    eyes, but hair and glasses too."""
    robust_colour: float = 0.1
    """Colour distance beyond which a pixel counts ever less; inf counts all alike."""

    def __post_init__(self) -> None:
        """Refuse weights that reward errors."""
        for name, value in vars(self).items():
            if not value >= 0 or (math.isinf(value) and name != "robust_colour"):
                raise ValueError(f"--{name} is {value}; it must be a number from 0 on")
        if self.w_not_skin > 1:
            raise ValueError(f"--w_not_skin is {self.w_not_skin}; it must lie between 0 and 1")
        if self.robust_colour == 0:
            raise ValueError("--robust_colour is 0; it must be above 0, or inf")

    def landmark_shares(self) -> Float[Tensor, " 68"]:
        """Weight of each landmark, sum 1; zero for all if none has any."""
        shares = torch.ones(68)
        shares[JAW] = self.w_jaw
        shares[28:31] = shares[48:68] = self.w_mouth
        return shares / shares.sum().clamp(min=1e-12)


PUBLIC_WEIGHTS = FitWeights(
    w_photo=1.6,
    w_landmarks=100 / 224**2,
    w_jaw=1.0,
    w_mouth=10.0,
    w_identity=1e-3,
    w_expression=8e-4,
    w_texture=1.7e-6,
    w_light_colour=0.0,
    w_light=0.0,
    w_reflectance=1.0,
    w_not_skin=0.0,
    robust_colour=math.inf,
)
"""Those of the public fitter (github.com/ascust/3DMM-Fitting-Pytorch) in these units."""


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
