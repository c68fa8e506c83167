"""Losses of face reconstruction as pure, unweighted formulas: tensors in, one scalar out.

The first part is the weakly-supervised objective of Deng et al., "Accurate 3D Face Reconstruction
with Weakly-Supervised Learning", CVPRW 2019 (arXiv 1903.08527), in the form in which its public
PyTorch code computes it, constants and normalisers included: the published weights of the terms
mean these normalisers. The second part compares with true coefficients, which rendered faces have.

Weights of the terms are applied in one place, the objective.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from models.parameters import Coefficients


def landmark_weights() -> Float[Tensor, " 68"]:
    """Weights of the 68 landmarks: 20 on the nose bridge and the inner mouth, 1 elsewhere.

    The paper stresses the inner mouth and the nose; its public code gives 20 to the
    indices 28, 29, 30 and 60 to 67 (counted from 0), which is kept.
    """
    weights = torch.ones(68)
    weights[28:31] = 20.0
    weights[60:68] = 20.0
    return weights


LANDMARK_WEIGHTS: Float[Tensor, " 68"] = landmark_weights()
"""`landmark_weights()` on the CPU; move it to the device of the landmarks once."""


def photometric_loss(
    rendered: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
    eps: float = 1e-6,
    mask_sum: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Mean colour distance over the visible skin (Deng et al. 2019, L_photo).

        sum_p mask_p sqrt(eps + |rendered_p - target_p|^2) / max(sum_p mask_p, 1)

    The sums run over all pixels of the whole batch, not per image, and eps keeps the gradient of
    the root finite where both images agree.

    Args:
        rendered: RGB in [0, 1].
        target: RGB in [0, 1].
        mask: skin attention times rendered front of the face, in [0, 1]. Taken as constant: no
            gradient flows through it.
        eps: squared distance added under the root.
        mask_sum: sum of the mask over the whole batch, where this is a part of it: the parts'
            losses then add up to the loss of the whole.

    Returns:
        Colour distance in units of the image range.
    """
    mask = mask.detach()
    distance = torch.sqrt(eps + (rendered - target).square().sum(dim=1, keepdim=True))
    mask_sum = mask.sum() if mask_sum is None else mask_sum
    return (distance * mask).sum() / mask_sum.clamp(min=1.0)


