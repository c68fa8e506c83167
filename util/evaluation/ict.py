"""Renders of heads of ICT-FaceKit, whose shape is known: the benchmark that anyone can run.

    heads   random heads, a photo each; the face without expression against the head without
    people  random people with several photos each, taken together

Photos are renders before cluttered backdrops, with expressions, hair, glasses and shadows; faces
and landmarks are found by the default detector, and those that it misses are left out for every
method. Errors of each head, in millimetres:

    rigid       points that correspond, after the best rigid motion: shape and size
    similarity  the same, after the best similarity, since a photo hardly tells size from distance
    surface     the head's surface inside NoW's sphere from the predicted one, which may turn, move
                and grow; points may slide. The only one for meshes of others (`--predictions`)
    inner       landmarks in the photo, percent of the outer-eye distance
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.detection import create_detector
from data.images import write_image
from models.face_model import FaceModel, FaceModelData
from models.fitting.fitter import PRESETS
from models.landmarks import normalised_error, to_index
from models.parameters import Coefficients
from models.stages import pose_face, shape_face
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.evaluate_options import EvaluateOptions, IctBenchmarkOptions, results_folder
from options.flags import ParsedOptions
from util.atomic import write_text
from util.errors import InputError
from util.evaluation.evaluation_report import write_results
from util.evaluation.head_correspondence import HeadCorrespondence
from util.evaluation.ict_heads import PHOTOS_EACH, Heads, read_heads
from util.evaluation.method_names import method_folder, method_name
from util.evaluation.predicted_meshes import check_meshes, read_seven
from util.evaluation.shape_methods import (
    SEVEN,
    SHAPE_METHODS,
    FaceShape,
    FitShape,
    MeanShape,
    ShapeMethod,
    face_shapes,
    mean_of,
)
from util.evaluation.shown_meshes import ShownMeshes
from util.evaluation.tables import BenchmarkTable, Column, check_table, mean_and_error
from util.evaluation.what_was_used import Used, what_was_used
from util.mesh_files.mesh_reader import existing_mesh, read_mesh
from util.studio import Pictures

_SECONDS = {"fast": 0.11, "balanced": 0.47, "best": 1.4}
"""That a fit takes by its preset on two cores; another computer's are about in proportion."""
_OTHER_SECONDS = 0.1
"""That a photo takes otherwise, and the comparison of one head."""

COLUMNS = (
    Column("method", "method"),
    Column("of", "of"),
    Column("photos", "photos"),
    Column("heads", "heads"),
    Column("rigid mm", "rigid_mm", "rigid_error", 2, "least"),
    Column("similarity mm", "similarity_mm", "similarity_error", 2, "least"),
    Column("surface mm", "surface_mm", "surface_error", 2, "least"),
    Column("inner %", "inner_percent", "inner_error", 2, "least"),
)


@dataclass(frozen=True)
class HeadRow:
    """One method on one set of photos: means over heads, and their standard errors."""

    method: str
    data: str
    """Fingerprint of heads and photos."""
    of: str
    """`heads`, or `people`."""
    photos: int
    """Of each head."""
    heads: int
    rigid_mm: float
    rigid_error: float
    similarity_mm: float
    similarity_error: float
    surface_mm: float
    surface_error: float
    inner_percent: float
    inner_error: float


TABLE = BenchmarkTable(
    "ICT-FaceKit: faces without expression from renders of heads of known shape",
    "Means over heads (standard errors). rigid and similarity: points that correspond, after the "
    "best rigid motion, or with the size free; surface: distance of the head's surface from the "
    "predicted one, which is what the colours show; inner: landmarks inside the face in the photo, "
    "percent of the outer-eye distance. people: several photos of one person, taken together.",
    *("heads", HeadRow, COLUMNS),
)


@dataclass(frozen=True)
class HeadErrors:
    """Of each head, (N,); empty where a method says nothing about it."""

    rigid_mm: np.ndarray
    similarity_mm: np.ndarray
    surface_mm: np.ndarray
    inner_percent: np.ndarray

    def row(self, method: str, data: str, of: str, photos: int) -> HeadRow:
        """Their means."""
        parts = (self.rigid_mm, self.similarity_mm, self.surface_mm, self.inner_percent)
        numbers = [number for part in parts for number in mean_and_error(part)]
        return HeadRow(method, data, of, photos, len(self.surface_mm), *numbers)


