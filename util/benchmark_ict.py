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

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.detection import DetectionOptions, LandmarkDetector, create_detector
from data.images import write_image
from models.camera import CROP_PX
from models.face_model import FaceModel, FaceModelData, FaceModelOptions
from models.fitting.fitter import PRESETS
from models.landmarks import normalised_error, to_index
from models.parameters import Coefficients
from models.stages import pose_face, shape_face
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions, IctBenchmarkOptions, results_folder
from options.flags import ParsedOptions
from util.assets import read_chosen_face_model
from util.benchmark_names import method_name
from util.benchmark_tables import Column, mean_and_error, write_tables
from util.error_picture import ErrorMesh, draw_errors
from util.errors import InputError
from util.face_transfer import shape_landmarks
from util.head_correspondence import HeadCorrespondence
from util.mesh_reader import read_mesh
from util.point_fits import fit_similarity
from util.scan_crops import face_sphere, inside_sphere, kept_triangles
from util.scan_predictions import read_seven
from util.scan_registration import Registration, refine
from util.shape_methods import (
    SEVEN,
    SHAPE_METHODS,
    FaceShape,
    FitShape,
    MeanShape,
    ShapeMethod,
    face_shapes,
    mean_of,
)
from util.studio import Pictures, Studio
from util.surface import SurfaceTree

MAX_YAW_DEG = 40.0
PHOTOS_EACH = (1, 2, 4, 8)
"""Of one person, taken together."""
_SPARE = 4
"""Photos of a person beyond the most that are needed, since the detector misses some."""
_PEOPLE = 100_000
"""Sample from which on people are drawn; heads before."""
_SURFACE_POINTS = 1500
_SHOWN = 5
"""Heads in the picture of errors."""
_MM_PER_DM = 100

