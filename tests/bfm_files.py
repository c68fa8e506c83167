"""A scaled-down Basel Face Model: made-up files with the true names, keys and layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.made_up_bfm import FrontMesh, write_sources
from tests.conftest import grid_mesh, landmark_plan
from util.model_files.bfm_conversion import SourceSizes

SMALL = SourceSizes(vertices=520, components=83, expression_vertices=410, expression_components=66)


def front_mesh(columns: int = 14, rows: int = 16) -> FrontMesh:
    """The dome of the tests, with the vertices nearest to the landmarks."""
    mesh = grid_mesh(columns, rows)
    vertices, triangles = mesh.vertices.numpy(), mesh.triangles.numpy()
    distances = np.linalg.norm(vertices[:, None, :2] - landmark_plan(), axis=2)
    inside = np.hypot(vertices[:, 0] / 0.75, vertices[:, 1] / 0.95) < 1
    front = triangles[inside[triangles].all(axis=1)]
    return FrontMesh(vertices, triangles, front, distances.argmin(axis=0))


def write_small_sources(folder: Path) -> FrontMesh:
    """The user's files, small; returns the mesh that a conversion keeps."""
    mesh = front_mesh()
    write_sources(folder, mesh, SMALL)
    return mesh