class HeadScorer:
    """Measures one face model's predictions."""

    def __init__(self, heads: Heads, own: FaceModelData, face_model: FaceModel, seed: int) -> None:
        """Find corresponding points, where the face model has a counterpart of the heads."""
        self._heads, self._own, self._face_model = heads, own, face_model
        self._correspondence = HeadCorrespondence.of_random_points(own, heads.other, seed)
        print(
            f"Points of {own.name} lie {self._correspondence.gap_mm:.2f} mm from ICT-FaceKit's "
            "mean head"
        )

    def __call__(
        self,
        pictures: Pictures,
        found: Coefficients,
        method: ShapeMethod,
        shown: ShownMeshes | None = None,
    ) -> HeadErrors:
        """Errors of the faces of some photos.

        Args:
            pictures: the photos.
            found: what the method says of them.
            method: that said it.
            shown: takes the meshes that the report shows.
        """
        identities = self._heads.identities(pictures)
        own = found.identity.double().cpu().numpy()
        rigid, similar = self._correspondence(identities).errors_mm(self._own, own)
        shapes = face_shapes(self._face_model, found, neutral=True)
        surface = compare_shapes(self._heads, pictures, shapes, shown)
        return HeadErrors(rigid, similar, surface, self._inner_percent(pictures, found, method))

    @torch.no_grad()
    def _inner_percent(
        self, pictures: Pictures, found: Coefficients, method: ShapeMethod
    ) -> np.ndarray:
        shaped = shape_face(self._face_model, found)
        posed = pose_face(self._face_model, shaped, found, method.camera)
        # As exact continuous pixels, whatever the network means by them.
        points = to_index(posed.landmarks_px, method.landmark_origin).cpu() + 0.5
        true = torch.from_numpy(np.stack([r.landmarks_px for r in pictures.renders])).float()
        return 100 * normalised_error(points, true)[0].numpy()


def compare_shapes(
    heads: Heads, pictures: Pictures, shapes: Sequence[FaceShape], shown: ShownMeshes | None
) -> np.ndarray:
    """Mean distance (N,) of each head's surface from its prediction, mm."""
    distances = []
    identities = heads.identities(pictures)
    for number, identity, render, shape in zip(
        pictures.numbers, identities, pictures.renders, shapes, strict=True
    ):
        found = heads.head(identity).compare(shape)
        distances.append(found.mean_mm)
        if shown is not None:
            show = partial(found.shown, head_name(number), render.picture)
            shown.offer(found.mean_mm, show)
    return np.array(distances)


def head_name(number: int) -> str:
    """As photos and predictions are called."""
    return f"{number:03d}"


class Progress:
    """One bar over all photos of all methods, so that the time left is that of the whole.

    It counts the seconds that each part usually takes; their unit cancels.
    """

    def __init__(self, ways: Mapping[str, ShapeMethod], heads: int, people: int) -> None:
        """Sum up what is to be done."""
        several = sum(PHOTOS_EACH)
        photos = {
            name: heads + people * (1 if _is_mean(one) else several) for name, one in ways.items()
        }
        total = sum(photos[name] * _seconds(one) for name, one in ways.items())
        self._bar = tqdm(
            total=total,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left of the whole",
        )

    def begin(self, what: str) -> None:
        """Say what is done now."""
        self._bar.set_description_str(what)

    def done(self, method: ShapeMethod, photos: int) -> None:
        """Some photos more."""
        self._bar.update(photos * _seconds(method))

    def close(self) -> None:
        """The end."""
        self._bar.close()


def _is_mean(method: ShapeMethod) -> bool:
    """Whether more photos tell it nothing."""
    return isinstance(method, MeanShape)


def _seconds(method: ShapeMethod) -> float:
    """That a photo usually takes, with its comparison."""
    fit = _SECONDS[method.preset] if isinstance(method, FitShape) else 0.0
    return fit + _OTHER_SECONDS


