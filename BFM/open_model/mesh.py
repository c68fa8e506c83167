"""Operations on the open head's mesh: cutting, tidying, smoothing borders, triangles."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from util.model_files.subdivision import QuadMesh, indicator_matrix, symmetric_matrix


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
    incidence = indicator_matrix(
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
    incidence = indicator_matrix(
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
    adjacency = symmetric_matrix(mesh.boundary_edges(), mesh.count)
    on_curve = np.diff(adjacency.indptr) == 2
    return _towards_neighbours(adjacency, movable & on_curve, rounds)


def relax(mesh: QuadMesh, movable: np.ndarray, rounds: int) -> sp.csr_matrix:
    """Matrix (N, N) that moves vertices towards the mean of their neighbours."""
    return _towards_neighbours(mesh.adjacency(), movable, rounds)


def _towards_neighbours(adjacency: sp.csr_matrix, moves: np.ndarray, rounds: int) -> sp.csr_matrix:
    """Half-way to the neighbours' mean, ``rounds`` times."""
    degree = np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1)
    step = sp.diags(np.where(moves, 0.5 / degree, 0.0)) @ adjacency
    step = (step + sp.diags(np.where(moves, 0.5, 1.0))).tocsr()
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
        (2 Q, 3) corners, 0 to 3, of the two triangles of each quad, wound as the quads.
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
            a, b, c, d = np.roll(np.arange(4), -start)
            triangles[which] = [[a, b, c], [a, c, d]]
            valence[corner[[a, c]]] += 1
            done[which] = True
    return triangles.reshape(-1, 3)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (N, 3) of (N, 3) vertices; triangles are (T, 3)."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, triangles[:, i], face_normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-12)
