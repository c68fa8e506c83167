"""A mesh and its texture layout as one: values go from vertices to texels, back, and across.

N texels are those inside the layout, in the order of its rows; V vertices.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu
from scipy.spatial import KDTree
from torch import Tensor

from models.kernels import kernel
from models.mesh_graph import adjacency, unique_edges
from models.texture import LayoutRaster, layout_raster, nearest_covered

_SLACK = 0.2
"""How much the values around a vertex count where values are continued; its own counts 1."""


class TextureSurface:
    """Args are arrays of a face model; `size` is the side of the texture in texels.

    Args:
        vertices: (V, 3) at rest, x across the plane of symmetry.
        triangles: (F, 3).
        uv: (U, 2) origin bottom left.
        uv_triangles: (F, 3) into them.
        size: of the texture.
    """

    def __init__(
        self,
        vertices: np.ndarray,
        triangles: np.ndarray,
        uv: np.ndarray,
        uv_triangles: np.ndarray,
        size: int,
    ) -> None:
        raster = layout_raster(uv, uv_triangles, (size, size))
        self.size = size
        self.texels = np.flatnonzero(raster.covered)
        """(N,) places of the texels in the flat picture."""
        number = np.zeros(raster.covered.size, np.intp)
        number[self.texels] = np.arange(len(self.texels))
        row, column = nearest_covered(raster.covered)
        self._shown = number[row * size + column]
        """(size, size) the texel that each place of a picture shows."""
        self._to_texels = _interpolation(raster, triangles, len(vertices))
        self._to_vertices = self._to_texels.T.tocsr()
        self._mass = self._to_vertices @ np.ones(len(self.texels), np.float32)
        self.mirror = _mirror_coordinates(vertices, triangles, uv, uv_triangles, raster)
        """(1, 1, N, 2) for `grid_sample`; None for meshes that are not their own mirror image."""
        self.edges = unique_edges(triangles)
        """(E, 2) vertices of each edge."""
        lengths = np.linalg.norm(np.diff(vertices[self.edges], axis=1)[:, 0], axis=1)
        self.edge_dm = float(np.median(lengths))
        """Its usual length."""
        self.adjacency = adjacency(self.edges, len(vertices))
        """(V, V) 1 for the two ends of an edge."""
        self.degree = np.asarray(self.adjacency.sum(axis=1))[:, 0]
        """(V,) edges of each vertex."""

    def at_texels(self, values: np.ndarray) -> np.ndarray:
        """Values of vertices (V, ...) interpolated at texels, float32."""
        return self._to_texels @ values.astype(np.float32)

    def inside(self, vertices: np.ndarray) -> np.ndarray:
        """Texels (N,) of a part of the mesh, (V,) bool."""
        return self.at_texels(vertices.astype(np.float32)) > 0.5

    def at_vertices(self, values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means around vertices.

        Args:
            values: (N, C).
            weight: (N,)

        Returns:
            (V, C), 0 where nothing weighs; and mean weights (V,).
        """
        weighted = np.empty((len(values), values.shape[1] + 1), np.float32)
        np.multiply(values, weight[:, None], out=weighted[:, :-1], casting="same_kind")
        weighted[:, -1] = weight
        sums = self._to_vertices @ weighted
        total = sums[:, -1]
        return sums[:, :-1] / total.clip(1e-9)[:, None], total / self._mass.clip(1e-9)

    def smooth(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) without what vertices cannot hold."""
        return self.at_texels(self.at_vertices(values, np.ones(len(values), np.float32))[0])

    def mirrored(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) of each texel's mirror image."""
        assert self.mirror is not None
        image = torch.from_numpy(self.picture(values.astype(np.float32))).permute(2, 0, 1)[None]
        found = F.grid_sample(image, self.mirror, align_corners=False, padding_mode="border")
        return found[0, :, 0].T.numpy()

    def depth_within(self, part: np.ndarray, most: float) -> np.ndarray:
        """How deep texels lie inside a part (N,) bool of the layout, in texels; seams do not count.

        0 outside of it; those that are deeper than `most` may have any larger number.
        """
        beyond = np.zeros(self.size * self.size, bool)
        beyond[self.texels] = ~part
        squares = _squared_distances(beyond.reshape(self.size, self.size), math.ceil(most))
        return np.sqrt(squares.reshape(-1)[self.texels], dtype=np.float32)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) as (size, size, C); beyond the layout the nearest texel goes on."""
        return np.take(values, self._shown, axis=0)

    def of_picture(self, picture: np.ndarray) -> np.ndarray:
        """Texels (N, C) of a picture (size, size, C)."""
        return picture.reshape(self.size * self.size, -1)[self.texels]

    def least_around(self, values: np.ndarray) -> np.ndarray:
        """The least value (V,) of each vertex and those that it has edges to."""
        first, second = self.edges.T
        least = values.copy()
        np.minimum.at(least, first, values[second])
        np.minimum.at(least, second, values[first])
        return least

    def blurred(self, values: np.ndarray) -> np.ndarray:
        """The mean (V, ...) over each vertex and those that it has edges to."""
        count = 1 + self.degree.reshape(-1, *[1] * (values.ndim - 1))
        return (values + self.adjacency @ values) / count

    def membrane(self, attachment: np.ndarray, length_dm: float) -> SuperLU:
        """Solves for values of vertices that are smooth over a length where nothing holds them.

        For f with the least sum of attachment (f - g)^2 and (length / edge)^2 times the squared
        differences along edges, the right side is attachment * g.

        Args:
            attachment: (V,) how strongly vertices are held.
            length_dm: over which values even out, against an attachment of 1.
        """
        stiffness = (length_dm / self.edge_dm) ** 2
        diagonal = attachment + stiffness * self.degree
        matrix = (sparse.diags(diagonal) - stiffness * self.adjacency).tocsc()
        # It is symmetric and its diagonal the largest of each row: nothing needs to change places.
        return splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


class Continuation:
    """Lets values go on within a part of the mesh, from where they are known.

    Args:
        surface: of the mesh.
        part: (V,) bool.
        edges: of the mesh beyond what is known, after which little is left.
    """

    def __init__(self, surface: TextureSurface, part: np.ndarray, edges: int) -> None:
        self._vertices = np.flatnonzero(part)
        among = surface.adjacency[self._vertices][:, self._vertices]
        degree = np.asarray(among.sum(axis=1))[:, 0].clip(1)
        # Means of the neighbours that lose so much an edge fall by e over half of `edges`.
        fading = 1 + 1 / edges**2
        self._stiffness = sparse.csc_matrix(
            _SLACK * (sparse.diags(np.full(len(degree), fading)) - sparse.diags(1 / degree) @ among)
        )

    def __call__(self, values: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Values (V, C) that are held by (V,) in [0, 1], and faded ones around; 0 elsewhere."""
        result = np.zeros_like(values)
        if len(self._vertices):
            hold = held[self._vertices].astype(np.float64)
            wanted = hold[:, None] * values[self._vertices]
            result[self._vertices] = splu((sparse.diags(hold) + self._stiffness).tocsc()).solve(
                wanted
            )
        return result


