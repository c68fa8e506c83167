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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from models.face_model import FaceModelData
from options.evaluate_options import NowOptions
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.benchmark_folders import (
    NOW_CHALLENGES,
    NOW_LISTS,
    NOW_PHOTOS,
    NOW_PLACES,
    REMEDIES,
    listed_now,
)
from util.evaluation.comparison import compare, error_mesh
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score, Wanted
from util.evaluation.photo_shapes import BenchmarkPhoto, PhotoShapes
from util.evaluation.predicted_meshes import check_meshes, write_prediction
from util.evaluation.regions import face_sphere, inside_sphere
from util.evaluation.scans import Scan, only_file, read_scan, read_scan_points
from util.evaluation.tables import BenchmarkTable, Column
from util.model_files.safe_pickle import read_npy

IMAGES = {"validation": 352, "test": 1702}
"""In the published lists."""
BOXES = "detected_face"
_REMEDY = REMEDIES["now"]

COLUMNS = (
    Column("method", "method"),
    Column("size", "size"),
    Column("challenge", "challenge"),
    Column("images", "images"),
    Column("median", "median_mm", best="least"),
    Column("mean", "mean_mm", best="least"),
    Column("std", "std_mm", best="least"),
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

    def photo(self, number: int) -> BenchmarkPhoto:
        """A photo with the box of its face.

        Raises:
            InputError: it is not there.
        """
        name = self.photos[number]
        tried = [self.root / place / NOW_PHOTOS / name for place in NOW_PLACES] + [self.root / name]
        path = next((path for path in tried if path.is_file()), None)
        if path is None:
            raise InputError(f"{tried[0]} does not exist, nor {tried[-1]}; {_REMEDY}")
        return BenchmarkPhoto(path, self.names[number], self._box(self.names[number]))

    def scan_files(self, subject: str) -> tuple[Path, Path]:
        """The scan of a person and its landmarks; see `only_file`."""
        mesh = only_file(self.root / "scans" / subject, "*.obj", "the scan")
        return mesh, only_file(self.root / "scans_lmks_onlypp" / subject, "*.pp", "its landmarks")

    def scan(self, subject: str) -> Scan:
        """The scan of a person; see `read_scan`."""
        return read_scan(*self.scan_files(subject))

    def _box(self, name: str) -> np.ndarray | None:
        for place in NOW_PLACES:
            path = self.root / place / BOXES / f"{name}.npy"
            if path.is_file():
                return _box(path, read_npy(path, _REMEDY))
        return None


def read_now(root: Path, image_set: str) -> NowData:
    """Read the list of a set.

    Raises:
        InputError: no such list, or lines of another kind.
    """
    path = root / NOW_LISTS[image_set]
    names = listed_now(path)
    if len(names) != IMAGES[image_set]:
        print(f"{path} names {len(names)} images; the published list has {IMAGES[image_set]}")
    stems = [str(Path(name).with_suffix("").as_posix()) for name in names]
    return NowData(root, tuple(stems), tuple(names))


class Now(MeshBenchmark):
    """One neutral face of each photo; distances of all together."""

    table = BenchmarkTable(
        "NoW, validation: distance of scans from meshes, mm",
        "Distances of the scans' vertices inside a sphere about the face, of all images together. "
        "open: meshes may grow and shrink when they are laid over the scan; metrical: they may "
        "not. Colours are of the first, mean distances beside names too.",
        *("now", NowRow, COLUMNS),
    )
    each = "image"
    neutral = True

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """See `MeshBenchmark`; reads the list of the chosen set."""
        super().__init__(root, options)
        self._set = options[NowOptions].image_set
        self.written_to = self._set
        self._data = read_now(root, self._set)
        self._scan = lru_cache(maxsize=2)(self._data.scan)

    def find(self, theirs: Path | None) -> Wanted:
        """See `MeshBenchmark`: every image of the list."""
        names, photos = list(self._data.names), {}
        if theirs is None:
            photos = {name: [self._data.photo(number)] for number, name in enumerate(names)}
        else:
            check_meshes(theirs, names, self.mesh_unit)
        if self._set == "validation":
            for subject in dict.fromkeys(name.split("/")[0] for name in names):
                read_scan_points(self._data.scan_files(subject)[1], 7)
        return Wanted(names, photos)

    def predict(
        self, wanted: Wanted, shapes: PhotoShapes, data: FaceModelData, folder: Path
    ) -> None:
        """Write the prediction of every image of the list."""
        for found in shapes(wanted.each_photo):
            write_prediction(folder / found.photo.name, found.shape)
        shapes.print_missed()

    def unscored(self, folder: Path) -> str:
        """The test set is scored by the benchmark's authors."""
        if self._set != "test":
            return ""
        return f"{len(self._data.names)} predictions in {folder}: the folder to submit"

    def fingerprint(self, names: Sequence[str]) -> str:
        """Of the list."""
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]

    def titles(self) -> Sequence[str]:
        """See `MeshBenchmark`."""
        return [f"{what}_{size}_mm" for size in self._sizes for what in ("median", "mean", "std")]

    @property
    def _sizes(self) -> dict[str, bool]:
        """Whether meshes may grow and shrink."""
        return {"open": True} | ({} if self.mesh_unit == "unknown" else {"metrical": False})

    def score(self, name: str, folder: MeshFolder) -> Score:
        """Distances of the compared vertices, with the size open and, with a unit, metrical."""
        scan = self._scan(name.split("/")[0])
        part = inside_sphere(scan.mesh.vertices, *face_sphere(scan.landmarks))
        predicted = folder.read(name)
        distances = {
            size: compare(scan, part, predicted, scaled=scaled).distances.astype(np.float32)
            for size, scaled in self._sizes.items()
        }
        errors = [
            float(statistic(each))
            for each in distances.values()
            for statistic in (np.median, np.mean, np.std)
        ]
        shown = distances["open"]
        return Score(
            float(shown.mean()),
            tuple(errors),
            lambda: error_mesh(name, scan.mesh, scan.seven, shown, part),
            distances,
        )

    def rows(
        self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]
    ) -> list[NowRow]:
        """See `MeshBenchmark`."""
        if self.mesh_unit == "unknown":
            print("Nothing metrical: --mesh_unit does not say what the meshes are in")
        return [
            row
            for size in self._sizes
            for row in _rows(method, data, names, size, [score.details[size] for score in scores])
        ]


def _rows(
    method: str, data: str, names: Sequence[str], size: str, distances: list[np.ndarray]
) -> Iterator[NowRow]:
    challenges = np.array([name.split("/")[1] for name in names])
    for challenge in ("all", *NOW_CHALLENGES):
        chosen = np.flatnonzero((challenges == challenge) | (challenge == "all"))
        if not len(chosen):
            continue
        pooled = np.concatenate([distances[number] for number in chosen]).astype(np.float64)
        yield NowRow(
            method,
            data,
            size,
            challenge,
            len(chosen),
            len(pooled),
            float(np.median(pooled)),
            float(pooled.mean()),
            float(pooled.std()),
        )


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
