"""The mean head as a picture: where on the surface each texel of the layout lies.

Fine detail is drawn here, in millimetres on the skin rather than in pixels, because the layout
enlarges the middle of the face. What is drawn comes back to the vertices as averages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import KDTree

from models.renderer import rasterize
from models.texture import layout_raster

from .head_mesh import HeadMesh
from .mesh import vertex_normals

# Views that ambient occlusion is seen from, and how far a surface shades another.
OCCLUSION_VIEWS, OCCLUSION_SIZE = 64, 900
OCCLUSION_REACH_DM, OCCLUSION_BIAS_DM = 0.2, 0.007


@dataclass(frozen=True)
class TexelSurface:
    """T texels inside the layout of an N x N picture, row by row.

    Attributes:
        size: N.
        index: (T,) place in the flattened picture.
        points, normals: (T, 3) on the mean head, decimetres.
        triangle: (T,) triangle that each shows.
        to_picture: (F, 2, 3) least-squares map from a displacement on a triangle (dm) to texels
            (column, row).
        area: (T,) of a texel on the surface, square decimetres.
        interpolation: (T, V) weights of the vertices.
    """

    size: int
    index: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    triangle: np.ndarray
    to_picture: np.ndarray
    area: np.ndarray
    interpolation: sp.csr_matrix

    @property
    def column_row(self) -> np.ndarray:
        """(T, 2) column and row of the texels' centres."""
        return np.stack([self.index % self.size, self.index // self.size], axis=1) + 0.5

    def picture(self, values: np.ndarray) -> np.ndarray:
        """(N, N) picture of values (T,), 0 outside the layout."""
        full = np.zeros(self.size * self.size, dtype=values.dtype)
        full[self.index] = values
        return full.reshape(self.size, self.size)

    def at_vertices(self, values: np.ndarray) -> np.ndarray:
        """Averages (V,) around each vertex of what the texels hold (T,): 0 where none shows it."""
        weight = self.interpolation.T @ self.area
        total = self.interpolation.T @ (self.area * values)
        return total / np.maximum(weight, 1e-12)


def texel_surface(vertices: np.ndarray, mesh: HeadMesh, size: int) -> TexelSurface:
    """Draws the layout of the mean head, vertices (V, 3) in dm, into size x size texels."""
    raster = layout_raster(mesh.uv, mesh.uv_triangles, (size, size))
    index = np.flatnonzero(raster.covered)
    triangle = raster.triangle_id.ravel()[index]
    weights = raster.barycentrics.reshape(-1, 3)[index].astype(np.float64)
    corners = mesh.triangles[triangle]
    rows = np.repeat(np.arange(len(index)), 3)
    interpolation = sp.csr_matrix(
        (weights.ravel(), (rows, corners.ravel())), shape=(len(index), len(vertices))
    )
    # Edges of each triangle on the surface and in the picture give the map between both.
    a, b, c = (vertices[mesh.triangles[:, i]] for i in range(3))
    place = mesh.uv[mesh.uv_triangles] * [size, -size]
    on_surface = np.stack([b - a, c - a], axis=2)
    in_picture = np.stack([place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]], axis=2)
    to_picture = in_picture @ np.linalg.pinv(on_surface, rcond=1e-6)
    surface_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    picture_area = np.abs(np.linalg.det(in_picture))
    normals = interpolation @ vertex_normals(vertices, mesh.triangles)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return TexelSurface(
        size=size,
        index=index,
        points=interpolation @ vertices,
        normals=normals,
        triangle=triangle,
        to_picture=to_picture,
        area=(surface_area / np.maximum(picture_area, 1e-9))[triangle],
        interpolation=interpolation,
    )


class Skin:
    """Finds texels of a part of the surface near points in space.

    Args:
        surface: all texels.
        part: (T,) bool, the texels that may be found.
    """

    def __init__(self, surface: TexelSurface, part: np.ndarray) -> None:
        self.surface = surface
        self.part = np.flatnonzero(part)
        self._tree = KDTree(surface.points[self.part])

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Texels (N,) nearest to points (N, 3)."""
        return self.part[self._tree.query(points)[1]]

    def onto(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves points (N, 3) onto the surface; returns them and the texels (N,) there."""
        texel = self.nearest(points)
        normal = self.surface.normals[texel]
        height = ((points - self.surface.points[texel]) * normal).sum(axis=1, keepdims=True)
        return points - height * normal, texel

    def place(self, points: np.ndarray) -> np.ndarray:
        """Column and row (..., 2) in the picture of points (..., 3) near the surface."""
        flat = points.reshape(-1, 3)
        texel = self.nearest(flat)
        matrix = self.surface.to_picture[self.surface.triangle[texel]]
        offset = np.einsum("nij,nj->ni", matrix, flat - self.surface.points[texel])
        # At the edge of a part a point may lie far from its nearest texel.
        place = self.surface.column_row[texel] + np.clip(offset, -2, 2)
        return place.reshape(*points.shape[:-1], 2)


def occlusion(surface: TexelSurface, vertices: np.ndarray, mesh: HeadMesh) -> np.ndarray:
    """How much of the sky above each texel close parts of the head hide: (T,) in [0, 1].

    The head is drawn from many sides (Fibonacci directions); a texel is hidden from a side where
    the depth there is nearer than the texel, by less than ``OCCLUSION_REACH_DM``.
    """
    step = np.arange(OCCLUSION_VIEWS) + 0.5
    height, turn = 1 - 2 * step / OCCLUSION_VIEWS, np.pi * (1 + 5**0.5) * step
    level = np.sqrt(1 - height**2)
    sides = np.stack([level * np.cos(turn), height, level * np.sin(turn)], axis=1)
    triangles = torch.from_numpy(mesh.triangles.astype(np.int32))
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = np.linalg.norm(vertices - centre, axis=1).max() * 1.01
    hidden, seen = np.zeros(len(surface.points)), np.zeros(len(surface.points))
    for side in sides:
        up = np.array([0.0, 1.0, 0.0]) if abs(side[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
        right = np.cross(up, side)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(side, right), -side])
        clip = np.ones((1, len(vertices), 4), dtype=np.float32)
        clip[0, :, :3] = (vertices - centre) @ axes.T / radius
        fragments = rasterize(torch.from_numpy(clip), triangles, (OCCLUSION_SIZE, OCCLUSION_SIZE))
        depth = np.where(fragments.covered[0], fragments.depth_ndc[0], 2.0)
        local = (surface.points - centre) @ axes.T / radius
        pixel = ((local[:, :2] + 1) / 2 * OCCLUSION_SIZE).astype(int)
        gap = (local[:, 2] - depth[pixel[:, 1], pixel[:, 0]]) * radius
        cosine = np.maximum(surface.normals @ side, 0)
        # Fades out with the distance, so that the nose does not shade the cheeks.
        share = np.clip(1.5 * (1 - gap / OCCLUSION_REACH_DM), 0, 1)
        hidden += cosine * np.where(gap > OCCLUSION_BIAS_DM, share, 0)
        seen += cosine
    return hidden / np.maximum(seen, 1e-9)
