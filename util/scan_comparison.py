"""A predicted mesh against a scan: laid over it by seven landmarks, then by distances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from util.error_picture import ErrorMesh
from util.mesh_reader import TriangleMesh, read_mesh
from util.point_fits import fit_similarity
from util.scan_crops import kept_triangles
from util.scan_files import STANDARD_SEVEN, UNIT_MM, Scan, check_face_size
from util.scan_predictions import MM_PER_DM, read_seven
from util.scan_registration import Registration, refine
from util.shape_methods import SEVEN, FaceShape
from util.surface import SurfaceTree


@dataclass(frozen=True)
class PredictedMesh:
    """A mesh of a method, in any frame."""

    mesh: TriangleMesh
    seven: np.ndarray
    """(7, 3) landmarks."""
    in_mm: bool
    """Whether its size means anything."""

    @classmethod
    def read(cls, stem: Path, unit: str) -> PredictedMesh:
        """Read `<stem>.obj|.ply` and its landmarks.

        Args:
            stem: name without ending.
            unit: of both; `unknown` leaves the size open.

        Raises:
            InputError: a file is missing or none of its kind, or it has another unit.
        """
        mesh, seven = read_mesh(stem), read_seven(stem)
        if unit == "unknown":
            return cls(mesh, seven, False)
        check_face_size(seven, unit, stem, "meshes (--mesh_unit)")
        scale = UNIT_MM[unit]
        return cls(TriangleMesh(scale * mesh.vertices, mesh.triangles), scale * seven, True)

    @classmethod
    def of(cls, shape: FaceShape) -> PredictedMesh:
        """Of a method of ours."""
        mesh = TriangleMesh(MM_PER_DM * shape.vertices, shape.triangles)
        return cls(mesh, MM_PER_DM * shape.landmarks[list(SEVEN)], True)


@dataclass(frozen=True)
class Comparison:
    """Errors of one prediction."""

    points: np.ndarray
    """(P, 3) the scan's vertices that are compared."""
    registration: Registration
    """Of the mesh; its distances are those of the points."""


def compare(
    scan: Scan, compared: np.ndarray, predicted: PredictedMesh, *, scaled: bool
) -> Comparison:
    """Distances of a scan's vertices to a predicted mesh.

    Args:
        scan: with its landmarks.
        compared: (V,) bool, which vertices.
        predicted: its size counts unless `scaled`.
        scaled: whether the mesh may grow and shrink.
    """
    points = scan.mesh.vertices[compared]
    start = fit_similarity(predicted.seven, scan.landmarks[: len(predicted.seven)], scaled=scaled)
    surface = SurfaceTree(predicted.mesh.vertices, predicted.mesh.triangles)
    return Comparison(points, refine(points, surface, start, scaled=scaled))


def shown(title: str, scan: Scan, compared: np.ndarray, errors_mm: np.ndarray) -> ErrorMesh:
    """The compared part of a scan with its errors, turned to the front."""
    upright = fit_similarity(scan.landmarks[:7], STANDARD_SEVEN)
    return ErrorMesh(
        f"{title}: {errors_mm.mean():.2f} mm",
        upright(scan.mesh.vertices[compared]),
        kept_triangles(scan.mesh.triangles, compared),
        errors_mm,
    )
