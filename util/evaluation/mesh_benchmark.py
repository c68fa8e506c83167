"""What all benchmarks of meshes do: predict, check, score, write the table, the errors, the report.

A benchmark is a `MeshBenchmark` that says what is its own: which predictions there must be, how far
one of them is off, and what its rows hold. `evaluate_meshes` does the rest, for all alike.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.detection import create_detector
from models.face_model import FaceModelData
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.evaluate_options import EvaluateOptions, ScanBenchmarkOptions, results_folder
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.comparison import PredictedMesh
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.evaluation_report import keep_results, say_results
from util.evaluation.kept_results import KeptResults
from util.evaluation.method_names import method_folder, method_name
from util.evaluation.photo_shapes import BenchmarkPhoto, PhotoShapes
from util.evaluation.predicted_meshes import prediction_digest
from util.evaluation.shape_methods import SHAPE_METHODS, ShapeMethod
from util.evaluation.shown_meshes import ShownMeshes
from util.evaluation.tables import BenchmarkTable, check_table, write_mesh_errors
from util.evaluation.what_was_used import what_was_used


@dataclass(frozen=True)
class Wanted:
    """What there is to predict and to score."""

    names: Sequence[str]
    """Of the predictions, all of which are scored."""
    photos: Mapping[str, Sequence[BenchmarkPhoto]] = field(default_factory=dict)
    """For `--model`: what each prediction is made of; empty for `--predictions`."""

    @property
    def each_photo(self) -> list[BenchmarkPhoto]:
        """Of all predictions, one after the other."""
        return [photo for photos in self.photos.values() for photo in photos]


@dataclass(frozen=True)
class MeshFolder:
    """The predictions of one method."""

    path: Path
    unit: str
    """Of the meshes; `unknown` leaves their size open."""

    def read(self, name: str) -> PredictedMesh:
        """A mesh with its seven landmarks; see `PredictedMesh.read`."""
        return PredictedMesh.read(self.path / name, self.unit)


@dataclass(frozen=True)
class Score:
    """How far one prediction is off."""

    figure: float
    """In one number, which the report shows; it tells which are the worst. Not a number where
    there is no prediction, and a benchmark allows it."""
    errors: tuple[float, ...]
    """As the benchmark's `measures` name them."""
    show: Callable[[], ErrorMesh] | None
    """Makes the errors as colours, where they are shown; None where there is no prediction."""
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the benchmark's rows need beside."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All but the colours, to be kept."""
        details = {f"{_DETAIL}{name}": values for name, values in self.details.items()}
        numbers = {"figure": np.array(self.figure), "errors": np.array(self.errors)}
        return {**numbers, "is_shown": np.array(self.show is not None), **details}

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, np.ndarray],
        score_again: Callable[[], Callable[[], ErrorMesh] | None],
    ) -> Score:
        """The score of `arrays`.

        Args:
            arrays: that were kept.
            score_again: gives its `show`, by scoring it once more: asked where colours are shown.
        """

        def show() -> ErrorMesh:
            again = score_again()
            assert again is not None
            return again()

        return cls(
            float(arrays["figure"]),
            tuple(arrays["errors"].tolist()),
            show if arrays["is_shown"] else None,
            {k.removeprefix(_DETAIL): v for k, v in arrays.items() if k.startswith(_DETAIL)},
        )


_DETAIL = "detail_"