def evaluate_ict(options: ParsedOptions) -> None:
    """Score the methods of one face model; print and write the table with all earlier ones.

    It is no `MeshBenchmark`: it scores several methods in one run, by their coefficients and not by
    files, and people by several photos.
    """
    chosen, wanted = options[EvaluateOptions], options[IctBenchmarkOptions]
    out = results_folder(options)
    # What folders, flags and tables tell is refused before the first photo is rendered; meshes of
    # heads whose faces are found, and rows of other photos, can only be checked after.
    heads = Heads(read_heads(wanted.ict or chosen.benchmark_root), wanted)
    scored = _Folder(options) if chosen.predictions else _Model(options, heads)
    path = out / f"{TABLE.name}.csv"
    check_table(path, TABLE.row, scored.names, heads.wanted_fingerprint)
    detector = create_detector(options[DetectionOptions])
    singles = heads.singles(detector)
    scored.check(singles)
    write_photos(out / "photos", singles)
    people, left_out = heads.people(detector)
    data = heads.fingerprint(singles, people)
    check_table(path, TABLE.row, scored.names, data)
    missed = heads.missed(singles)
    found = f"Faces are found of {len(singles.renders)} of {wanted.heads} heads"
    if wanted.people:
        found += f" and {len(people)} of {wanted.people} people with several photos"
    notes = [f"{found}."]
    if missed:
        notes.append(f"The detector misses the heads {', '.join(map(head_name, missed))}.")
    if left_out:
        notes.append(f"Too few photos show a face of the people {', '.join(map(str, left_out))}.")
    print("\n".join(notes))
    rows, shown = scored.score(heads, singles, people, data)
    for meshes, errors in shown:
        each = method_folder(out, meshes.method) / "heads.csv"
        write_head_errors(each, singles, missed, errors)
    pictures = chosen.pictures
    write_results(out, TABLE, rows, [meshes for meshes, _ in shown], notes=notes, pictures=pictures)


def write_head_errors(
    path: Path, singles: Pictures, missed: Sequence[int], errors: HeadErrors
) -> None:
    """A line for each head; of those that the detector missed it says so, without numbers."""
    titles = [field.name for field in fields(HeadErrors)]
    lines = {number: [head_name(number), "no", *("" for _ in titles)] for number in missed}
    columns = [getattr(errors, title) for title in titles]
    for place, number in enumerate(singles.numbers.tolist()):
        cells = [f"{column[place]:.4f}" if len(column) else "" for column in columns]
        lines[number] = [head_name(number), "yes", *cells]
    table = [["head", "found", *titles], *(lines[number] for number in sorted(lines))]
    write_text(path, "".join(f"{','.join(line)}\n" for line in table))


Scored = tuple[list[HeadRow], list[tuple[ShownMeshes, HeadErrors]]]
"""Rows; and of each method the meshes that are shown, and the errors of single heads."""


