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

from collections.abc import Callable, Collection, Mapping, Sequence
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
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.evaluation_report import keep_results, say_results
from util.evaluation.head_correspondence import HeadCorrespondence
from util.evaluation.ict_heads import PHOTOS_EACH, Heads, read_heads
from util.evaluation.kept_results import KeptResults, in_turn
from util.evaluation.method_names import method_folder, method_name
from util.evaluation.predicted_meshes import check_meshes, prediction_digest, read_seven
from util.evaluation.shape_methods import (
    SEVEN,
    SHAPE_METHODS,
    FaceShape,
    FitShape,
    MeanShape,
    ShapeMethod,
    face_shapes,
    from_arrays,
    mean_of,
    to_arrays,
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

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> HeadErrors:
        """Those of `arrays`; others are passed over."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """By their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def item(self, place: int) -> HeadErrors:
        """Those of one head."""
        return HeadErrors(*(values[place : place + 1] for values in self.arrays.values()))


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

    def offer_again(
        self, picture: Pictures, found: Coefficients, errors: HeadErrors, shown: ShownMeshes
    ) -> None:
        """Offer the face of a photo that was scored before; see `offer_again`."""
        offer_again(
            self._heads,
            picture,
            lambda: face_shapes(self._face_model, found, neutral=True)[0],
            float(errors.surface_mm[0]),
            shown,
        )

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


def offer_again(
    heads: Heads,
    picture: Pictures,
    make: Callable[[], FaceShape],
    surface_mm: float,
    shown: ShownMeshes,
) -> None:
    """Offer a face that was compared before; it is compared again only where it is shown.

    Args:
        heads: of the photos.
        picture: one photo.
        make: gives the prediction.
        surface_mm: how far it is off.
        shown: takes the mesh.
    """

    def show() -> ErrorMesh:
        (identity,), (render,) = heads.identities(picture), picture.renders
        found = heads.head(identity).compare(make())
        return found.shown(head_name(int(picture.numbers[0])), render.picture)

    shown.offer(surface_mm, show)


def head_name(number: int) -> str:
    """As photos and predictions are called."""
    return f"{number:03d}"


class Progress:
    """One bar over all photos of all methods, so that the time left is that of the whole.

    It counts the seconds that each part usually takes; their unit cancels.
    """

    def __init__(self, seconds: float) -> None:
        """Begin.

        Args:
            seconds: of the whole.
        """
        self._bar = tqdm(
            total=seconds,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left of the whole",
        )

    def begin(self, what: str) -> None:
        """Say what is done now."""
        self._bar.set_description_str(what)

    def done(self, seconds: float) -> None:
        """A part more."""
        self._bar.update(seconds)

    def skip(self, seconds: float) -> None:
        """A part that was done before, which says nothing of the time that is left."""
        self._bar.total -= seconds
        self._bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _is_mean(method: ShapeMethod) -> bool:
    """Whether more photos tell it nothing."""
    return isinstance(method, MeanShape)


def _seconds(method: ShapeMethod) -> float:
    """That a photo usually takes, with its comparison."""
    fit = _SECONDS[method.preset] if isinstance(method, FitShape) else 0.0
    return fit + _OTHER_SECONDS


@dataclass(frozen=True)
class _Photos:
    """What all methods are shown."""

    singles: Pictures
    people: Sequence[Pictures]
    data: str
    """Fingerprint of both, and of their heads."""


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
    scored = _Folder(options, heads) if chosen.predictions else _Model(options, heads)
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
    photos = _Photos(singles, people, data)
    seconds = sum(scored.seconds(name, photos) for name in scored.names)
    # Each method stands in table and report as soon as it is through: the rest may be stopped.
    with Progress(seconds) as progress:
        for name in scored.names:
            with KeptResults(out, name, [data, scored.used(name)]) as kept:
                rows, meshes, errors = scored.score(name, photos, kept, progress)
                write_head_errors(method_folder(out, name) / "heads.csv", singles, missed, errors)
                keep_results(out, TABLE, rows, meshes, notes=notes, pictures=chosen.pictures)
    say_results(out, TABLE, scored.names, pictures=chosen.pictures)


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


Scored = tuple[list[HeadRow], ShownMeshes, HeadErrors]
"""Rows of a method; the meshes that are shown; the errors of single heads."""


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
        seed = options[IctBenchmarkOptions].head_seed
        self._scorer = HeadScorer(heads, self._own, self._method.face_model, seed)

    @property
    def names(self) -> Collection[str]:
        """Of the rows' methods."""
        return self._ways

    def used(self, name: str) -> Used:
        """What one of them is."""
        return self._used[name]

    def check(self, singles: Pictures) -> None:
        """Photos are all that it needs."""

    def seconds(self, name: str, photos: _Photos) -> float:
        """That one of them usually takes."""
        one = self._ways[name]
        each = 1 if _is_mean(one) else sum(PHOTOS_EACH)
        return _seconds(one) * (len(photos.singles.renders) + each * len(photos.people))

    def score(self, name: str, photos: _Photos, kept: KeptResults, progress: Progress) -> Scored:
        """Score one of them on heads and people."""
        one, data = self._ways[name], photos.data
        shown = ShownMeshes(name, data, self._used[name])
        progress.begin(f"{name}, heads")
        errors = self._head_errors(one, photos.singles, kept, progress, shown)
        rows = [errors.row(name, data, "heads", 1)]
        for count in PHOTOS_EACH if photos.people else ():
            if count > 1 and _is_mean(one):
                break
            progress.begin(f"{name}, people by {count} photo{'s' if count > 1 else ''}")
            of_people = self._people_errors(one, photos.people, count, kept, progress)
            rows.append(of_people.row(name, data, "people", count))
        return rows, shown, errors

    def _head_errors(
        self,
        one: ShapeMethod,
        singles: Pictures,
        kept: KeptResults,
        progress: Progress,
        shown: ShownMeshes,
    ) -> HeadErrors:
        """Errors of each head."""
        at_once = 1 if isinstance(one, FitShape) else self._options[EvaluateOptions].eval_batch_size
        names = [head_name(number) for number in singles.numbers]
        done = [kept.find("head", name) for name in names]
        every = []
        for turn in in_turn([arrays is not None for arrays in done], at_once):
            some = singles.part(turn.start, turn.stop)
            if (arrays := done[turn.start]) is not None:
                errors = HeadErrors.of(arrays)
                face = from_arrays(arrays, one.face_model.mean_shape.device)
                self._scorer.offer_again(some, face, errors, shown)
                progress.skip(_seconds(one))
            else:
                found = one(some.batch)
                errors = self._scorer(some, found, one, shown)
                for place, row in enumerate(turn):
                    arrays = to_arrays(found.item(place)) | errors.item(place).arrays
                    kept.keep(arrays, "head", names[row])
                progress.done(len(turn) * _seconds(one))
            every.append(errors)
        return _joined(every)

    def _people_errors(
        self,
        one: ShapeMethod,
        people: Sequence[Pictures],
        count: int,
        kept: KeptResults,
        progress: Progress,
    ) -> HeadErrors:
        """Errors of each person, of so many photos together."""
        every = []
        for number, pictures in enumerate(people):
            name = ("person", str(number), str(count))
            if (arrays := kept.find(*name)) is not None:
                every.append(HeadErrors.of(arrays))
                progress.skip(count * _seconds(one))
                continue
            some = pictures.first(count)
            # One row a person: all photos gave one identity.
            together = one(some.batch, one_person=count > 1).item(0)
            every.append(self._scorer(some.first(1), together, one))
            kept.keep(every[-1].arrays, *name)
            progress.done(count * _seconds(one))
        return _joined(every)

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

    def __init__(self, options: ParsedOptions, heads: Heads) -> None:
        """Take the folder, to be scored on some heads.

        Raises:
            InputError: it holds no such mesh.
        """
        self._heads = heads
        self._used = what_was_used(options, None, heads=heads.other.card)
        self._folder = Path(options[EvaluateOptions].predictions)
        self.names: Collection[str] = [method_name(options)]
        numbers = range(options[IctBenchmarkOptions].heads)
        there = [head_name(n) for n in numbers if existing_mesh(self._folder / head_name(n))]
        if not there:
            raise InputError(f"{self._folder} holds no {head_name(0)}.obj or .ply, nor of others")
        check_meshes(self._folder, there, "unknown")

    def check(self, singles: Pictures) -> None:
        """See that every head that was found has its mesh.

        Raises:
            InputError: one lacks.
        """
        check_meshes(self._folder, [head_name(number) for number in singles.numbers], "unknown")

    def used(self, name: str) -> Used:
        """What the meshes are."""
        return self._used

    def seconds(self, name: str, photos: _Photos) -> float:
        """That they usually take."""
        return _OTHER_SECONDS * len(photos.singles.renders)

    def score(self, name: str, photos: _Photos, kept: KeptResults, progress: Progress) -> Scored:
        """Score the meshes."""
        singles, shown = photos.singles, ShownMeshes(name, photos.data, self._used)
        progress.begin(f"{name}, heads")
        surface = []
        for row, number in enumerate(singles.numbers):
            picture, stem = singles.part(row, row + 1), self._folder / head_name(number)
            key = ("mesh", head_name(number), prediction_digest(stem))
            if (arrays := kept.find(*key)) is not None:
                distances = arrays["surface_mm"]
                make = partial(_read_shape, stem)
                offer_again(self._heads, picture, make, float(distances[0]), shown)
                progress.skip(_OTHER_SECONDS)
            else:
                distances = compare_shapes(self._heads, picture, [_read_shape(stem)], shown)
                kept.keep({"surface_mm": distances}, *key)
                progress.done(_OTHER_SECONDS)
            surface.append(distances)
        none = np.zeros(0)
        errors = HeadErrors(none, none, np.concatenate(surface), none)
        return [errors.row(name, photos.data, "heads", 1)], shown, errors


def _read_shape(stem: Path) -> FaceShape:
    """A mesh of others, with the seven landmarks among the 68."""
    mesh = read_mesh(stem)
    landmarks = np.zeros((68, 3))
    landmarks[list(SEVEN)] = read_seven(stem, "unknown")
    return FaceShape(mesh.vertices, mesh.triangles, landmarks)


def _joined(errors: Sequence[HeadErrors]) -> HeadErrors:
    return HeadErrors(
        *(np.concatenate(parts) for parts in zip(*(e.arrays.values() for e in errors), strict=True))
    )


def write_photos(folder: Path, singles: Pictures) -> None:
    """The photos of the heads, by the numbers that `--predictions` names them by, and no others.

    Those of an earlier run, of other heads or looks, are removed: nobody shall reconstruct them.
    """
    for path in folder.glob("*.png"):
        if path.stem.isdecimal():
            path.unlink()
    for number, render in zip(singles.numbers, singles.renders, strict=True):
        write_image(folder / f"{head_name(number)}.png", render.picture)
