"""Topology of the open face: crop, Catmull-Clark as a sparse matrix, eyeballs, triangulation.

Catmull-Clark subdivision is linear, so the whole surface is ``level 1 = S @ control points``,
and every basis is subdivided by the same matrix. The control points are the vertices of the
cropped quad cage followed by four affine frame points for each eyeball.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

# How a landmark index changes under left-right mirroring (iBUG 68).
# fmt: off
MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
# fmt: on


@dataclass(frozen=True)
class QuadMesh:
    """Quads over ``count`` vertices: (Q, 4) indices, counter-clockwise seen from outside."""

    quads: np.ndarray
    count: int

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Unique undirected edges (E, 2) and the edge index of each quad side (Q, 4)."""
        sides = np.stack([self.quads, np.roll(self.quads, -1, axis=1)], axis=-1)
        keys = np.sort(sides.reshape(-1, 2), axis=1)
        edges, inverse = np.unique(keys, axis=0, return_inverse=True)
        return edges, inverse.reshape(-1, 4)

    def boundary_edges(self) -> np.ndarray:
        """Edges (B, 2) with a quad on one side only."""
        edges, sides = self.edges()
        return edges[np.bincount(sides.ravel(), minlength=len(edges)) == 1]

    def adjacency(self) -> sp.csr_matrix:
        """Symmetric vertex adjacency (count, count), ones."""
        edges, _ = self.edges()
        return _symmetric(edges, self.count)


def catmull_clark(mesh: QuadMesh) -> tuple[sp.csr_matrix, QuadMesh]:
    """One step of Catmull-Clark (1978) with smooth borders (Hoppe et al. 1994).

    With F the mean of the n adjacent face points, R the mean of the n edge midpoints and P the
    vertex: a vertex goes to (F + 2 R + (n - 3) P) / n; an edge point is the mean of its ends
    and its two face points. On the border the cubic B-spline rule replaces both: (1 6 1) / 8
    and the midpoint.

    Returns:
        Matrix (N', N) with rows that sum to 1, the old vertices first, then the edge points, then
        the face points; and the finer mesh.
    """
    edges, sides = mesh.edges()
    quad_count, edge_count, count = len(mesh.quads), len(edges), mesh.count
    identity = sp.identity(count, format="csr")
    face_rows = np.repeat(np.arange(quad_count), 4)
    face_incidence = _matrix(face_rows, mesh.quads.ravel(), (quad_count, count))
    face_points = face_incidence / 4
    edge_rows = np.repeat(np.arange(edge_count), 2)
    edge_incidence = _matrix(edge_rows, edges.ravel(), (edge_count, count))
    midpoints = edge_incidence / 2
    edge_face = _matrix(sides.ravel(), face_rows, (edge_count, quad_count))
    on_border = np.asarray(edge_face.sum(axis=1)).ravel() == 1

    smooth_edges = midpoints / 2 + (edge_face @ face_points) / 4
    edge_points = _choose(on_border, midpoints, smooth_edges)

    vertex_edge = edge_incidence.T.tocsr()
    valence = np.maximum(np.asarray(vertex_edge.sum(axis=1)).ravel(), 1)
    inverse_valence = sp.diags(1 / valence)
    mean_face = inverse_valence @ (face_incidence.T @ face_points)
    mean_edge = inverse_valence @ (vertex_edge @ midpoints)
    inner = inverse_valence @ (mean_face + 2 * mean_edge + sp.diags(valence - 3) @ identity)
    border_edges = sp.diags(on_border.astype(float)) @ midpoints
    border = (vertex_edge @ border_edges) / 4 + identity / 2
    vertex_on_border = np.zeros(count, dtype=bool)
    vertex_on_border[edges[on_border].ravel()] = True
    vertex_points = _choose(vertex_on_border, border, inner)

    matrix = sp.csr_matrix(sp.vstack([vertex_points, edge_points, face_points]))
    edge_ids = count + sides
    face_ids = np.broadcast_to(count + edge_count + np.arange(quad_count)[:, None], (quad_count, 4))
    children = np.stack([mesh.quads, edge_ids, face_ids, np.roll(edge_ids, 1, axis=1)], axis=-1)
    return matrix, QuadMesh(children.reshape(-1, 4), count + edge_count + quad_count)


