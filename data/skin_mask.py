"""How likely each pixel of a photo shows skin, by colour alone: the attention of the photo loss.

Two mixtures of four Gaussians in YCbCr, one of skin and one of everything else, give the
probability of skin by Bayes' rule (Jones and Rehg, "Statistical color models with application to
skin detection", IJCV 2002). The figures are those of the public code of Deng et al. (CVPRW 2019),
github.com/sicxu/Deep3DFaceRecon_pytorch, util/skin_mask.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SKIN_PRIOR = 0.8
"""Probability of skin before a pixel's colour is known."""

RGB_TO_YCBCR = (
    np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
    / 255.0
)
"""ITU-R BT.601, studio range: rows Y, Cb, Cr for RGB in 0..255."""
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])
_CHUNK_PIXELS = 8192
"""Pixels at a time: their 24 planes stay in the second-level cache."""


@dataclass(frozen=True)
class GaussianMixture:
    """A weighted sum of normal densities over (Y, Cb, Cr).

    Determinants are stored beside the inverse covariances, as published: they agree only to their
    printed digits.
    """

    weights: tuple[float, ...]
    means: tuple[tuple[float, float, float], ...]
    determinants: tuple[float, ...]
    """Of the covariances."""
    inverse_covariances: tuple[tuple[float, float, float, float, float, float], ...]
    """Upper triangles: YY, YCb, YCr, CbCb, CbCr, CrCr."""

    def inverse_covariance(self, component: int) -> np.ndarray:
        """(3, 3) of one component."""
        yy, yb, yr, bb, br, rr = self.inverse_covariances[component]
        return np.array([[yy, yb, yr], [yb, bb, br], [yr, br, rr]])

    def factor(self, component: int) -> float:
        """What a component's exponential is multiplied by: weight / sqrt((2 pi)^3 det)."""
        covariance_volume = math.sqrt((2 * math.pi) ** 3 * self.determinants[component])
        return self.weights[component] / covariance_volume


SKIN = GaussianMixture(
    weights=(0.24063933, 0.16365987, 0.26034665, 0.33535415),
    means=(
        (113.71862, 103.39613, 164.08226),
        (150.19858, 105.18467, 155.51428),
        (183.92976, 107.62468, 152.71820),
        (114.90524, 113.59782, 151.38217),
    ),
    determinants=(5692842.5, 5851930.5, 2329131.0, 1585971.0),
    inverse_covariances=(
        (0.0019472069, 0.0020450759, -0.00060243998, 0.017700525, 0.0051420014, 0.0081308950),
        (0.0027110141, 0.0011036990, 0.0023122299, 0.010707724, 0.010742856, 0.017481629),
        (0.0048026871, 0.00022935172, 0.0077668377, 0.011729696, 0.0081661865, 0.025374353),
        (0.0011989699, 0.0022453172, -0.0010748957, 0.047758564, 0.020332102, 0.024502251),
    ),
)
NOT_SKIN = GaussianMixture(
    weights=(0.12791070, 0.31130761, 0.34245777, 0.21832393),
    means=(
        (99.200851, 112.07533, 140.20602),
        (110.91392, 125.52969, 130.19237),
        (129.75864, 129.96107, 126.96808),
        (112.29587, 128.85121, 129.05431),
    ),
    determinants=(458703648.0, 6466488.0, 90611376.0, 133097.63),
    inverse_covariances=(
        (0.00085371657, 0.00071197288, 0.00023958916, 0.0025935620, 0.00076557708, 0.0015042332),
        (0.00024650150, 0.00045542428, 0.00015019422, 0.026412144, 0.018419769, 0.037497383),
        (0.00037054974, 0.00038146760, 0.00040408765, 0.0085505722, 0.0079136286, 0.010982352),
        (0.00013709733, 0.00051228428, 0.00012777430, 0.28237113, 0.10528370, 0.23468947),
    ),
)


def skin_mask_reference(image: np.ndarray) -> np.ndarray:
    """The formula, pixel by pixel in double precision: slow, and what `skin_mask` must equal.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8, probability of skin times 255, rounded.
    """
    mask = np.empty(image.shape[:2], dtype=np.uint8)
    for row, column in np.ndindex(*mask.shape):
        colour = RGB_TO_YCBCR @ image[row, column].astype(np.float64) + YCBCR_OFFSET
        likelihoods = []
        for mixture in (SKIN, NOT_SKIN):
            likelihood = 0.0
            for component, mean in enumerate(mixture.means):
                offset = colour - mean
                distance = float(offset @ mixture.inverse_covariance(component) @ offset)
                likelihood += mixture.factor(component) * math.exp(-0.5 * distance)
            likelihoods.append(likelihood)
        skin = SKIN_PRIOR * likelihoods[0]
        other = (1 - SKIN_PRIOR) * likelihoods[1]
        mask[row, column] = round(255 * skin / (skin + other))
    return mask


def skin_mask(image: np.ndarray) -> np.ndarray:
    """Probability of skin for every pixel, in single precision and all components at once.

    With M = L L^T the inverse covariance (Cholesky), a component's exponent
    -(c - mean)^T M (c - mean) / 2 is minus the sum of three squares of linear forms of R, G and B,
    so that one small matrix product gives all 24 forms of the 8 components.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8, probability times 255; equal to `skin_mask_reference` but for one level in
        at most one of 10,000 pixels.
    """
    pixels = image.reshape(-1, 3)
    mask = np.empty(len(pixels), dtype=np.uint8)
    for start in range(0, len(pixels), _CHUNK_PIXELS):
        colours = pixels[start : start + _CHUNK_PIXELS]
        rgb1 = np.ones((4, len(colours)), dtype=np.float32)
        rgb1[:3] = colours.T
        forms = _LINEAR_FORMS @ rgb1
        forms *= forms
        exponents = forms[:8]
        exponents += forms[8:16]
        exponents += forms[16:]
        weighted = np.exp(np.subtract(_LOG_FACTORS, exponents, out=exponents), out=exponents)
        skin = weighted[0] + weighted[1] + weighted[2] + weighted[3]
        other = weighted[4] + weighted[5] + weighted[6] + weighted[7]
        probability = skin / (skin + other)
        mask[start : start + _CHUNK_PIXELS] = np.rint(np.float32(255) * probability)
    return mask.reshape(image.shape[:2])


def _linear_forms() -> tuple[np.ndarray, np.ndarray]:
    """The 24 forms (24, 4) over (R, G, B, 1) and the logarithms of the 8 factors (8, 1).

    Rows are ordered form by form: the first form of all components, skin first, then the second.
    """
    ycbcr = np.concatenate([RGB_TO_YCBCR, YCBCR_OFFSET[:, None]], axis=1)
    forms, log_factors = [], []
    for mixture, prior in ((SKIN, SKIN_PRIOR), (NOT_SKIN, 1 - SKIN_PRIOR)):
        for component, mean in enumerate(mixture.means):
            root = np.linalg.cholesky(mixture.inverse_covariance(component) / 2).T
            centred = ycbcr.copy()
            centred[:, 3] -= mean
            forms.append(root @ centred)
            log_factors.append(math.log(prior * mixture.factor(component)))
    stacked = np.stack(forms, axis=1).reshape(24, 4)
    return stacked.astype(np.float32), np.array(log_factors, dtype=np.float32)[:, None]


_LINEAR_FORMS, _LOG_FACTORS = _linear_forms()
