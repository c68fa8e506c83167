"""MICC Florence, as the authors of Deep3DFaceReconstruction describe their figures (issue 23).

    <root>/scans/<person>.obj|.ply       millimetres
    <root>/scans/<person>.pp|.txt        eight points (.pp first): 36, 39, 42, 45, 33, 48, 54, 30
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
from models.face_model import FaceModelData
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.benchmark_folders import mesh_stems, micc_videos
from util.evaluation.comparison import PredictedMesh, error_mesh
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score, Wanted
from util.evaluation.photo_shapes import BenchmarkPhoto, PhotoShapes
from util.evaluation.predicted_meshes import check_meshes, write_prediction
from util.evaluation.regions import INNER_LEFT, INNER_RIGHT, NOSE_BOTTOM, inside_sphere
from util.evaluation.registration import plane_distances, refine
from util.evaluation.scans import Scan, read_scan, read_scan_points, scan_files
from util.evaluation.tables import BenchmarkTable, Column, mean_and_error
from util.mesh_files.mesh_reader import ENDINGS
from util.point_fits import fit_similarity

RADIUS_MM = 95.0
FOREHEAD = 0.5
"""How far above the eyes the compared part reaches, in distances from nose bottom to eyes: about
the upper edge of the brows."""
POINTS = 8
"""Of a scan."""
NOSE_TIP = 7
"""Of these."""

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

    table = BenchmarkTable(
        "MICC: point-to-plane RMSE (standard error)",
        "Vertices of the scan within 95 mm of the nose tip, without the forehead, against the "
        "planes of the mesh's nearest triangles; each mesh has a size of its own. Mean over "
        "meshes.",
        *("micc", MiccRow, COLUMNS),
    )
    measures = ("rmse_mm",)
    neutral = True

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """See `MeshBenchmark`; looks for the videos."""
        super().__init__(root, options)
        self._videos = micc_videos(root)

    def find(self, theirs: Path | None) -> Wanted:
        """See `MeshBenchmark`: every video; without frames, what there is of every scan."""
        videos = {f"{video.parent.name}/{video.name}": video for video in self._videos}
        names, photos = list(videos), {}
        if theirs is None:
            if not names:
                raise InputError(f"{self.root / 'frames'} holds no <person>/<video>/ with pictures")
            for name, video in videos.items():
                photos[name] = [BenchmarkPhoto(path, path.stem) for path in list_images(video)]
        else:
            names = names or named_after_scans(self.root, theirs)
            check_meshes(theirs, names, self.mesh_unit)
        for person in dict.fromkeys(name.split("/")[0] for name in names):
            read_scan_points(self._scan_files(person)[1], POINTS)
        return Wanted(names, photos)

    def predict(
        self, wanted: Wanted, shapes: PhotoShapes, data: FaceModelData, folder: Path
    ) -> None:
        """Write one neutral mesh for each folder of frames."""
        for name, photos in tqdm(wanted.photos.items(), unit="video"):
            write_prediction(folder / name, shapes.person(photos))
        shapes.print_missed("the other frames of their videos say who it is")

    def score(self, name: str, folder: MeshFolder) -> Score:
        """See `MeshBenchmark`."""
        scan = read_scan(*self._scan_files(name.split("/")[0]), POINTS)
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

    def _scan_files(self, person: str) -> tuple[Path, Path]:
        return scan_files(self.root / "scans" / person)


def named_after_scans(root: Path, folder: Path) -> list[str]:
    """`<person>/<video>` of the meshes in a folder, where no frames say which there must be.

    Raises:
        InputError: no mesh of a person who was scanned.
    """
    found = {path.relative_to(folder) for end in ENDINGS for path in folder.glob(f"*/*{end}")}
    if not found:
        raise InputError(f"{folder} holds no <person>/<video>.obj")
    scanned = mesh_stems(root / "scans")
    if missing := sorted(scanned - {path.parts[0] for path in found}):
        raise InputError(
            f"{folder} holds no <person>/<video>.obj of {len(missing)} of {len(scanned)} scans: "
            f"{', '.join(missing)}"
        )
    return sorted({path.with_suffix("").as_posix() for path in found})


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
