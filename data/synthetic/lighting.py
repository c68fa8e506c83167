"""Harmonics of light: of a lamp, of brighter pictures, of shaded skin."""

from __future__ import annotations

import math

import numpy as np
import torch

from models.lighting import AMBIENT, sh_basis


def brighten(gamma: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Light (27,) under which a face looks as under `gamma` with its channels times `gain` (3,).

    Colours are albedo times irradiance, and irradiance is linear in gamma plus the constant light.
    """
    light = gamma.reshape(3, 9).astype(np.float64)
    light[:, 0] += AMBIENT
    light *= gain[:, None]
    light[:, 0] -= AMBIENT
    return light.reshape(-1).astype(gamma.dtype)


def lamp_coefficients(direction: np.ndarray) -> np.ndarray:
    """Harmonics (9,) of a distant lamp whose irradiance at normal n is max(n . direction, 0).

    With orthonormal harmonics Y the clamped cosine is sum_l A_l Y_lm(direction) Y_lm(n),
    A = pi, 2 pi / 3, pi / 4 (Ramamoorthi and Hanrahan 2001, eq. 5 and 8, over pi in their
    normalisation of the lamp). The project's basis is y_lm = s_l Y_lm up to signs, so that the
    coefficient of y_lm(n) is A_l y_lm(direction) / s_l^2; and the addition theorem gives
    s_l^2 = 4 pi / (2 l + 1) sum_m y_lm(direction)^2.
    """
    basis = sh_basis(torch.from_numpy(direction)).numpy()
    kernel = (math.pi, 2 * math.pi / 3, math.pi / 4)
    result = np.empty(9)
    for band, factor in enumerate(kernel):
        part = slice(band * band, (band + 1) ** 2)
        squared_scale = 4 * math.pi / (2 * band + 1) * (basis[part] ** 2).sum()
        result[part] = factor * basis[part] / squared_scale
    return result
