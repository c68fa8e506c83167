"""Shadows that a face casts on itself, soft and coloured as the light around it.

Light of direction w reaches a vertex v unless a part of the face is in between, V_v(w) in {0, 1}.
Of the mean face V is computed once for a few hundred directions; then the share of the light that
is left,

    s_v = sum_w V_v(w) max(n_v . w, 0) L(R w) / sum_w max(n_v . w, 0) L(R w),

is a matrix product for any light L and any rotation R of the head, and multiplies the irradiance
of the true normals. Under even light this is the ambient occlusion: corners of the eyes, nostrils
and the lips' edges darken. Expressions and identities share the mean face's V: shadows need only
look right, while colours that the face model itself explains must stay so (`fit_light`).
"""

from __future__ import annotations

import numpy as np
import torch

from data.synthetic.environment import Environment, sphere
from models.face_model import FaceModel
from models.lighting import sh_basis
from models.renderer import rasterize

DIRECTIONS = 192
RASTER_PX = 160
BIAS_DM = 0.01
"""Surface that is so little nearer to the light is not in between."""
_REACH_DM = 3.0
"""Half the depth of the box in which the face is drawn."""


class SelfShadow:
    """The directions from which light reaches each vertex of a face model."""

    def __init__(self, face_model: FaceModel) -> None:
        """Look at the mean face from each direction."""
        vertices = face_model.mean_shape.reshape(1, -1, 3)
        normals = face_model.normals(vertices)[0].numpy()
        self.directions = sphere(DIRECTIONS).astype(np.float32)
        """(D, 3) towards the light, in the head's frame."""
        cosine = np.maximum(normals @ self.directions.T, 0)
        lit = visible_directions(
            vertices[0].numpy(), normals, face_model.triangles, self.directions
        )
        self.open, self.blocked = cosine, cosine * ~lit
        """(V, D) what each direction adds to the irradiance, and what of it is in shadow."""

    def remaining(self, environments: list[Environment], rotations: np.ndarray) -> np.ndarray:
        """Share of the light (B, V, 3) that no part of the face keeps away.

        Args:
            environments: of each face.
            rotations: (B, 3, 3) of the heads.
        """
        light = np.concatenate(
            [
                environment.radiance(self.directions @ rotation.T)
                for environment, rotation in zip(environments, rotations, strict=True)
            ],
            axis=1,
        ).astype(np.float32)
        share = 1 - (self.blocked @ light) / (self.open @ light + np.float32(1e-4))
        return np.moveaxis(share.reshape(len(share), -1, 3), 1, 0)


def visible_directions(
    vertices: np.ndarray, normals: np.ndarray, triangles: torch.Tensor, directions: np.ndarray
) -> np.ndarray:
    """Whether light of each direction reaches each vertex, (V, D) bool.

    The mesh is drawn along each direction from far away; a vertex is lit unless the surface drawn
    in its place is nearer to the light.

    Args:
        vertices: (V, 3)
        normals: (V, 3) unit.
        triangles: (F, 3)
        directions: (D, 3) unit vectors towards the light.
    """
    centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = np.linalg.norm(centred, axis=1).max() * 1.01
    pixel = 2 * radius / RASTER_PX
    lit = np.empty((len(vertices), len(directions)), dtype=bool)
    for number, towards in enumerate(directions):
        helper = np.eye(3)[np.abs(towards).argmin()]
        across = np.cross(towards, helper)
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(towards, across), -towards / _REACH_DM * radius])
        clip = np.ones((1, len(vertices), 4), dtype=np.float32)
        clip[0, :, :3] = centred @ axes.T / radius
        drawn = rasterize(torch.from_numpy(clip), triangles, (RASTER_PX, RASTER_PX))
        depth = drawn.depth_ndc[0].numpy()
        column, row = ((clip[0, :, :2] + 1) * (RASTER_PX / 2)).astype(int).T
        nearest = np.where(drawn.triangle_id[0].numpy() >= 0, depth, 1)[row, column]
        # Within a pixel the surface is as much nearer as it is inclined.
        cosine = np.maximum(normals @ towards, 0.15)
        bias = BIAS_DM + pixel * np.sqrt(1 - np.minimum(cosine, 1) ** 2) / cosine
        lit[:, number] = clip[0, :, 2] - nearest < bias / _REACH_DM
    return lit


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
