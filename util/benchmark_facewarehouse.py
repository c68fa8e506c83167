"""FaceWarehouse: 180 posed meshes (9 people, 20 expressions), as far as its users describe it.

    <root>/meshes/<name>.obj|.ply        millimetres
    <root>/meshes/<name>.pp|.txt         seven landmarks
    <root>/images/<name>.jpg             what a method sees

A prediction is `<name>.obj` (or `.ply`) with expression and seven landmarks; every mesh needs one.
The part that counts is a list of vertices of the prediction (`--topology`: numbers from 0,
separated by white space), as the authors of Deep3DFaceReconstruction share theirs (issue 65);
without it all vertices inside NoW's sphere do.

1. The meshes are laid over each other by the landmarks, then by the distances from the prediction's
   compared vertices to the true surface, with a free size.
2. Mean distance of these vertices from the true surface; mean over meshes.

The published figures use correspondences of MoFA's authors and refined meshes, neither of which is
public: figures of this module are comparable among themselves alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
from util.scan_crops import face_sphere, inside_sphere
from util.scan_files import Scan, read_scan
from util.scan_predictions import check_meshes, write_prediction
from util.scan_registration import refine
from util.shape_methods import SHAPE_METHODS
from util.surface import SurfaceTree
from util.text import decode_text

COLUMNS = (
    Column("method", "method"),
    Column("meshes", "meshes"),
    Column("mean mm", "mean_mm", "mean_error"),
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


def evaluate_facewarehouse(options: ParsedOptions) -> None:
    """Predict every photo, and score."""
    chosen, wanted = options[EvaluateOptions], options[ScanBenchmarkOptions]
    root, name, out = Path(chosen.benchmark_root), method_name(options), results_folder(chosen)
    folder, unit = Path(chosen.predictions), wanted.mesh_unit
    region = read_region(Path(wanted.topology)) if wanted.topology else None
    meshes = true_names(root)
    if not chosen.predictions:
        folder, unit = out / name / "predictions", "mm"
        method, _ = SHAPE_METHODS[options[BaseOptions].model].create(options)
        detector = create_detector(options[DetectionOptions])
        shapes = PhotoShapes(method, detector, chosen.eval_batch_size, neutral=False)
        for found in shapes(photos_of(root, meshes)):
            write_prediction(folder / found.photo.name, found.shape)
        shapes.print_missed()
    check_meshes(folder, meshes)
    errors = np.array(
        [
            mean_mm(find_scan(root, mesh), PredictedMesh.read(folder / mesh, unit), region)
            for mesh in tqdm(meshes, unit="mesh")
        ]
    )
    parts = [*meshes, "" if region is None else region.tobytes().hex()]
    data = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
    row = FaceWarehouseRow(name, data, len(errors), *mean_and_error(errors))
    table = write_tables(out / "facewarehouse", [row], FaceWarehouseRow, COLUMNS)
    write_mesh_errors(out / name / "meshes.csv", "mean_mm", meshes, errors)
    print(f"\nFaceWarehouse: distance from the true surface (standard error)\n{table}")
    print(f"Tables in {out}")


def true_names(root: Path) -> list[str]:
    """The names of all meshes.

    Raises:
        InputError: there are none.
    """
    names = {path.stem for ending in ENDINGS for path in (root / "meshes").glob(f"*{ending}")}
    if not names:
        raise InputError(f"{root / 'meshes'} holds no <name>.obj or .ply")
    return sorted(names)


def photos_of(root: Path, names: Sequence[str]) -> list[BenchmarkPhoto]:
    """The photos of some meshes.

    Raises:
        InputError: one has none.
    """
    place = root / "images"
    photos = {path.stem: path for path in list_images(place)}
    if missing := [name for name in names if name not in photos]:
        raise InputError(
            f"{place} lacks the photos of {len(missing)} of {len(names)} meshes, such as "
            f"{missing[0]}.jpg"
        )
    return [BenchmarkPhoto(photos[name], name) for name in names]


def find_scan(root: Path, name: str) -> Scan:
    """A true mesh with its seven landmarks."""
    stem = root / "meshes" / name
    text = stem.parent / f"{name}.txt"
    points = text if text.is_file() else stem.parent / f"{name}.pp"
    return read_scan(find_mesh(stem), points)


def read_region(path: Path) -> np.ndarray:
    """Numbers of the compared vertices, from 0.

    Raises:
        InputError: no such file, or no numbers.
    """
    if not path.is_file():
        raise InputError(f"--topology {path} does not exist; it lists the compared vertices")
    try:
        numbers = np.array(decode_text(path.read_bytes()).split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"--topology {path} is no list of vertex numbers ({error})") from error
    if not len(numbers) or numbers.min() < 0:
        raise InputError(f"--topology {path} must list vertices by numbers from 0")
    return np.unique(numbers)


def mean_mm(scan: Scan, predicted: PredictedMesh, region: np.ndarray | None) -> float:
    """The error of one mesh."""
    vertices = predicted.mesh.vertices
    if region is None:
        region = np.flatnonzero(inside_sphere(vertices, *face_sphere(predicted.seven)))
    if region.max() >= len(vertices):
        raise InputError(
            f"--topology names vertex {region.max()}, but a mesh has {len(vertices)}; it is of "
            "another topology"
        )
    surface = SurfaceTree(scan.mesh.vertices, scan.mesh.triangles)
    # The true surface is moved to the prediction, whose vertices are the points.
    start = fit_similarity(scan.landmarks[:7], predicted.seven)
    found = refine(vertices[region], surface, start)
    return float(found.distances.mean() / found.motion.scale)
