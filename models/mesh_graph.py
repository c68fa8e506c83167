"""A mesh as a graph: its edges, and which vertices they join."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def unique_edges(triangles: np.ndarray) -> np.ndarray:
    """(E, 2) vertices of each edge of triangles (F, 3), once, rising."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    return np.unique(np.sort(edges, axis=1), axis=0)


def adjacency(edges: np.ndarray, count: int) -> sparse.csr_matrix:
    """(V, V) 1 for the two ends of each of the edges (E, 2)."""
    upper = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    return sparse.csr_matrix(upper + upper.T)