def margin_loop(adjacency: sp.csr_matrix, positions: np.ndarray, waypoints: np.ndarray):
    """The closed loop of shortest edge paths through ``waypoints``: a list of vertices."""
    edges = adjacency.tocoo()
    lengths = np.linalg.norm(positions[edges.row] - positions[edges.col], axis=1)
    graph = sp.csr_matrix((lengths, (edges.row, edges.col)), shape=adjacency.shape)
    loop: list[int] = []
    for start, end in zip(waypoints, np.roll(waypoints, -1), strict=True):
        _, before = csgraph.dijkstra(graph, indices=start, return_predecessors=True)
        path = [int(end)]
        while path[-1] != start:
            path.append(int(before[path[-1]]))
        loop += path[::-1][:-1]
    return loop


def split_along(mesh: QuadMesh, loop: list[int]) -> np.ndarray:
    """Boolean (Q,): the smaller side of the mesh when it is cut along ``loop``."""
    edges, sides = mesh.edges()
    cut = {tuple(sorted(pair)) for pair in zip(loop, [*loop[1:], loop[0]], strict=True)}
    open_edge = np.array([tuple(edge) not in cut for edge in edges.tolist()])
    quad_count = len(mesh.quads)
    incidence = _matrix(
        np.repeat(np.arange(quad_count), 4), sides.ravel(), (quad_count, len(edges))
    )
    graph = incidence @ sp.diags(open_edge.astype(float)) @ incidence.T
    _, label = csgraph.connected_components(graph, directed=False)
    labels = np.unique(label[np.isin(mesh.quads, loop).any(axis=1)])
    return label == labels[np.argmin(np.bincount(label)[labels])]


def ring_distance(adjacency: sp.csr_matrix, seeds: np.ndarray) -> np.ndarray:
    """Number of edges from each vertex to the nearest seed: (N,), inf where unreachable."""
    return csgraph.dijkstra(adjacency, unweighted=True, indices=seeds, min_only=True)


