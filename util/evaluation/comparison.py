"""A predicted mesh against a scan: laid over it by seven landmarks, then by distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from util.evaluation.error_picture import ErrorMesh
from util.evaluation.predicted_meshes import MM_PER_DM, read_seven
from util.evaluation.regions import kept_triangles
from util.evaluation.registration import Registration, refine
from util.evaluation.scans import STANDARD_SEVEN, UNIT_MM, Scan
from util.evaluation.shape_methods import SEVEN, FaceShape
from util.mesh_files.mesh_reader import TriangleMesh, read_mesh
from util.point_fits import fit_similarity
from util.surface import SurfaceTree


@dataclass(frozen=True)
class PredictedMesh:
    """A mesh of a method, in any frame."""

    mesh: TriangleMesh
    seven: np.ndarray
    """(7, 3) landmarks."""
    in_mm: bool
    """Whether its size means anything."""

    @cached_property
    def surface(self) -> SurfaceTree:
        """Of the mesh, built once."""
        return SurfaceTree(self.mesh.vertices, self.mesh.triangles)

    @classmethod
    def read(cls, stem: Path, unit: str) -> PredictedMesh:
        """Read `<stem>.obj|.ply` and its landmarks.

        Args:
            stem: name without ending.
            unit: of both; `unknown` leaves the size open.

        Raises:
            InputError: a file is missing or none of its kind, or it has another unit.
        """
        mesh, seven = read_mesh(stem), read_seven(stem, unit)
        if unit == "unknown":
            return cls(mesh, seven, False)
        scale = UNIT_MM[unit]
        return cls(TriangleMesh(scale * mesh.vertices, mesh.triangles), scale * seven, True)

    @classmethod
    def of(cls, shape: FaceShape) -> PredictedMesh:
        """Of a method of ours."""
        mesh = TriangleMesh(MM_PER_DM * shape.vertices, shape.triangles)
        return cls(mesh, MM_PER_DM * shape.landmarks[list(SEVEN)], True)


def compare(
    scan: Scan, compared: np.ndarray, predicted: PredictedMesh, *, scaled: bool
) -> Registration:
    """A predicted mesh laid over a scan, with the distances of the scan's vertices.

    Args:
        scan: with its landmarks.
        compared: (V,) bool, which vertices.
        predicted: its size counts unless `scaled`.
        scaled: whether the mesh may grow and shrink.
    """
    points = scan.mesh.vertices[compared]
    start = fit_similarity(predicted.seven, scan.seven, scaled=scaled)
    return refine(points, predicted.surface, start, scaled=scaled)


def error_mesh(
    name: str,
    mesh: TriangleMesh,
    seven: np.ndarray,
    errors: np.ndarray,
    part: np.ndarray | None = None,
) -> ErrorMesh:
    """A mesh with its errors, turned to the front.

    Args:
        name: of what is shown.
        mesh: in any frame.
        seven: (7, 3) its landmarks, which tell where the front is.
        errors: (P,) of the vertices that are compared.
        part: (V,) bool, which these are; all unless given.
    """
    part = np.ones(len(mesh.vertices), bool) if part is None else part
    upright = fit_similarity(seven, STANDARD_SEVEN)
    triangles = kept_triangles(mesh.triangles, part)
    return ErrorMesh(name, upright(mesh.vertices[part]), triangles, errors)
