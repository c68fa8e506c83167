"""FaceWarehouse: 180 posed meshes (9 people, 20 expressions), as far as its users describe it.

    <root>/meshes/<name>.obj|.ply        millimetres
    <root>/meshes/<name>.pp|.txt         seven landmarks; .pp first
    <root>/images/<name>.jpg             what a method sees

A prediction is `<name>.obj` (or `.ply`) with expression and seven landmarks; every mesh needs one.
The part that counts is a list of vertices of the prediction (`--compared_vertices`: numbers from 0,
separated by white space), as the authors of Deep3DFaceReconstruction share theirs (issue 65);
without it all vertices inside NoW's sphere do.

1. The meshes are laid over each other by the landmarks, then by the distances from the prediction's
   compared vertices to the true surface, with a free size.
2. Mean distance of these vertices from the true surface; mean over meshes.

The published figures use correspondences of MoFA's authors and refined meshes, neither of which is
public: figures of this module are comparable among themselves alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.face_model import FaceModelData
from options.evaluate_options import FaceWarehouseOptions
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.benchmark_folders import mesh_stems
from util.evaluation.comparison import PredictedMesh, error_mesh
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score, Wanted
from util.evaluation.photo_shapes import PhotoShapes, photos_named
from util.evaluation.predicted_meshes import check_meshes, write_prediction
from util.evaluation.regions import face_sphere, inside_sphere
from util.evaluation.registration import refine
from util.evaluation.scans import Scan, read_scan, read_scan_points, scan_files
from util.evaluation.tables import BenchmarkTable, Column, mean_and_error
from util.point_fits import fit_similarity
from util.surface import SurfaceTree
from util.text import decode_text

COLUMNS = (
    Column("method", "method"),
    Column("meshes", "meshes"),
    Column("mean mm", "mean_mm", "mean_error", best="least"),
)


@dataclass(frozen=True)
class FaceWarehouseRow:
    """One method."""

    method: str
    data: str
    """Fingerprint of the meshes' names and of the compared part."""
    meshes: int
    mean_mm: float
    mean_error: float
    """Its standard error over meshes."""


class FaceWarehouse(MeshBenchmark):
    """One posed face of each photo."""

    table = BenchmarkTable(
        "FaceWarehouse: distance from the true surface (standard error)",
        "Compared vertices of the mesh against the true surface, with the size free. Mean over "
        "meshes. Comparable among themselves alone, not with published figures.",
        *("facewarehouse", FaceWarehouseRow, COLUMNS),
    )
    measures = ("mean_mm",)

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """See `MeshBenchmark`; reads which vertices count."""
        super().__init__(root, options)
        listed = options[FaceWarehouseOptions].compared_vertices
        self._region = read_region(Path(listed)) if listed else None

    def find(self, theirs: Path | None) -> Wanted:
        """See `MeshBenchmark`: every true mesh."""
        names, photos = true_names(self.root), {}
        if theirs is None:
            photos = photos_named(self.root / "images", names)
        else:
            check_meshes(theirs, names, self.mesh_unit)
        for name in names:
            read_scan_points(self._scan_files(name)[1], 7)
        return Wanted(names, photos)

    def predict(
        self, wanted: Wanted, shapes: PhotoShapes, data: FaceModelData, folder: Path
    ) -> None:
        """Write a mesh of every photo."""
        check_region(self._region, len(data.mean_shape))
        for found in shapes(wanted.each_photo):
            write_prediction(folder / found.photo.name, found.shape)
        shapes.print_missed()

    def compared_part(self) -> bytes:
        """See `MeshBenchmark`."""
        return b" " + (b"" if self._region is None else self._region.tobytes().hex().encode())

    def score(self, name: str, folder: MeshFolder) -> Score:
        """See `MeshBenchmark`."""
        predicted = folder.read(name)
        part = compared(predicted, self._region)
        errors = distances_mm(read_scan(*self._scan_files(name)), predicted, part)
        mean = float(errors.mean())
        return Score(
            mean, (mean,), lambda: error_mesh(name, predicted.mesh, predicted.seven, errors, part)
        )

    def rows(
        self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]
    ) -> list[FaceWarehouseRow]:
        """See `MeshBenchmark`."""
        errors = np.array([score.figure for score in scores])
        return [FaceWarehouseRow(method, data, len(errors), *mean_and_error(errors))]

    def _scan_files(self, name: str) -> tuple[Path, Path]:
        return scan_files(self.root / "meshes" / name)


def true_names(root: Path) -> list[str]:
    """The names of all meshes.

    Raises:
        InputError: there are none.
    """
    names = mesh_stems(root / "meshes")
    if not names:
        raise InputError(f"{root / 'meshes'} holds no <name>.obj or .ply")
    return sorted(names)


def read_region(path: Path) -> np.ndarray:
    """Numbers of the compared vertices, from 0.

    Raises:
        InputError: no such file, or no numbers.
    """
    if not path.is_file():
        raise InputError(
            f"--compared_vertices {path} does not exist; it lists the compared vertices"
        )
    try:
        numbers = np.array(decode_text(path.read_bytes()).split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"--compared_vertices {path} is no list of vertex numbers ({error})"
        ) from error
    if not len(numbers) or numbers.min() < 0:
        raise InputError(f"--compared_vertices {path} must list vertices by numbers from 0")
    return np.unique(numbers)


def check_region(region: np.ndarray | None, vertices: int) -> None:
    """See that all compared vertices are there.

    Args:
        region: their numbers, where they are listed.
        vertices: of the mesh.

    Raises:
        InputError: the mesh has fewer.
    """
    if region is not None and region.max() >= vertices:
        raise InputError(
            f"--compared_vertices names vertex {region.max()}, but a mesh has {vertices}; it "
            "is of another topology"
        )


def compared(predicted: PredictedMesh, region: np.ndarray | None) -> np.ndarray:
    """Which vertices of a prediction count: (V,) bool.

    Args:
        predicted: the mesh.
        region: numbers of vertices; none are those inside NoW's sphere.

    Raises:
        InputError: the mesh has fewer.
    """
    vertices = predicted.mesh.vertices
    if region is None:
        return inside_sphere(vertices, *face_sphere(predicted.seven))
    check_region(region, len(vertices))
    part = np.zeros(len(vertices), bool)
    part[region] = True
    return part


def distances_mm(scan: Scan, predicted: PredictedMesh, part: np.ndarray) -> np.ndarray:
    """Distances of the compared vertices from the true surface."""
    # The true surface is moved to the prediction, whose vertices are the points.
    surface = SurfaceTree(scan.mesh.vertices, scan.mesh.triangles)
    start = fit_similarity(scan.seven, predicted.seven)
    found = refine(predicted.mesh.vertices[part], surface, start)
    return found.distances / found.motion.scale