class MeshBenchmark(ABC):
    """What one benchmark has of its own."""

    table: BenchmarkTable
    each: str = "mesh"
    """What is scored one by one; its errors are in `<method>/<each>.csv`, in the plural."""
    show_unit: str = "mm"
    """Of the errors that colours show."""
    measures: Sequence[str] = ()
    """Titles of a score's errors; see `titles`."""
    written_to: str = "predictions"
    """Where, in the method's folder, the meshes of `--model` go."""
    neutral: bool = False
    """Whether these are without expression."""

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """Take the user's copy of the data.

        Args:
            root: its folder.
            options: with the benchmark's own.
        """
        self.root, self.options = root, options

    @property
    def mesh_unit(self) -> str:
        """Of the meshes that are scored: what is predicted here is written in millimetres."""
        is_theirs = bool(self.options[EvaluateOptions].predictions)
        return self.options[ScanBenchmarkOptions].mesh_unit if is_theirs else "mm"

    @abstractmethod
    def find(self, theirs: Path | None) -> Wanted:
        """Find what there is to predict and to score; nothing is predicted yet.

        Args:
            theirs: folder of `--predictions`; None for `--model`, whose `predict` writes them.

        Raises:
            InputError: what the score of one needs is not there: its mesh, or else its photo; its
                scan.
        """

    def folder(self, path: Path) -> MeshFolder:
        """The predictions in a folder."""
        return MeshFolder(path, self.mesh_unit)

    def predict(
        self, wanted: Wanted, shapes: PhotoShapes, data: FaceModelData, folder: Path
    ) -> None:
        """Write the meshes of `--model`.

        Args:
            wanted: with the photos.
            shapes: the method.
            data: its face model.
            folder: of the meshes.

        Raises:
            InputError: photos are no part of the benchmark.
        """
        raise InputError("this benchmark scores files alone; give --predictions DIR")

    @abstractmethod
    def score(self, name: str, folder: MeshFolder) -> Score:
        """How far one prediction is off."""

    @abstractmethod
    def rows(self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]) -> list:
        """What the table says of all."""

    def titles(self) -> Sequence[str]:
        """Of a score's errors."""
        return self.measures

    def unscored(self, folder: Path) -> str:
        """Why predictions are only written; empty where they are scored."""
        return ""

    def compared_part(self) -> bytes:
        """What errors depend on beside the predictions' names, such as a region."""
        return b""

    def fingerprint(self, names: Sequence[str]) -> str:
        """Of what is compared: only rows that share it share a table."""
        digest = hashlib.sha256(" ".join(names).encode() + self.compared_part())
        return digest.hexdigest()[:12]


def evaluate_meshes(kind: type[MeshBenchmark], options: ParsedOptions) -> None:
    """Score one method on a benchmark, as the command line says."""
    chosen = options[EvaluateOptions]
    method, out = method_name(options), results_folder(options)
    benchmark = kind(Path(chosen.benchmark_root), options)
    theirs = Path(chosen.predictions) if chosen.predictions else None
    own = method_folder(out, method)
    folder = benchmark.folder(theirs or own / benchmark.written_to)
    # Files that lack, and tables of other data, are named before the first photo is looked at.
    wanted = benchmark.find(theirs)
    names = wanted.names
    data = benchmark.fingerprint(names)
    unscored = benchmark.unscored(folder.path)
    if not unscored:
        table = benchmark.table
        check_table(out / f"{table.name}.csv", table.row, [method], data)
    method_of_photos = None if theirs else SHAPE_METHODS[options[BaseOptions].model](options)
    card = None if method_of_photos is None else method_of_photos[1].card
    used = what_was_used(options, card)
    with KeptResults(out, method, [data, used, str(benchmark.root.resolve())]) as kept:
        if method_of_photos is not None:
            shapes = _photo_shapes(options, method_of_photos[0], kept, neutral=benchmark.neutral)
            benchmark.predict(wanted, shapes, method_of_photos[1], folder.path)
        if unscored:
            print(unscored)
            return
        shown = ShownMeshes(method, data, used, benchmark.show_unit)
        scores = []
        for name in tqdm(names, unit=benchmark.each):
            score = kept_score(benchmark, name, folder, kept)
            if chosen.pictures and score.show is not None:
                shown.offer(score.figure, score.show)
            # The meshes behind it need not stay in memory.
            scores.append(replace(score, show=None))
        rows = benchmark.rows(method, data, names, scores)
        each = np.array([score.errors for score in scores])
        plural = {"mesh": "meshes", "image": "images"}[benchmark.each]
        columns = ",".join(benchmark.titles())
        write_mesh_errors(own / f"{plural}.csv", columns, names, each, title=benchmark.each)
        keep_results(out, benchmark.table, rows, shown, pictures=chosen.pictures)
    say_results(out, benchmark.table, [method], pictures=chosen.pictures)


def kept_score(benchmark: MeshBenchmark, name: str, folder: MeshFolder, kept: KeptResults) -> Score:
    """The score of a prediction, or what a run that was stopped kept of it; see `Score.of`."""
    key = ("score", name, prediction_digest(folder.path / name))
    if (arrays := kept.find(*key)) is not None:
        return Score.of(arrays, lambda: benchmark.score(name, folder).show)
    score = benchmark.score(name, folder)
    kept.keep(score.arrays, *key)
    return score


def _photo_shapes(
    options: ParsedOptions, method: ShapeMethod, kept: KeptResults, *, neutral: bool
) -> PhotoShapes:
    """The method of `--model`, ready for photos."""
    detector = create_detector(options[DetectionOptions])
    at_once = options[EvaluateOptions].eval_batch_size
    return PhotoShapes(method, detector, at_once, neutral=neutral, kept=kept)
