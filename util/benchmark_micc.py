"""MICC Florence, as the authors of Deep3DFaceReconstruction describe their figures (issue 23).

    <root>/scans/<person>.obj|.ply       millimetres
    <root>/scans/<person>.pp|.txt        eight points: iBUG's 36, 39, 42, 45, 33, 48, 54, 30
    <root>/frames/<person>/<video>/*.jpg what a method sees; one face of all of them together

A prediction is `<person>/<video>.obj` (or `.ply`) with seven landmarks, one for each video; where
the frames are not there, at least one for each scan. Steps of the score:

1. The mesh is laid over the scan by seven landmarks and then by distances (`scan_registration`),
   each with a size of its own.
2. The scan's vertices within 95 mm of its nose tip are compared, without the forehead.
3. Root mean square of their distances to the plane of the nearest triangle; mean over meshes.

No code is published: where the forehead begins, and that points of the scan are laid over the mesh
and not the other way, is ours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.detection import DetectionOptions, create_detector
from data.images import list_images
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions, ScanBenchmarkOptions, results_folder
from options.flags import ParsedOptions
from util.benchmark_names import method_name
from util.benchmark_tables import Column, mean_and_error, write_mesh_errors, write_tables
from util.errors import InputError
from util.mesh_reader import ENDINGS, find_mesh
from util.photo_shapes import BenchmarkPhoto, PhotoShapes
from util.point_fits import fit_similarity
from util.scan_comparison import PredictedMesh
from util.scan_crops import INNER_LEFT, INNER_RIGHT, NOSE_BOTTOM, inside_sphere
from util.scan_files import Scan, read_scan
from util.scan_predictions import check_meshes, write_prediction
from util.scan_registration import plane_distances, refine
from util.shape_methods import SHAPE_METHODS
from util.surface import SurfaceTree

RADIUS_MM = 95.0
FOREHEAD = 0.5
"""How far above the eyes the compared part reaches, in distances from nose bottom to eyes: about
the upper edge of the brows."""
NOSE_TIP = 7
"""Of the eight points."""

COLUMNS = (
    Column("method", "method"),
    Column("meshes", "meshes"),
    Column("RMSE mm", "rmse_mm", "rmse_error"),
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


def evaluate_micc(options: ParsedOptions) -> None:
    """Predict one face of each video, and score."""
    chosen, wanted = options[EvaluateOptions], options[ScanBenchmarkOptions]
    root, method, out = Path(chosen.benchmark_root), method_name(options), results_folder(chosen)
    folder, unit = Path(chosen.predictions), wanted.mesh_unit
    if not chosen.predictions:
        folder, unit = out / method / "predictions", "mm"
        predict_videos(root, folder, options)
    names = expected(root, folder)
    check_meshes(folder, names)
    errors = np.array(
        [
            rmse_mm(find_scan(root, name.split("/")[0]), PredictedMesh.read(folder / name, unit))
            for name in tqdm(names, unit="mesh")
        ]
    )
    data = hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]
    spread = float(errors.std(ddof=1)) if len(errors) > 1 else float("nan")
    row = MiccRow(method, data, len(errors), *mean_and_error(errors), spread)
    table = write_tables(out / "micc", [row], MiccRow, COLUMNS)
    write_mesh_errors(out / method / "meshes.csv", "rmse_mm", names, errors)
    print(f"\nMICC: point-to-plane RMSE (standard error)\n{table}\nTables in {out}")


def predict_videos(root: Path, folder: Path, options: ParsedOptions) -> None:
    """Write one neutral mesh for each folder of frames."""
    videos = find_videos(root)
    if not videos:
        raise InputError(f"{root / 'frames'} holds no <person>/<video>/ with pictures")
    method, _ = SHAPE_METHODS[options[BaseOptions].model].create(options)
    shapes = PhotoShapes(
        method,
        create_detector(options[DetectionOptions]),
        options[EvaluateOptions].eval_batch_size,
        neutral=True,
    )
    for video in tqdm(videos, unit="video"):
        photos = [BenchmarkPhoto(path, path.stem) for path in list_images(video)]
        write_prediction(folder / video.parent.name / video.name, shapes.person(photos))
    shapes.print_missed("the other frames of their videos say who it is")


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


def rmse_mm(scan: Scan, predicted: PredictedMesh) -> float:
    """The error of one mesh."""
    points = scan.mesh.vertices[compared(scan)]
    surface = SurfaceTree(predicted.mesh.vertices, predicted.mesh.triangles)
    start = fit_similarity(predicted.seven, scan.landmarks[:7])
    motion = refine(points, surface, start).motion
    return float(np.sqrt((plane_distances(points, surface, motion) ** 2).mean()))