COLUMNS = (
    Column("method", "method"),
    Column("of", "of"),
    Column("photos", "photos"),
    Column("heads", "heads"),
    Column("rigid mm", "rigid_mm", "rigid_error", 2),
    Column("similarity mm", "similarity_mm", "similarity_error", 2),
    Column("surface mm", "surface_mm", "surface_error", 2),
    Column("inner %", "inner_percent", "inner_error", 2),
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


@dataclass(frozen=True)
class TrueHead:
    """A head without expression, decimetres."""

    vertices: np.ndarray
    """(V, 3)"""
    triangles: np.ndarray
    """(F, 3)"""
    seven: np.ndarray
    """(7, 3) landmarks."""
    inside: np.ndarray
    """(V,) bool: skin inside NoW's sphere."""
    points: np.ndarray
    """(P, 3) of it, spread evenly."""

    def registration(self, shape: FaceShape) -> tuple[Registration, SurfaceTree]:
        """A predicted mesh laid over it, in decimetres."""
        surface = SurfaceTree(shape.vertices, shape.triangles)
        start = fit_similarity(shape.landmarks[list(SEVEN)], self.seven)
        return refine(self.points, surface, start), surface


class Heads:
    """The photos, and what is true of them."""

    def __init__(self, other: FaceModelData, wanted: IctBenchmarkOptions) -> None:
        """Prepare the studio.

        Args:
            other: ICT-FaceKit.
            wanted: which heads.
        """
        self.other, self._wanted = other, wanted
        self._studio = Studio(FaceModel(other), CROP_PX, wanted.looks, wanted.head_seed)
        self._vertex_areas = _vertex_areas(other)

    def singles(self, detector: LandmarkDetector) -> Pictures:
        """A photo of each head in which the detector finds the face."""
        numbers = self._studio.numbers(self._wanted.heads, MAX_YAW_DEG)
        renders = tqdm(
            self._studio.take(numbers, "cluttered"), "photos", len(numbers), unit="photo"
        )
        return Pictures.of(list(renders), detector)

    def people(self, detector: LandmarkDetector) -> Iterator[Pictures]:
        """Photos of each person; those of whom too few show a face are left out."""
        most = max(PHOTOS_EACH)
        each, count = most + _SPARE, self._wanted.people
        numbers = self._studio.numbers(count * each, MAX_YAW_DEG, start=_PEOPLE)
        part = self._studio.layout.slices["identity"]
        for person in range(count):
            mine = numbers[person * each : (person + 1) * each]
            identity = np.tile(self._studio.coefficients(mine[:1])[:, part], (each, 1))
            renders = list(self._studio.take(mine, "cluttered", {"identity": identity}))
            with suppress(InputError):  # found in none of them
                pictures = Pictures.of(renders, detector)
                if len(pictures.renders) >= most:
                    yield pictures.first(most)

    def identities(self, pictures: Pictures) -> np.ndarray:
        """(N, K) of the photos."""
        return self._studio.block("identity", pictures.renders)

    def head(self, identity: np.ndarray) -> TrueHead:
        """The head of identity coefficients (K,)."""
        other = self.other
        vertices = other.mean_shape + other.identity_basis.astype(np.float64) @ identity
        seven = shape_landmarks(other, vertices)[list(SEVEN)]
        inside = inside_sphere(vertices, *face_sphere(seven)) & ~other.regions["eyeballs"]
        shares = self._vertex_areas * inside
        random = np.random.default_rng(self._wanted.head_seed)
        count = min(_SURFACE_POINTS, int((shares > 0).sum()))
        chosen = random.choice(len(vertices), count, replace=False, p=shares / shares.sum())
        return TrueHead(vertices, other.triangles, seven, inside, vertices[chosen])

    def fingerprint(self, pictures: Pictures, people: Sequence[Pictures]) -> str:
        """Of everything that errors depend on beside the method."""
        wanted = replace(self._wanted, ict="")
        digest = hashlib.sha256(f"{self.other.card.fingerprint} {wanted}".encode())
        for part in (pictures, *people):
            digest.update(part.numbers.tobytes())
        return digest.hexdigest()[:12]


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

    def __call__(self, pictures: Pictures, found: Coefficients, method: ShapeMethod) -> HeadErrors:
        """Errors of the faces of some photos."""
        identities = self._heads.identities(pictures)
        own = found.identity.double().cpu().numpy()
        rigid, similar = self._correspondence(identities).errors_mm(self._own, own)
        shapes = face_shapes(self._face_model, found, neutral=True)
        surface = [
            self._heads.head(identity).registration(shape)[0].distances.mean()
            for identity, shape in zip(identities, shapes, strict=True)
        ]
        return HeadErrors(
            rigid,
            similar,
            _MM_PER_DM * np.array(surface),
            self._inner_percent(pictures, found, method),
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


def evaluate_ict(options: ParsedOptions) -> None:
    """Score the methods of one face model; print and write the table with all earlier ones."""
    chosen, wanted = options[EvaluateOptions], options[IctBenchmarkOptions]
    heads = Heads(read_heads(wanted.ict or chosen.benchmark_root), wanted)
    detector = create_detector(options[DetectionOptions])
    singles, people = heads.singles(detector), list(heads.people(detector))
    data = heads.fingerprint(singles, people)
    out = results_folder(chosen)
    if chosen.predictions:
        rows, shown = _score_folder(heads, singles, Path(chosen.predictions), data, options)
    else:
        rows, shown = _score_model(heads, singles, people, data, options)
    table = write_tables(out / "heads", rows, HeadRow, COLUMNS)
    _write_photos(out / "photos", singles)
    if chosen.pictures and shown:
        draw_errors(out / f"errors_{rows[-1].method.replace(' ', '_')}.png", shown)
    print(
        f"\nICT-FaceKit, {len(singles.renders)} of {wanted.heads} heads and {len(people)} of "
        f"{wanted.people} people whose faces were found (standard errors)\n{table}\n"
        f"Tables, photos and pictures in {out}"
    )


def read_heads(folder: str) -> FaceModelData:
    """ICT-FaceKit of the user's folder.

    Raises:
        InputError: none was given, or not such a folder.
    """
    if not folder:
        raise InputError(
            "--benchmark ict needs --ict DIR, the folder of ICT-FaceKit (github.com/ICT-VGL/"
            "ICT-FaceKit, MIT licence): FaceXModel, or the download that holds it"
        )
    if not Path(folder).is_dir():
        raise InputError(f"--ict {folder} is no folder; give ICT-FaceKit's FaceXModel")
    try:
        data, message = read_chosen_face_model(FaceModelOptions("ict", bfm_folder=folder))
    except InputError as error:
        raise InputError(f"--ict {folder}: {error}") from error
    print(f"Heads: {data.card}, {message}")
    return data


def _score_model(
    heads: Heads,
    singles: Pictures,
    people: Sequence[Pictures],
    data: str,
    options: ParsedOptions,
) -> tuple[list[HeadRow], list[list[ErrorMesh]]]:
    method, own = SHAPE_METHODS[options[BaseOptions].model].create(options)
    scorer = HeadScorer(heads, own, method.face_model, options[IctBenchmarkOptions].head_seed)
    rows, shown = [], []
    for name, one in _ways(method, own, options).items():
        found = one(singles.batch)
        rows.append(scorer(singles, found, one).row(name, data, "heads", 1))
        shown.append(
            _shown(heads, singles, face_shapes(method.face_model, found, neutral=True), name)
        )
        for photos in PHOTOS_EACH if people else ():
            if photos > 1 and isinstance(one, MeanShape):
                break  # more photos tell it nothing
            errors = []
            for pictures in tqdm(people, f"{name}, {photos} photos", unit="person"):
                some = pictures.first(photos)
                # One row a person: all photos gave one identity.
                together = one(some.batch, one_person=photos > 1).item(0)
                errors.append(scorer(some.first(1), together, one))
            rows.append(_joined(errors).row(name, data, "people", photos))
    return rows, shown


def _ways(
    method: ShapeMethod, own: FaceModelData, options: ParsedOptions
) -> dict[str, ShapeMethod]:
    """The rows by name: the mean face, and the method, a fitter with each of its presets."""
    ways: dict[str, ShapeMethod] = {f"mean face ({own.name})": mean_of(method)}
    given = options[EvaluateOptions].method_name
    if isinstance(method, FitShape):
        presets = [method.preset] if options.given("preset") else list(PRESETS)
        for preset in presets:
            ways[f"{given or 'fit'} {preset}"] = replace(method, preset=preset)
    elif options[BaseOptions].model != "mean":
        ways[method_name(options)] = method
    return ways


def _score_folder(
    heads: Heads, singles: Pictures, folder: Path, data: str, options: ParsedOptions
) -> tuple[list[HeadRow], list[list[ErrorMesh]]]:
    """Meshes of others: `000.obj` or `.ply` with seven landmarks, `000.npy` or `.txt`."""
    name = method_name(options)
    shapes, surface = [], []
    identities = heads.identities(singles)
    for number, identity in zip(singles.numbers, identities, strict=True):
        stem = folder / f"{number:03d}"
        mesh, seven = read_mesh(stem), read_seven(stem)
        landmarks = np.zeros((68, 3))
        landmarks[list(SEVEN)] = seven
        shapes.append(FaceShape(mesh.vertices, mesh.triangles, landmarks))
        registration, _ = heads.head(identity).registration(shapes[-1])
        surface.append(_MM_PER_DM * registration.distances.mean())
    none = np.zeros(0)
    errors = HeadErrors(none, none, np.array(surface), none)
    return [errors.row(name, data, "heads", 1)], [_shown(heads, singles, shapes, name)]


def _shown(
    heads: Heads, singles: Pictures, shapes: Sequence[FaceShape], name: str
) -> list[ErrorMesh]:
    """The first heads, coloured by their distance from what was predicted."""
    meshes = []
    identities = heads.identities(singles)
    for number, shape in list(enumerate(shapes))[:_SHOWN]:
        head = heads.head(identities[number])
        registration, surface = head.registration(shape)
        motion = registration.motion
        vertices = head.vertices[head.inside]
        back = motion.back(vertices)
        errors = _MM_PER_DM * motion.scale * surface.nearest(back).distances
        meshes.append(
            ErrorMesh(
                f"{name}: {_MM_PER_DM * registration.distances.mean():.2f} mm",
                vertices,
                kept_triangles(head.triangles, head.inside),
                errors,
            )
        )
    return meshes


def _joined(errors: Sequence[HeadErrors]) -> HeadErrors:
    names = ("rigid_mm", "similarity_mm", "surface_mm", "inner_percent")
    return HeadErrors(*(np.concatenate([getattr(e, name) for e in errors]) for name in names))


def _write_photos(folder: Path, singles: Pictures) -> None:
    """The photos of the heads, by the numbers that `--predictions` names them by."""
    for number, render in zip(singles.numbers, singles.renders, strict=True):
        write_image(folder / f"{number:03d}.png", render.picture)


def _vertex_areas(data: FaceModelData) -> np.ndarray:
    """(V,) three times the area around each vertex of the mean head."""
    corners = data.mean_shape[data.triangles].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.repeat(np.linalg.norm(across, axis=1) / 2, 3)
    return np.bincount(data.triangles.ravel(), areas, len(data.mean_shape))
