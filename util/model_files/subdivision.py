"""Catmull-Clark subdivision as a sparse matrix, and how a subdivided mesh is cut into triangles.

Subdivision is linear: finer vertices = S @ vertices. So one file serves all levels of detail, and
mean and bases are refined by the same matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class QuadMesh:
    """Quads over `count` vertices."""

    quads: np.ndarray
    """(Q, 4) indices, counter-clockwise seen from outside."""
    count: int
    """Number of vertices N."""

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Undirected edges (E, 2), sorted, and the edge of each quad's sides (Q, 4).

        Side k joins corners k and k + 1.
        """
        sides = np.stack([self.quads, np.roll(self.quads, -1, axis=1)], axis=-1).astype(np.int64)
        low, high = sides.min(axis=-1), sides.max(axis=-1)
        keys, side_edge = np.unique(low * self.count + high, return_inverse=True)
        edges = np.stack([keys // self.count, keys % self.count], axis=1)
        return edges, side_edge.reshape(-1, 4)

    def boundary_edges(self) -> np.ndarray:
        """Edges (B, 2) with a quad on one side only."""
        edges, sides = self.edges()
        return edges[np.bincount(sides.ravel(), minlength=len(edges)) == 1]

    def adjacency(self) -> sp.csr_matrix:
        """Symmetric vertex adjacency (N, N), ones."""
        return symmetric_matrix(self.edges()[0], self.count)


@dataclass(frozen=True)
class Refinement:
    """One level of subdivision."""

    matrix: sp.csr_matrix
    """(N', N), rows sum to 1: the old vertices first, then one for each edge, one for each quad."""
    mesh: QuadMesh
    """Four quads (old corner, edge, face, edge) for each old one, one after the other."""


def catmull_clark(mesh: QuadMesh) -> Refinement:
    """One step of Catmull and Clark (1978), with smooth borders (Hoppe et al. 1994).

    With F the mean of the n adjacent face points, R the mean of the n edge midpoints and P the
    vertex: a vertex goes to (F + 2 R + (n - 3) P) / n; an edge point is the mean of its ends
    and its two face points. On the border the cubic B-spline rule replaces both: (1 6 1) / 8
    and the midpoint. Vertices without quads stay.
    """
    edges, sides = mesh.edges()
    parts = _Parts(mesh, edges, sides)
    edge_face = indicator_matrix(
        sides.ravel(), np.repeat(np.arange(len(mesh.quads)), 4), (len(edges), len(mesh.quads))
    )
    on_border = np.asarray(edge_face.sum(axis=1)).ravel() == 1
    smooth_edges = parts.midpoints / 2 + (edge_face @ parts.face_points) / 4
    edge_points = _choose(on_border, parts.midpoints, smooth_edges)

    vertex_edge = indicator_matrix(
        edges.ravel(), np.repeat(np.arange(len(edges)), 2), (mesh.count, len(edges))
    )
    valence = np.maximum(np.asarray(vertex_edge.sum(axis=1)).ravel(), 1)
    inverse_valence = sp.diags(1 / valence)
    mean_face = inverse_valence @ (parts.face_incidence.T @ parts.face_points)
    mean_edge = inverse_valence @ (vertex_edge @ parts.midpoints)
    identity = sp.identity(mesh.count, format="csr")
    inner = inverse_valence @ (mean_face + 2 * mean_edge + sp.diags(valence - 3) @ identity)
    border_edges = sp.diags(on_border.astype(float)) @ parts.midpoints
    border = (vertex_edge @ border_edges) / 4 + identity / 2
    vertex_on_border = np.zeros(mesh.count, dtype=bool)
    vertex_on_border[edges[on_border].ravel()] = True
    vertex_points = _choose(vertex_on_border, border, inner)
    alone = np.diff(vertex_edge.indptr) == 0
    vertex_points = _choose(alone, identity, vertex_points)
    return parts.refinement(vertex_points, edge_points)


def bilinear(mesh: QuadMesh) -> Refinement:
    """Midpoints and centroids in place of Catmull-Clark's, for colours, masks and coordinates."""
    edges, sides = mesh.edges()
    parts = _Parts(mesh, edges, sides)
    return parts.refinement(sp.identity(mesh.count, format="csr"), parts.midpoints)


def coarse_quads(finer: np.ndarray) -> np.ndarray:
    """The quads (Q, 4) whose refinement has the quads (4 Q, 4); old vertices come first in both."""
    return finer[:, 0].reshape(-1, 4)


def cut_refined(quads: np.ndarray) -> np.ndarray:
    """Triangles (2 Q, 3) of the quads (Q, 4) of a refinement, cut between their two edge points.

    An edge point has four quads and so takes eight triangles; all others keep their valence. So
    no vertex has more than eight, which a table of vertices' triangles may have columns for, and
    mirror images are cut alike.
    """
    return np.stack([quads[:, [0, 1, 3]], quads[:, [1, 2, 3]]], axis=1).reshape(-1, 3)


def indicator_matrix(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> sp.csr_matrix:
    """A sparse matrix with ones at the given places; places that repeat add up."""
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def symmetric_matrix(edges: np.ndarray, count: int) -> sp.csr_matrix:
    """(count, count) with ones where an edge (E, 2) joins row and column."""
    rows = np.concatenate([edges[:, 0], edges[:, 1]])
    columns = np.concatenate([edges[:, 1], edges[:, 0]])
    return indicator_matrix(rows, columns, (count, count))


class _Parts:
    """What all refinements of a mesh have in common."""

    def __init__(self, mesh: QuadMesh, edges: np.ndarray, sides: np.ndarray) -> None:
        self._mesh, self._edges, self._sides = mesh, edges, sides
        quad_count, edge_count = len(mesh.quads), len(edges)
        self.face_incidence = indicator_matrix(
            np.repeat(np.arange(quad_count), 4), mesh.quads.ravel(), (quad_count, mesh.count)
        )
        self.face_points = self.face_incidence / 4
        self.midpoints = (
            indicator_matrix(
                np.repeat(np.arange(edge_count), 2), edges.ravel(), (edge_count, mesh.count)
            )
            / 2
        )

    def refinement(self, vertex_points: Any, edge_points: Any) -> Refinement:
        mesh, edge_count = self._mesh, len(self._edges)
        count = mesh.count + edge_count + len(mesh.quads)
        matrix = sp.csr_matrix(sp.vstack([vertex_points, edge_points, self.face_points]))
        edge_ids = mesh.count + self._sides
        face_ids = mesh.count + edge_count + np.arange(len(mesh.quads))
        face_ids = np.broadcast_to(face_ids[:, None], mesh.quads.shape)
        before = np.roll(edge_ids, 1, axis=1)
        children = np.stack([mesh.quads, edge_ids, face_ids, before], axis=-1)
        return Refinement(matrix, QuadMesh(children.reshape(-1, 4), count))


def _choose(mask: np.ndarray, where_true: Any, where_false: Any) -> Any:
    return sp.diags(mask.astype(float)) @ where_true + sp.diags((~mask).astype(float)) @ where_false
