"""NoW (Sanyal et al., CVPR 2019): neutral faces of 100 people against scans, 20 for validation.

    <root>/imagepathsvalidation.txt              one <subject>/<challenge>/<image>.jpg a line
    <root>/imagepathstest.txt                    the same
    <root>/NoW_Dataset/final_release_version/iphone_pictures/...      photos; also found below
    <root>/NoW_Dataset/final_release_version/detected_face/....npy    iphone_pictures/ or <root>
    <root>/scans/<subject>/*.obj                 millimetres, validation only
    <root>/scans_lmks_onlypp/<subject>/*.pp      seven landmarks

A prediction is `<subject>/<challenge>/<image>.obj` (or `.ply`) with `.npy` (or `.txt`); the folder
that is written for `--model` is what the benchmark wants for the test set. Steps of the score:

1. The mesh is laid over the scan by the seven landmarks, with its size left open, or, metrical, as
   it is.
2. The scan's vertices inside the sphere about the face are compared: the motion (and size) with the
   least sum of squared distances from them to the mesh's surface is found.
3. Their distances there, of all images together, give median, mean and standard deviation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.detection import DetectionOptions, create_detector
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions, ScanBenchmarkOptions, results_folder
from options.flags import ParsedOptions
from util.atomic import write_text
from util.benchmark_names import method_name
from util.benchmark_tables import Column, write_tables
from util.error_picture import ErrorMesh, draw_errors
from util.errors import InputError
from util.photo_shapes import BenchmarkPhoto, PhotoShapes
from util.safe_pickle import read_npy
from util.scan_comparison import PredictedMesh, compare, shown
from util.scan_crops import face_sphere, inside_sphere
from util.scan_files import Scan, only_file, read_scan
from util.scan_predictions import write_prediction
from util.shape_methods import SHAPE_METHODS
from util.text import decode_text

LISTS = {"validation": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
IMAGES = {"validation": 352, "test": 1702}
"""In the published lists."""
CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
PHOTOS, BOXES = "iphone_pictures", "detected_face"
_PLACES = ("NoW_Dataset/final_release_version", "final_release_version", "NoW_Dataset", ".")
_REMEDY = "the list, photos and scans come from now.is.tue.mpg.de"
_SHOWN = 5

COLUMNS = (
    Column("method", "method"),
    Column("size", "size"),
    Column("challenge", "challenge"),
    Column("images", "images"),
    Column("median", "median_mm"),
    Column("mean", "mean_mm"),
    Column("std", "std_mm"),
)


@dataclass(frozen=True)
class NowRow:
    """One method: distances of all compared vertices together, millimetres."""

    method: str
    data: str
    """Fingerprint of the list."""
    size: str
    """`open`, or `metrical`."""
    challenge: str
    """`all`, or one."""
    images: int
    points: int
    median_mm: float
    mean_mm: float
    std_mm: float


@dataclass(frozen=True)
class NowData:
    """The user's copy."""

    root: Path
    names: tuple[str, ...]
    """`<subject>/<challenge>/<image>` without ending, in the order of the list."""
    photos: tuple[str, ...]
    """The same with ending."""

    @property
    def fingerprint(self) -> str:
        """Of the list."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:12]

    def photo(self, number: int) -> BenchmarkPhoto:
        """A photo with the box of its face.

        Raises:
            InputError: it is not there.
        """
        name = self.photos[number]
        tried = [self.root / place / PHOTOS / name for place in _PLACES] + [self.root / name]
        path = next((path for path in tried if path.is_file()), None)
        if path is None:
            raise InputError(f"{tried[0]} does not exist, nor {tried[-1]}; {_REMEDY}")
        return BenchmarkPhoto(path, self.names[number], self._box(self.names[number]))

    def scan(self, subject: str) -> Scan:
        """The scan of a person; see `read_scan`."""
        mesh = only_file(self.root / "scans" / subject, "*.obj", "the scan")
        points = only_file(self.root / "scans_lmks_onlypp" / subject, "*.pp", "its landmarks")
        return read_scan(mesh, points)

    def _box(self, name: str) -> np.ndarray | None:
        for place in _PLACES:
            path = self.root / place / BOXES / f"{name}.npy"
            if path.is_file():
                return _box(path, read_npy(path, _REMEDY))
        return None


def read_now(root: Path, image_set: str) -> NowData:
    """Read the list of a set.

    Raises:
        InputError: no such folder or list, or lines of another kind.
    """
    path = root / LISTS[image_set]
    if not path.is_file():
        raise InputError(f"--benchmark_root: {path} does not exist; {_REMEDY}")
    lines = [line.strip() for line in decode_text(path.read_bytes()).splitlines() if line.strip()]
    names = []
    for number, line in enumerate(lines, 1):
        parts = line.replace("\\", "/").split("/")[-3:]
        if len(parts) < 3 or parts[1] not in CHALLENGES:
            raise InputError(
                f"{path}, line {number}: {line!r} is no <subject>/<challenge>/<image>, with one of "
                f"{', '.join(CHALLENGES)}"
            )
        names.append("/".join(parts))
    if not names:
        raise InputError(f"{path} is empty; {_REMEDY}")
    if len(names) != IMAGES[image_set]:
        print(f"{path} names {len(names)} images; the published list has {IMAGES[image_set]}")
    stems = [str(Path(name).with_suffix("").as_posix()) for name in names]
    return NowData(root, tuple(stems), tuple(names))


def evaluate_now(options: ParsedOptions) -> None:
    """Predict, and for validation score, with and without size."""
    chosen, scans = options[EvaluateOptions], options[ScanBenchmarkOptions]
    data = read_now(Path(chosen.benchmark_root), scans.image_set)
    name, out = method_name(options), results_folder(chosen)
    folder, unit = Path(chosen.predictions), scans.mesh_unit
    if not chosen.predictions:
        folder, unit = out / name / scans.image_set, "mm"
        predict_photos(data, folder, options)
    check_complete(data, folder)
    if scans.image_set == "test":
        print(f"{len(data.names)} predictions in {folder}: the folder to submit")
        return
    distances, pictures = score(data, folder, unit, shown_count=_SHOWN if chosen.pictures else 0)
    rows = [row for size, each in distances.items() for row in _rows(name, data, size, each)]
    table = write_tables(out / "now", rows, NowRow, COLUMNS)
    write_text(out / name / "images.csv", _image_errors(data, distances))
    if pictures:
        draw_errors(out / name / "errors.png", [pictures])
    print(f"\nNoW, validation: distance of scans from meshes, mm\n{table}\n")
    if unit == "unknown":
        print("Nothing metrical: --mesh_unit does not say what the meshes are in")
    print(f"Tables in {out}, errors of each image in {out / name}")


def predict_photos(data: NowData, folder: Path, options: ParsedOptions) -> None:
    """Write the prediction of every image of a list."""
    method, _ = SHAPE_METHODS[options[BaseOptions].model].create(options)
    detector = create_detector(options[DetectionOptions])
    shapes = PhotoShapes(method, detector, options[EvaluateOptions].eval_batch_size, neutral=True)
    for found in shapes([data.photo(number) for number in range(len(data.names))]):
        write_prediction(folder / found.photo.name, found.shape)
    shapes.print_missed()


def check_complete(data: NowData, folder: Path) -> None:
    """See that every image has a mesh and landmarks.

    Raises:
        InputError: some lack; the first and the count are named.
    """
    if not folder.is_dir():
        raise InputError(f"--predictions {folder} is no folder; give that of the meshes")
    for endings, what in (((".obj", ".ply"), "mesh"), ((".npy", ".txt"), "landmark file")):
        missing = [
            name
            for name in data.names
            if not any((folder / f"{name}{ending}").is_file() for ending in endings)
        ]
        if missing:
            raise InputError(
                f"{folder} has no {what} {missing[0]}{endings[0]} (or {endings[1]}), and lacks "
                f"{len(missing) - 1} more of {len(data.names)}; every image needs one, since those "
                "that a method leaves out are the difficult ones"
            )


def score(
    data: NowData, folder: Path, unit: str, shown_count: int = 0
) -> tuple[dict[str, list[np.ndarray]], list[ErrorMesh]]:
    """Distances of the compared vertices of each image, by whether size is open or metrical."""
    sizes = {"open": True} | ({} if unit == "unknown" else {"metrical": False})
    distances: dict[str, list[np.ndarray]] = {size: [] for size in sizes}
    pictures: list[ErrorMesh] = []
    scan_of = lru_cache(maxsize=2)(data.scan)
    for name in tqdm(data.names, unit="image"):
        scan = scan_of(name.split("/")[0])
        compared = inside_sphere(scan.mesh.vertices, *face_sphere(scan.landmarks))
        predicted = PredictedMesh.read(folder / name, unit)
        for size, scaled in sizes.items():
            errors = compare(scan, compared, predicted, scaled=scaled).registration.distances
            distances[size].append(errors.astype(np.float32))
        if len(pictures) < shown_count:
            errors = distances["open"][-1]
            pictures.append(shown(Path(name).name, scan, compared, errors))
    return distances, pictures


def _rows(method: str, data: NowData, size: str, distances: list[np.ndarray]) -> Iterator[NowRow]:
    challenges = np.array([name.split("/")[1] for name in data.names])
    for challenge in ("all", *CHALLENGES):
        chosen = np.flatnonzero((challenges == challenge) | (challenge == "all"))
        if not len(chosen):
            continue
        pooled = np.concatenate([distances[number] for number in chosen]).astype(np.float64)
        yield NowRow(
            method,
            data.fingerprint,
            size,
            challenge,
            len(chosen),
            len(pooled),
            float(np.median(pooled)),
            float(pooled.mean()),
            float(pooled.std()),
        )


def _image_errors(data: NowData, distances: dict[str, list[np.ndarray]]) -> str:
    """A .csv with a line for each image."""
    titles = [f"{what}_{size}_mm" for size in distances for what in ("median", "mean", "std")]
    lines = [",".join(["image", *titles])]
    for number, name in enumerate(data.names):
        cells = [
            f"{statistic(distances[size][number]):.4f}"
            for size in distances
            for statistic in (np.median, np.mean, np.std)
        ]
        lines.append(",".join([f'"{name}"', *cells]))
    return "\n".join(lines) + "\n"


def _box(path: Path, content: Any) -> np.ndarray:
    try:
        box = np.array([float(content[side]) for side in ("left", "top", "right", "bottom")])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} does not say left, top, right and bottom of the face; {_REMEDY}"
        ) from error
    if not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise InputError(f"{path} holds a box without an inside: {box.tolist()}; {_REMEDY}")
    return box