@no_type_check
@kernel
def _squared_distances(beyond, most):
    """(H, W) int32 squared distances of pixels to the nearest of `beyond` (H, W).

    Where these are more than `most` squared, some larger number. Distances within the columns come
    first, and from them those in the plane row by row; looking no farther than `most` makes this
    several times as fast as the transform of SciPy.
    """
    height, width = beyond.shape
    far = most + 1
    found = np.empty((height, width), np.int32)
    column = np.empty((height, width), np.int32)
    for x in range(width):
        column[0, x] = 0 if beyond[0, x] else far
    for y in range(1, height):
        for x in range(width):
            column[y, x] = 0 if beyond[y, x] else min(column[y - 1, x] + 1, far)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            column[y, x] = min(column[y, x], column[y + 1, x] + 1)
    for y in range(height):
        for x in range(width):
            best = column[y, x] * column[y, x]
            step = 1
            while step <= most and step * step < best:
                if x >= step:
                    best = min(best, step * step + column[y, x - step] * column[y, x - step])
                if x + step < width:
                    best = min(best, step * step + column[y, x + step] * column[y, x + step])
                step += 1
            found[y, x] = best
    return found


def _interpolation(
    raster: LayoutRaster, triangles: np.ndarray, vertex_count: int
) -> sparse.csr_matrix:
    """(N, V) matrix from values of vertices to those of the covered texels."""
    corners = triangles[raster.triangle_id[raster.covered]]
    weights = raster.barycentrics[raster.covered]
    start = np.arange(len(corners) + 1) * 3
    shape = (len(corners), vertex_count)
    return sparse.csr_matrix((weights.reshape(-1), corners.reshape(-1), start), shape)


def _mirror_coordinates(
    vertices: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    uv_triangles: np.ndarray,
    raster: LayoutRaster,
) -> Tensor | None:
    """Where in the texture the mirror image of each covered texel lies.

    Corner k of a triangle is where its partner has the mirror image of vertex k.
    """
    _, mirror = KDTree(vertices).query(vertices * [-1, 1, 1])
    images = np.asarray(mirror)[triangles]
    own_order, image_order = np.argsort(triangles, axis=1), np.argsort(images, axis=1)
    own = np.take_along_axis(triangles, own_order, axis=1)
    mirrored = np.take_along_axis(images, image_order, axis=1)
    known = {tuple(row): number for number, row in enumerate(own.tolist())}
    partner = np.array([known.get(tuple(row), -1) for row in mirrored.tolist()])
    if (partner < 0).any():
        return None
    corner = np.empty_like(image_order)
    np.put_along_axis(corner, image_order, own_order[partner], axis=1)
    corner_uv = uv[uv_triangles[partner[:, None], corner]]
    triangle = raster.triangle_id[raster.covered]
    place = np.einsum("nk,nkd->nd", raster.barycentrics[raster.covered], corner_uv[triangle])
    grid = np.stack([2 * place[:, 0] - 1, 1 - 2 * place[:, 1]], axis=1).astype(np.float32)
    return torch.from_numpy(grid)[None, None]
