"""MICC Florence, as the authors of Deep3DFaceReconstruction describe their figures (issue 23).

    <root>/scans/<person>.obj|.ply       millimetres
    <root>/scans/<person>.pp|.txt        eight points: iBUG's 36, 39, 42, 45, 33, 48, 54, 30
    <root>/frames/<person>/<video>/*.jpg what a method sees; one face of all of them together

A prediction is `<person>/<video>.obj` (or `.ply`) with seven landmarks, one for each video; where
the frames are not there, at least one for each scan. Steps of the score:

1. The mesh is laid over the scan by seven landmarks and then by distances (`registration`),
   each with a size of its own.
2. The scan's vertices within 95 mm of its nose tip are compared, without the forehead.
3. Root mean square of their distances to the plane of the nearest triangle; mean over meshes.

No code is published: where the forehead begins, and that points of the scan are laid over the mesh
and not the other way, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.images import list_images
from util.errors import InputError
from util.evaluation.comparison import PredictedMesh, error_mesh
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score
from util.evaluation.photo_shapes import BenchmarkPhoto
from util.evaluation.predicted_meshes import check_meshes, write_prediction
from util.evaluation.regions import INNER_LEFT, INNER_RIGHT, NOSE_BOTTOM, inside_sphere
from util.evaluation.registration import plane_distances, refine
from util.evaluation.scans import Scan, read_scan
from util.evaluation.tables import Column, mean_and_error
from util.mesh_files.mesh_reader import ENDINGS, find_mesh
from util.point_fits import fit_similarity

RADIUS_MM = 95.0
FOREHEAD = 0.5
"""How far above the eyes the compared part reaches, in distances from nose bottom to eyes: about
the upper edge of the brows."""
NOSE_TIP = 7
"""Of the eight points."""

COLUMNS = (
    Column("method", "method"),
    Column("meshes", "meshes"),
    Column("RMSE mm", "rmse_mm", "rmse_error", best="least"),
    Column("std", "std_mm"),
)


@dataclass(frozen=True)
class MiccRow:
    """One method."""

    method: str
    data: str
    """Fingerprint of the meshes' names."""
    meshes: int
    rmse_mm: float
    """Mean over meshes of their root mean squares."""
    rmse_error: float
    """Its standard error."""
    std_mm: float
    """Standard deviation over meshes."""


class Micc(MeshBenchmark):
    """One neutral face of each video."""

    title = "MICC: point-to-plane RMSE (standard error)"
    explanation = (
        "Vertices of the scan within 95 mm of the nose tip, without the forehead, against the "
        "planes of the mesh's nearest triangles; each mesh has a size of its own. Mean over meshes."
    )
    name, row, columns = "micc", MiccRow, COLUMNS
    measures = ("rmse_mm",)

    def predict(self, folder: Path) -> None:
        """Write one neutral mesh for each folder of frames."""
        videos = find_videos(self.root)
        if not videos:
            raise InputError(f"{self.root / 'frames'} holds no <person>/<video>/ with pictures")
        shapes, _ = self.shapes(neutral=True)
        for video in tqdm(videos, unit="video"):
            photos = [BenchmarkPhoto(path, path.stem) for path in list_images(video)]
            write_prediction(folder / video.parent.name / video.name, shapes.person(photos))
        shapes.print_missed("the other frames of their videos say who it is")

    def expected(self, folder: Path) -> list[str]:
        """See `MeshBenchmark`."""
        names = expected(self.root, folder)
        check_meshes(folder, names)
        return names

    def score(self, name: str, folder: MeshFolder) -> Score:
        """See `MeshBenchmark`."""
        scan = find_scan(self.root, name.split("/")[0])
        part = compared(scan)
        distances = distances_mm(scan.mesh.vertices[part], scan, folder.read(name))
        rmse = float(np.sqrt((distances**2).mean()))
        return Score(
            rmse, (rmse,), lambda: error_mesh(name, scan.mesh, scan.seven, distances, part)
        )

    def rows(
        self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]
    ) -> list[MiccRow]:
        """See `MeshBenchmark`."""
        errors = np.array([score.figure for score in scores])
        spread = float(errors.std(ddof=1)) if len(errors) > 1 else float("nan")
        return [MiccRow(method, data, len(errors), *mean_and_error(errors), spread)]


def find_videos(root: Path) -> list[Path]:
    """The folders of frames."""
    return sorted(path for path in (root / "frames").glob("*/*") if path.is_dir())


def expected(root: Path, folder: Path) -> list[str]:
    """`<person>/<video>` of all meshes that must be there.

    Raises:
        InputError: without frames, no mesh of a person who was scanned.
    """
    if videos := find_videos(root):
        return [f"{video.parent.name}/{video.name}" for video in videos]
    found = {path.relative_to(folder) for end in ENDINGS for path in folder.glob(f"*/*{end}")}
    if not found:
        raise InputError(f"{folder} holds no <person>/<video>.obj")
    scanned = {path.stem for end in ENDINGS for path in (root / "scans").glob(f"*{end}")}
    if missing := sorted(scanned - {path.parts[0] for path in found}):
        raise InputError(
            f"{folder} holds no <person>/<video>.obj of {len(missing)} of {len(scanned)} scans: "
            f"{', '.join(missing)}"
        )
    return sorted({path.with_suffix("").as_posix() for path in found})


def find_scan(root: Path, person: str) -> Scan:
    """The scan of a person with its eight points."""
    stem = root / "scans" / person
    points = next(
        (p for ending in (".pp", ".txt") if (p := stem.parent / f"{person}{ending}").is_file()),
        stem.parent / f"{person}.pp",
    )
    return read_scan(find_mesh(stem), points, 8)


def compared(scan: Scan) -> np.ndarray:
    """Which vertices of a scan count: (V,) bool."""
    points = scan.landmarks
    eyes = (points[INNER_RIGHT] + points[INNER_LEFT]) / 2
    up = eyes - points[NOSE_BOTTOM]
    height = (scan.mesh.vertices - eyes) @ up / (up @ up)
    return inside_sphere(scan.mesh.vertices, points[NOSE_TIP], RADIUS_MM) & (height <= FOREHEAD)


def distances_mm(points: np.ndarray, scan: Scan, predicted: PredictedMesh) -> np.ndarray:
    """Distances (P,) of points of a scan from the planes of a mesh that was laid over it."""
    start = fit_similarity(predicted.seven, scan.seven)
    motion = refine(points, predicted.surface, start).motion
    return plane_distances(points, predicted.surface, motion)