def landmark_loss(
    predicted_px: Float[Tensor, "batch landmarks 2"],
    given_px: Float[Tensor, "batch landmarks 2"],
    weights: Float[Tensor, " landmarks"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted squared landmark distance (Deng et al. 2019, L_lan).

        sum_bn weights_n |predicted_bn - given_bn|^2 / (B N)

    The divisor counts landmarks; it is not the sum of the weights.

    Args:
        predicted_px: projected landmarks of the model.
        given_px: landmarks of the image in the same frame. The squares do not see a common flip
            of the y axis, so y down here equals the public code's y up.
        weights: one per landmark; if None, `LANDMARK_WEIGHTS` of the 68 iBUG points.

    Returns:
        Squared pixels.
    """
    if weights is None:
        weights = LANDMARK_WEIGHTS
    weights = weights.to(predicted_px)
    squared = (predicted_px - given_px).square().sum(dim=-1)
    return (squared * weights).sum() / squared.numel()


def identity_loss(
    predicted: Float[Tensor, "batch features"],
    target: Float[Tensor, "batch features"],
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Mean distance of the recognition features (Deng et al. 2019, L_per).

        sum_b distance(predicted_b, target_b) / B

    Args:
        predicted: embedding of the rendered face.
        target: embedding of the photo.
        distance: the recognition network's own, (B, K), (B, K) -> (B,): the paper's 1 - cosine for
            ArcFace, Euclidean for dlib's network (`RecognitionNet.distance`).

    Returns:
        Distance, no unit.
    """
    return distance(predicted, target).mean()


def coefficient_regularisation(
    coefficients: Coefficients,
    *,
    w_id: float = 1.0,
    w_exp: float = 0.8,
    w_tex: float = 1.7e-2,
    identity_sigma: Tensor | float = 1.0,
    expression_sigma: Tensor | float = 1.0,
    texture_sigma: Tensor | float = 1.0,
    joint_sigma: Tensor | float = 1.0,
) -> Float[Tensor, ""]:
    """Squared coefficients: faces far from the mean are rare (Deng et al. 2019, L_coef).

        (w_id |id|^2 + w_exp |exp|^2 + w_tex |tex|^2) / B

    The weights inside are the published ones, relative to each other; the term as a whole has its
    weight in the objective. Joints, which the paper's model lacks, count as expression.

    Args:
        coefficients: of the batch.
        w_id: weight of the identity block.
        w_exp: weight of the expression block.
        w_tex: weight of the texture block.
        identity_sigma: prior standard deviation(s), a number or (Ki,); 1 where the basis is scaled
            by them, as in the paper's model.
        expression_sigma: likewise, (Ke,).
        texture_sigma: likewise, (Kt,).
        joint_sigma: likewise, in radians.

    Returns:
        Squared standard deviations a face.
    """
    total = (
        w_id * (coefficients.identity / identity_sigma).square().sum()
        + w_exp * (coefficients.expression / expression_sigma).square().sum()
        + w_tex * (coefficients.texture / texture_sigma).square().sum()
    )
    if coefficients.joints_rad is not None:
        total = total + w_exp * (coefficients.joints_rad / joint_sigma).square().sum()
    return total / coefficients.identity.shape[0]


def gamma_loss(gamma: Float[Tensor, "batch 27"]) -> Float[Tensor, ""]:
    """Colour of the light: its variance over the channels (public code, `reg_loss`).

        mean over (B, 3, 9) of (gamma_bck - mean_c gamma_bck)^2

    Args:
        gamma: spherical-harmonics coefficients, nine for red, then green, then blue.

    Returns:
        Squared light coefficients.
    """
    channels = gamma.unflatten(-1, (3, 9))
    return (channels - channels.mean(dim=1, keepdim=True)).square().mean()


def reflectance_loss(
    albedo: Float[Tensor, "batch vertices 3"], skin_mask: Float[Tensor, " vertices"]
) -> Float[Tensor, ""]:
    """Variance of the skin's albedo (Deng et al. 2019, L_tex, as the public code has it).

        sum_bv |(albedo_bv - mean skin_b) skin_mask_v|^2 / (B sum_v skin_mask_v)

    Args:
        albedo: per vertex, in the model's range.
        skin_mask: 1 for the vertices whose albedo should be uniform, else 0.

    Returns:
        Squared albedo, summed over the three channels.
    """
    mask = skin_mask[None, :, None]
    count = skin_mask.sum()
    mean_skin = (albedo * mask).sum(dim=1, keepdim=True) / count
    return ((albedo - mean_skin) * mask).square().sum() / (albedo.shape[0] * count)


# Supervision by true coefficients. The terms measure what the coefficients do to the face, so one
# coefficient needs no weight against another. Distances are not squared: a squared loss spends
# itself on the few badly posed faces of a short training.


def mean_distance(
    predicted: Float[Tensor, "batch points axes"],
    true: Float[Tensor, "batch points axes"],
    weights: Float[Tensor, " points"] | None = None,
) -> Float[Tensor, ""]:
    """Mean Euclidean distance of corresponding points, in the unit of the points.

        sum_bn weights_n |predicted_bn - true_bn| / (B sum_n weights_n)

    Used on vertices (decimetres, neutral or posed) and on projections (pixels). Where the points
    agree the gradient is zero, not NaN.

    Args:
        predicted: points.
        true: points in the same frame.
        weights: one per point, such as vertex areas or 2 for the inner landmarks; None means equal.

    Returns:
        Decimetres or pixels.
    """
    distance = torch.linalg.vector_norm(predicted - true, dim=-1)
    if weights is None:
        return distance.mean()
    weights = weights.to(distance)
    return (distance * weights).sum() / (distance.shape[0] * weights.sum())


def mean_absolute_error(
    predicted: Float[Tensor, "batch points channels"],
    true: Float[Tensor, "batch points channels"],
    weights: Float[Tensor, " points"] | None = None,
) -> Float[Tensor, ""]:
    """Mean absolute difference of per-point values, such as albedo or shading.

        sum_bnc weights_n |predicted_bnc - true_bnc| / (B C sum_n weights_n)

    Args:
        predicted: values.
        true: values in the same unit.
        weights: one per point; None means equal.

    Returns:
        Same unit as the values.
    """
    difference = (predicted - true).abs()
    if weights is None:
        return difference.mean()
    weights = weights.to(difference)
    channels = difference.shape[0] * difference.shape[2]
    return (difference * weights[:, None]).sum() / (channels * weights.sum())


def standardised_squared_error(
    predicted: Float[Tensor, "batch parameters"],
    true: Float[Tensor, "batch parameters"],
    sigma: Tensor | float = 1.0,
) -> Float[Tensor, ""]:
    """Mean squared error of coefficients in units of their prior standard deviation.

        mean over (B, K) of ((predicted_bk - true_bk) / sigma_k)^2

    A weak pull for the coefficients that hardly move a vertex.

    Args:
        predicted: coefficients.
        true: coefficients.
        sigma: prior standard deviation(s), a number or (K,).

    Returns:
        Squared standard deviations.
    """
    return ((predicted - true) / sigma).square().mean()
