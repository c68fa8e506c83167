"""How changes of a picture change the light that explains it."""

from __future__ import annotations

import math

import numpy as np

from models.lighting import AMBIENT


def brighten(gamma: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Light (27,) under which a face looks as under `gamma` with its channels times `gain` (3,).

    Colours are albedo times irradiance, and irradiance is linear in gamma plus the constant light.
    """
    light = gamma.reshape(3, 9).astype(np.float64)
    light[:, 0] += AMBIENT
    light *= gain[:, None]
    light[:, 0] -= AMBIENT
    return light.reshape(-1).astype(gamma.dtype)


def turn_light(gamma: np.ndarray, phi: float) -> np.ndarray:
    """Light (27,) turned about the z axis by phi, from x to y.

    A function f(n) of direction turns into f(R^-1 n). The basis (`models.lighting.sh_basis`) has
    pairs in which x and y take part alike: (-x, -y) are 3 and 1; (-xz, -yz) are 7 and 5;
    ((x^2 - y^2) / 2, xy) are 8 and 4, which turn by 2 phi. 0, 2 and 6 depend on z alone.
    """
    light = gamma.reshape(3, 9)
    turned = light.copy()
    for cosine_like, sine_like, times in ((3, 1, 1), (7, 5, 1), (8, 4, 2)):
        c, s = math.cos(times * phi), math.sin(times * phi)
        turned[:, cosine_like] = c * light[:, cosine_like] - s * light[:, sine_like]
        turned[:, sine_like] = s * light[:, cosine_like] + c * light[:, sine_like]
    return turned.reshape(-1)
