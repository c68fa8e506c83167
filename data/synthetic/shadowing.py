"""Shadows that a face casts on itself, soft and coloured as the light around it.

Of the mean face it is known from which directions w light reaches a vertex v, V_v(w) in {0, 1}
(`models.self_shadow`); then the share of the light that is left,

    s_v = sum_w V_v(w) max(n_v . w, 0) L(R w) / sum_w max(n_v . w, 0) L(R w),

is a matrix product for any light L and any rotation R of the head, and multiplies the irradiance
of the true normals. Under even light this is the ambient occlusion: corners of the eyes, nostrils
and the lips' edges darken. Expressions and identities share the mean face's V: shadows need only
look right, while colours that the face model itself explains must stay so (`fit_light`).
"""

from __future__ import annotations

import numpy as np
import torch

from data.synthetic.environment import Environment
from models.lighting import sh_basis
from models.self_shadow import LightPaths


def remaining_light(
    paths: LightPaths, environments: list[Environment], rotations: np.ndarray
) -> np.ndarray:
    """Share of the light (B, V, 3) that no part of the face keeps away.

    Args:
        paths: of light to the mean face.
        environments: of each face.
        rotations: (B, 3, 3) of the heads.
    """
    light = np.concatenate(
        [
            environment.radiance(paths.directions @ rotation.T)
            for environment, rotation in zip(environments, rotations, strict=True)
        ],
        axis=1,
    ).astype(np.float32)
    share = 1 - (paths.blocked @ light) / (paths.open @ light + np.float32(1e-4))
    return np.moveaxis(share.reshape(len(share), -1, 3), 1, 0)


def fit_light(
    normals: np.ndarray, irradiance: np.ndarray, weights: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """Harmonics (3, 9) that come nearest to the shaded light on a face.

    The face model knows no shadows, so that this, and no longer the light of the environment, is
    the light that explains the picture:

        min over g of sum_v w_v |B(n_v) g - e_v|^2 / sum_v w_v + r |g - prior|^2

    with a small r that decides only what no visible normal sees.

    Args:
        normals: (N, 3) of the posed face.
        irradiance: (N, 3) light that reaches it.
        weights: (N,) how much each vertex shows.
        prior: (3, 9) harmonics of the environment.
    """
    basis = sh_basis(torch.from_numpy(normals)).numpy().astype(np.float64)
    weighted = basis * (weights / max(float(weights.sum()), 1e-9))[:, None]
    ridge = _RIDGE * np.eye(9)
    residual = irradiance - basis @ prior.T
    return prior + np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ residual).T


_RIDGE = 3e-3