def tidy_border(quads: np.ndarray, keep: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Removes spikes and fills notches of a selection of quads; keeps the largest piece.

    A kept quad with fewer than two kept neighbours goes, a dropped one with three or more
    kept neighbours comes in.

    Args:
        quads: (Q, 4) all quads.
        keep: (Q,) bool.
        rounds: Largest number of passes.

    Returns:
        (Q,) bool.
    """
    mesh = QuadMesh(quads, int(quads.max()) + 1)
    edges, sides = mesh.edges()
    incidence = _matrix(
        np.repeat(np.arange(len(quads)), 4), sides.ravel(), (len(quads), len(edges))
    )
    neighbours = (incidence @ incidence.T).tolil()
    neighbours.setdiag(0)
    neighbours = neighbours.tocsr()
    for _ in range(rounds):
        kept_beside = neighbours @ keep.astype(float)
        tidier = (keep & (kept_beside >= 2)) | (~keep & (kept_beside >= 3))
        if np.array_equal(tidier, keep):
            break
        keep = tidier
    inside = sp.diags(keep.astype(float))
    _, label = csgraph.connected_components(inside @ neighbours @ inside, directed=False)
    return keep & (label == np.bincount(label[keep]).argmax())


def smooth_border_curve(mesh: QuadMesh, movable: np.ndarray, rounds: int) -> sp.csr_matrix:
    """Matrix (N, N) that slides border vertices towards the mean of their border neighbours."""
    border = mesh.boundary_edges()
    adjacency = _symmetric(border, mesh.count)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    moves = movable & (degree == 2)
    half = sp.diags(np.where(moves, 0.25, 0.0)) @ adjacency
    stay = sp.diags(np.where(moves, 0.5, 1.0))
    step = (half + stay).tocsr()
    matrix = step
    for _ in range(rounds - 1):
        matrix = step @ matrix
    return sp.csr_matrix(matrix)


def triangulate(mesh: QuadMesh, mirror: np.ndarray) -> np.ndarray:
    """Cuts quads into triangles so that few edges meet at a vertex; mirror-symmetrically.

    Each quad and its mirror image take the diagonal whose ends have fewer edges so far.

    Args:
        mesh: The quads.
        mirror: (N,) index of each vertex's mirror image.

    Returns:
        (2 Q, 3) triangles, wound as the quads.
    """
    valence = np.bincount(mesh.edges()[0].ravel(), minlength=mesh.count)
    index_of = {tuple(sorted(quad)): i for i, quad in enumerate(mesh.quads.tolist())}
    triangles = np.zeros((len(mesh.quads), 2, 3), dtype=np.int64)
    done = np.zeros(len(mesh.quads), dtype=bool)
    for index, quad in enumerate(mesh.quads):
        if done[index]:
            continue
        twin = index_of[tuple(sorted(mirror[quad].tolist()))]
        cost = [max(valence[quad[i]], valence[quad[i + 2]]) for i in (0, 1)]
        total = [valence[quad[i]] + valence[quad[i + 2]] for i in (0, 1)]
        first = 0 if (cost[0], total[0]) <= (cost[1], total[1]) else 1
        diagonal = {int(quad[first]), int(quad[first + 2])}
        twin_diagonal = {int(mirror[v]) for v in diagonal}
        for which, ends in ((index, diagonal), (twin, twin_diagonal)):
            if done[which]:
                continue
            corner = mesh.quads[which]
            start = 0 if int(corner[0]) in ends else 1
            a, b, c, d = np.roll(corner, -start)
            triangles[which] = [[a, b, c], [a, c, d]]
            valence[[a, c]] += 1
            done[which] = True
    return triangles.reshape(-1, 3)


@dataclass(frozen=True)
class EyeballPatch:
    """A dense cap on a unit sphere that looks along +z.

    Attributes:
        points: (N, 3) on the unit sphere; row 0 is the pole.
        triangles: (T, 3) counter-clockwise seen from outside.
        polar_rad: (N,) angle from the pole.
    """

    points: np.ndarray
    triangles: np.ndarray
    polar_rad: np.ndarray


def eyeball_patch(rings_rad: list[float], sectors: list[int]) -> EyeballPatch:
    """Builds the cap from rings at the given polar angles; the pole has ``sectors[0]`` triangles.

    A ring has as many sectors as the one inside it, or twice as many; sector 0 lies on +x.
    Doubling towards the outside keeps the valence at 8 or below everywhere.
    """
    points = [np.array([[0.0, 0.0, 1.0]])]
    polar = [np.zeros(1)]
    triangles: list[tuple[int, int, int]] = []
    inner_start, inner_count, start = 0, 1, 1
    for angle, count in zip(rings_rad, sectors, strict=True):
        turn = 2 * np.pi * np.arange(count) / count
        radius, height = np.sin(angle), np.full(count, np.cos(angle))
        points.append(np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1))
        polar.append(np.full(count, angle))
        per_inner = count // inner_count
        for i in range(count):
            here, after = start + i, start + (i + 1) % count
            if inner_count == 1:
                triangles.append((0, here, after))
                continue
            inside = inner_start + i // per_inner
            triangles.append((inside, here, after))
            if i % per_inner == per_inner - 1:
                triangles.append((inside, after, inner_start + (i // per_inner + 1) % inner_count))
        inner_start, inner_count = start, count
        start += count
    return EyeballPatch(np.concatenate(points), np.array(triangles), np.concatenate(polar))


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (N, 3) of (N, 3) vertices; triangles are (T, 3)."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, triangles[:, i], face_normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-12)


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _symmetric(edges: np.ndarray, count: int) -> sp.csr_matrix:
    rows = np.concatenate([edges[:, 0], edges[:, 1]])
    columns = np.concatenate([edges[:, 1], edges[:, 0]])
    return _matrix(rows, columns, (count, count))


def _choose(mask: np.ndarray, where_true: sp.csr_matrix, where_false: sp.csr_matrix):
    return sp.diags(mask.astype(float)) @ where_true + sp.diags((~mask).astype(float)) @ where_false
