"""The light that a face keeps from itself: sockets, nostrils and the sides of the nose are darker.

Light of direction w reaches vertex v unless a part of the face is in between, V_v(w) in {0, 1}.
Under distant light L the irradiance is

    E_v = integral L(w) V_v(w) max(n_v . w, 0) dw = E_open(n_v) - E_blocked

which is linear in L. Of L its harmonics of bands 0 to 2 are known, so that what is blocked is nine
numbers a vertex (precomputed radiance transfer, Sloan, Kautz and Snyder, SIGGRAPH 2002, section
4.1). V is that of the mean face, at rest, and turns with the head: shadows of so smooth a light are
too soft to tell one face from another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.lighting import sh_basis, turned_harmonics
from models.renderer import rasterize

DIRECTIONS = 192
"""From which the face is looked at, evenly spread."""
RASTER_PX = 160
"""Side of the pictures in which it is seen what lies in front."""
MOST_BLOCKED = 0.4
"""Share of even light. What lies deepest in the mean face is between its lips and behind its lids,
and comes into the light where they open. Fits of photos, renders and heads came out the same with
0.35, 0.5, 0.7 and without a bound, to 0.02 % and 0.01 mm."""
BIAS_DM = 0.01
"""Surface that is so little nearer to the light is not in between."""
_REACH_DM = 3.0
"""Half the depth of the box in which the face is drawn."""
_BANDS_OVER_COSINE = np.repeat([4.0, 6.0, 16.0], [1, 3, 5]).astype(np.float32)
"""The mean of max(n . w, 0) y(w) over the sphere is a quarter, a sixth or a sixteenth of y(n), by
the band of the harmonic y (Ramamoorthi and Hanrahan, SIGGRAPH 2001, eq. 8)."""


@dataclass(frozen=True)
class LightPaths:
    """The directions from which light reaches each vertex of a face. D directions."""

    directions: np.ndarray
    """(D, 3) float32 unit vectors towards the light, in the head's frame."""
    open: np.ndarray
    """(V, D) float32: the cosine by which each direction lights a vertex with nothing in between;
    0 from behind."""
    blocked: np.ndarray
    """(V, D) what of it is in shadow."""

    @classmethod
    def of(cls, vertices: np.ndarray, normals: np.ndarray, triangles: Tensor) -> LightPaths:
        """Look at a face from each direction.

        Args:
            vertices: (V, 3) float32.
            normals: (V, 3) float32 unit.
            triangles: (F, 3)
        """
        directions = sphere(DIRECTIONS).astype(np.float32)
        cosine = np.maximum(normals @ directions.T, 0)
        lit = visible_directions(vertices, normals, triangles, directions)
        return cls(directions, cosine, cosine * ~lit)


@dataclass(frozen=True)
class SelfShadow:
    """What a face blocks of the light, in harmonics."""

    blocked: Float[Tensor, "vertices 9"]
    """What `sh_basis` at the normal of each vertex is too much; of the unturned head."""

    @classmethod
    def of(cls, paths: LightPaths) -> SelfShadow:
        """Sum up the directions that are blocked, of each vertex at most a share of the light."""
        harmonics = sh_basis(torch.from_numpy(paths.directions)).numpy()
        lost = paths.blocked @ (harmonics * _BANDS_OVER_COSINE / len(harmonics))
        share = paths.blocked.sum(axis=1) / paths.open.sum(axis=1).clip(1e-6)
        lost *= np.minimum(1, MOST_BLOCKED / share.clip(1e-6))[:, None]
        return cls(torch.from_numpy(lost.astype(np.float32)))

    def to(self, like: Tensor) -> SelfShadow:
        """Move and cast as a tensor is."""
        return SelfShadow(self.blocked.to(like))

    def at(self, rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch vertices 9"]:
        """The same of turned heads: what is in the way turns with them, the light does not."""
        return self.blocked.to(rotation) @ turned_harmonics(rotation)


def sphere(count: int) -> np.ndarray:
    """Evenly spread unit vectors (count, 3): a spiral whose turns are golden angles apart."""
    number = np.arange(count) + 0.5
    height = 1 - 2 * number / count
    angle = number * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - height * height)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)


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