class _Model:
    """What `--model` means: the mean face, and the method, a fitter with each of its presets."""

    def __init__(self, options: ParsedOptions, heads: Heads) -> None:
        """Load it, to be scored on renders of some heads.

        Raises:
            InputError: it cannot be used.
        """
        self._options = options
        self._method, self._own = SHAPE_METHODS[options[BaseOptions].model](options)
        self._ways = self._find_ways()
        self._used = {name: self._used_by(heads, one) for name, one in self._ways.items()}

    @property
    def names(self) -> Collection[str]:
        """Of the rows' methods."""
        return self._ways

    def check(self, singles: Pictures) -> None:
        """Photos are all that it needs."""

    def score(
        self, heads: Heads, singles: Pictures, people: Sequence[Pictures], data: str
    ) -> Scored:
        """Score every way on heads and people."""
        seed = self._options[IctBenchmarkOptions].head_seed
        scorer = HeadScorer(heads, self._own, self._method.face_model, seed)
        progress = Progress(self._ways, len(singles.renders), len(people))
        at_once = self._options[EvaluateOptions].eval_batch_size
        rows, shown = [], []
        for name, one in self._ways.items():
            progress.begin(f"{name}, heads")
            some_at_once = 1 if isinstance(one, FitShape) else at_once
            errors, meshes = [], ShownMeshes(name, data, self._used[name])
            for begin in range(0, len(singles.renders), some_at_once):
                some = singles.part(begin, begin + some_at_once)
                errors.append(scorer(some, one(some.batch), one, meshes))
                progress.done(one, len(some.renders))
            joined = _joined(errors)
            rows.append(joined.row(name, data, "heads", 1))
            shown.append((meshes, joined))
            for photos in PHOTOS_EACH if people else ():
                if photos > 1 and _is_mean(one):
                    break
                progress.begin(f"{name}, people by {photos} photo{'s' if photos > 1 else ''}")
                errors = []
                for pictures in people:
                    some = pictures.first(photos)
                    # One row a person: all photos gave one identity.
                    together = one(some.batch, one_person=photos > 1).item(0)
                    errors.append(scorer(some.first(1), together, one))
                    progress.done(one, photos)
                rows.append(_joined(errors).row(name, data, "people", photos))
        progress.close()
        return rows, shown

    def _used_by(self, heads: Heads, one: ShapeMethod) -> Used:
        options = self._options
        if _is_mean(one):
            options = options.with_values(BaseOptions, model="mean")
        preset = one.preset if isinstance(one, FitShape) else ""
        return what_was_used(options, self._own.card, heads=heads.other.card, preset=preset)

    def _find_ways(self) -> dict[str, ShapeMethod]:
        options, method = self._options, self._method
        ways: dict[str, ShapeMethod] = {f"mean face ({self._own.name})": mean_of(method)}
        given = options[EvaluateOptions].method_name
        if isinstance(method, FitShape):
            presets = [method.preset] if options.given("preset") else list(PRESETS)
            for preset in presets:
                ways[f"{given or 'fit'} {preset}"] = replace(method, preset=preset)
        elif options[BaseOptions].model != "mean":
            ways[method_name(options)] = method
        return ways


class _Folder:
    """Meshes of others: `000.obj` or `.ply` with seven landmarks, `000.npy` or `.txt`."""

    def __init__(self, options: ParsedOptions) -> None:
        """Take the folder.

        Raises:
            InputError: it holds no such mesh.
        """
        self._options = options
        self._folder = Path(options[EvaluateOptions].predictions)
        self.names: Collection[str] = [method_name(options)]
        heads = range(options[IctBenchmarkOptions].heads)
        there = [head_name(n) for n in heads if existing_mesh(self._folder / head_name(n))]
        if not there:
            raise InputError(f"{self._folder} holds no {head_name(0)}.obj or .ply, nor of others")
        check_meshes(self._folder, there, "unknown")

    def check(self, singles: Pictures) -> None:
        """See that every head that was found has its mesh.

        Raises:
            InputError: one lacks.
        """
        check_meshes(self._folder, [head_name(number) for number in singles.numbers], "unknown")

    def score(
        self, heads: Heads, singles: Pictures, people: Sequence[Pictures], data: str
    ) -> Scored:
        """Score the meshes."""
        shapes = []
        for number in tqdm(singles.numbers, unit="mesh"):
            stem = self._folder / head_name(number)
            mesh = read_mesh(stem)
            landmarks = np.zeros((68, 3))
            landmarks[list(SEVEN)] = read_seven(stem, "unknown")
            shapes.append(FaceShape(mesh.vertices, mesh.triangles, landmarks))
        (name,) = self.names
        used = what_was_used(self._options, None, heads=heads.other.card)
        meshes = ShownMeshes(name, data, used)
        surface = compare_shapes(heads, singles, shapes, meshes)
        none = np.zeros(0)
        errors = HeadErrors(none, none, surface, none)
        return [errors.row(name, data, "heads", 1)], [(meshes, errors)]


def _joined(errors: Sequence[HeadErrors]) -> HeadErrors:
    names = [field.name for field in fields(HeadErrors)]
    return HeadErrors(*(np.concatenate([getattr(e, name) for e in errors]) for name in names))


def write_photos(folder: Path, singles: Pictures) -> None:
    """The photos of the heads, by the numbers that `--predictions` names them by, and no others.

    Those of an earlier run, of other heads or looks, are removed: nobody shall reconstruct them.
    """
    for path in folder.glob("*.png"):
        if path.stem.isdecimal():
            path.unlink()
    for number, render in zip(singles.numbers, singles.renders, strict=True):
        write_image(folder / f"{head_name(number)}.png", render.picture)
