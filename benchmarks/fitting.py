"""What fits are worth: on rendered faces of known shape, and on photos.

python -m benchmarks.fitting --photos FOLDER --bfm_folder BFM

    renders   of the fitted model's own people: landmarks against the true ones, albedo against the
              true one, how far lids are apart, where open eyes look to the side. Landmarks are
              detected, as in photos.
    heads     renders of random heads of ICT-FaceKit, which the user downloads (BFM/README.md): the
              fitted face without expression against the head, corresponding points, after the best
              rigid motion and after the best similarity, beside the mean face; and several photos
              of one person together
    robust    the first again with a patch over the face, a bar over the eyes, a face mask, a full
              beard, and turned by 50 to 75 degrees; each with and without robust weights.
              Landmarks are the true ones and 2 pixels of noise, since the detector would miss many.
    photos    landmarks against the detected ones, colours against the photo's, lids against the
              detected ones

Eyes are `wider` on average than the true or the detected ones, which says nothing of single eyes,
and `off` by so much without the sign; both in per cent of the mean opening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.face_model_photos import PhotoFigureOptions, check, load
from benchmarks.fitting_video import lid_gap
from benchmarks.trained_networks import with_error
from data.detection import LandmarkDetector, create_detector
from data.skin_mask import skin_mask
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.fitting.fitter import PRESETS, FaceFitter
from models.landmarks import normalised_error
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import pose_face, shape_face
from options import parse_command
from options.data_options import DetectionOptions
from options.face_options import CROP_PX, FaceModelOptions
from options.fitting_weights import PUBLIC_WEIGHTS, FitWeights, Preset, TrackWeights
from options.synthesis_options import Looks
from util.assets import read_chosen_face_model
from util.command import run_command
from util.errors import InputError
from util.evaluation.head_correspondence import HeadCorrespondence, HeadPoints
from util.photos.photo_fitting import to_fit_batch
from util.studio import Pictures, Render, Studio

MAX_YAW_DEG = 40.0
OPEN_EYES = 0.06
"""Distance of the lids over that of the outer corners above which a gaze can be seen."""
PHOTOS_EACH = (2, 4, 8)
"""Of one person, fitted together."""


@dataclass(frozen=True)
class FittingFigures:
    """What is measured."""

    renders: int = 100
    """Renders of the model's own people; 0 leaves them out."""
    hidden: int = 40
    """Renders that are partly hidden or turned far; 0 leaves them out."""
    heads: int = 100
    """Renders of ICT-FaceKit's heads; 0 leaves them out."""
    people: int = 12
    """Of these, with several photos each; 0 leaves them out."""
    photos: str = ""
    """Folder of real photos; none leaves them out."""
    bfm_folder: str = "BFM"
    """Folder of ICT-FaceKit."""
    face_model: str = "open"
    """The model that is fitted."""
    looks: Looks = "full"
    """Of the renders: plain leaves out hair, ears, glasses, gloss and shadows, which no fitted
    model knows."""
    first_seed: int = 5000
    """Of the random heads. The weights were chosen on heads from 6000 on."""
    preset: Preset = "balanced"
    """Of several photos together."""

    def __post_init__(self) -> None:
        """Refuse counts below 0."""
        for name in ("renders", "hidden", "heads", "people"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class Way:
    """One row of the tables: how faces are fitted."""

    name: str
    weights: FitWeights
    levels: str
    """A preset, "landmarks" for these alone, or "mean" for the mean face in their pose."""


def ways(weights: FitWeights) -> list[Way]:
    """The rows."""
    return [
        Way("mean face", weights, "mean"),
        Way("landmarks", weights, "landmarks"),
        *(Way(preset, weights, preset) for preset in PRESETS),
        Way("balanced, public weights", PUBLIC_WEIGHTS, "balanced"),
    ]


class Fitters:
    """A fitter for each set of weights, made once."""

    def __init__(self, face_model: FaceModel) -> None:
        self.face_model = face_model
        self._made: dict[FitWeights, FaceFitter] = {}

    def __call__(self, weights: FitWeights) -> FaceFitter:
        """The fitter of some weights."""
        if weights not in self._made:
            self._made[weights] = FaceFitter(self.face_model, Camera.rnet(), Renderer(), weights)
        return self._made[weights]

    def fit(self, way: Way, batch: FaceBatch, *, one_person: bool = False) -> Coefficients:
        """The coefficients of a batch, one face after the other unless they are one person."""
        fitter = self(way.weights)
        if way.levels == "mean":
            assert batch.landmarks_px is not None
            return fitter.pose(batch.landmarks_px)
        levels = {**PRESETS, "landmarks": ()}[way.levels]
        if one_person:
            return fitter.fit(batch, levels, one_person=True).coefficients
        each = [
            fitter.fit(batch.rows(torch.tensor([k])), levels).coefficients
            for k in range(len(batch))
        ]
        blocks = [dict(one.items()) for one in each]
        return Coefficients(**{name: torch.cat([b[name] for b in blocks]) for name in blocks[0]})


def main(argv: Sequence[str] | None = None) -> None:
    """Print every table that is wanted."""
    options = parse_command([FittingFigures, FitWeights, TrackWeights], argv, __doc__ or "")
    wanted, weights = options[FittingFigures], options[FitWeights]
    photos = PhotoFigureOptions(photos=wanted.photos)
    check(photos)
    chosen = FaceModelOptions(wanted.face_model, jaw_landmarks="silhouette")
    own, _ = read_chosen_face_model(chosen)
    fitters, detector = Fitters(FaceModel(own)), create_detector(DetectionOptions())
    print(f"{own.card}, {torch.get_num_threads()} threads")
    with torch.no_grad():
        if wanted.renders:
            report_renders(fitters, weights, wanted, detector)
        if wanted.hidden:
            report_robustness(fitters, weights, wanted)
        if wanted.heads or wanted.people:
            report_heads(fitters, own, weights, wanted, detector)
        if wanted.photos:
            report_photos(fitters, weights, to_fit_batch(load(fitters.face_model, photos)))


def report_renders(
    fitters: Fitters, weights: FitWeights, wanted: FittingFigures, detector: LandmarkDetector
) -> None:
    """Landmarks and albedo of the model's own people."""
    studio = Studio(fitters.face_model, CROP_PX, wanted.looks, wanted.first_seed)
    numbers = studio.numbers(wanted.renders, MAX_YAW_DEG)
    pictures = Pictures.of(list(studio.take(numbers, "cluttered")), detector)
    true = torch.from_numpy(np.stack([r.landmarks_px for r in pictures.renders])).float()
    flat = torch.from_numpy(np.stack([render.coefficients for render in pictures.renders]))
    layout, skin = studio.layout, fitters.face_model.skin_mask[:, None]
    given = pictures.batch.landmarks_px
    assert given is not None
    print(f"\n{len(true)} renders of its own people (standard error)")
    true_gaze = _gaze(fitters.face_model, layout.split(flat))
    opened = torch.from_numpy(_opening(true) > OPEN_EYES)
    names = ["inner landmarks, %", "albedo, levels", "eyes wider, %", "eyes off, %"]
    names += [] if true_gaze is None else [f"gaze of {int(opened.sum())}, degrees"]
    _print_row("", names)
    _print_row("detector", [with_error(100 * _inner(given, true))])

    def albedo(coefficients: Coefficients) -> torch.Tensor:
        return fitters.face_model.albedo(coefficients.texture)

    for way in ways(weights):
        found = fitters.fit(way, pictures.batch)
        error = (albedo(found) - albedo(layout.split(flat))).abs() * skin
        levels = 255 * (error.sum(dim=1) / skin.sum()).mean(dim=1).numpy()
        points = _landmarks(fitters.face_model, found)
        wider = _eyes_wider(points, true)
        columns = [100 * _inner(points, true), levels, wider, np.abs(wider)]
        gaze = _gaze(fitters.face_model, found)
        if gaze is not None and true_gaze is not None:
            columns.append(torch.rad2deg(gaze - true_gaze).abs()[opened].numpy())
        _print_row(way.name, map(with_error, columns))


def report_robustness(fitters: Fitters, weights: FitWeights, wanted: FittingFigures) -> None:
    """Landmarks of faces that are partly hidden, or turned far."""
    studio = Studio(fitters.face_model, CROP_PX, wanted.looks, wanted.first_seed)
    numbers = studio.numbers(wanted.hidden, 15.0, start=50000)
    random = np.random.default_rng(wanted.first_seed)
    angles = studio.coefficients(numbers)[:, studio.layout.slices["angles_rad"]]
    turned = angles.copy()
    sides = random.choice([-1.0, 1.0], len(turned))
    turned[:, 1] = np.radians(random.uniform(50, 75, len(turned))) * sides
    plain = list(studio.take(numbers, "cluttered"))
    cases = {
        "nothing hidden": plain,
        "patch over a fifth": [_hidden(render, random, bar=False) for render in plain],
        "bar over the eyes": [_hidden(render, random, bar=True) for render in plain],
        "face mask": [_masked(render, random) for render in plain],
        "full beard": [_bearded(render, random) for render in plain],
        "turned by 50 to 75": list(studio.take(numbers, "cluttered", {"angles_rad": turned})),
    }
    ways_ = {
        "robust": Way("", weights, "balanced"),
        "not robust": Way("", replace(weights, robust_colour=float("inf")), "balanced"),
        "landmarks alone": Way("", weights, "landmarks"),
    }
    print(f"\n{len(numbers)} renders, inner landmarks, % (standard error)")
    _print_row("", ways_)
    for name, renders in cases.items():
        true = np.stack([render.landmarks_px for render in renders])
        given = true + random.normal(scale=2.0, size=true.shape)
        pictures = np.stack([render.picture for render in renders])
        skin = np.stack([skin_mask(picture) for picture in pictures])
        batch = FaceBatch(
            images=torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0,
            paths=("render",) * len(renders),
            landmarks_px=torch.from_numpy(given).float(),
            skin_mask=torch.from_numpy(skin)[:, None] / 255.0,
        )
        columns = []
        for way in ways_.values():
            points = _landmarks(fitters.face_model, fitters.fit(way, batch))
            columns.append(with_error(100 * _inner(points, torch.from_numpy(true).float())))
        _print_row(name, columns)


def _hidden(render: Render, random: np.random.Generator, *, bar: bool) -> Render:
    """The render with a patch of skin-like colour somewhere on the face, or a dark bar."""
    picture, points = render.picture.copy(), render.landmarks_px
    low, high = points.min(axis=0), points.max(axis=0)
    if bar:
        eyes = points[36:48]
        middle, half = eyes.mean(axis=0), np.array([0.55, 0.09]) * (high - low)
        colour = random.integers(10, 60, 3)
    else:
        half = 0.225 * (high - low)
        middle = random.uniform(low + half, high - half)
        colour = random.integers(90, 230, 3)
    first = np.clip(middle - half, 0, CROP_PX).astype(int)
    last = np.clip(middle + half, 0, CROP_PX).astype(int)
    picture[first[1] : last[1], first[0] : last[0]] = colour
    return replace(render, picture=picture)


def _masked(render: Render, random: np.random.Generator) -> Render:
    """The render with a face mask from the bridge of the nose to below the chin."""
    points = render.landmarks_px
    drop = [0.0, 0.06 * np.ptp(points[:, 1])]
    outline = [*points[1:4], *(points[4:13] + drop), *points[13:16], points[28]]
    height, width, _ = render.picture.shape
    shape = _filled(outline, (height, width))
    shade = 1 - 0.25 * random.uniform() * np.linspace(0, 1, len(shape))[:, None, None]
    colour = shade * random.choice([[140, 190, 215], [235, 235, 235], [35, 35, 40]])
    return replace(render, picture=np.where(shape, colour, render.picture).astype(np.uint8))


def _bearded(render: Render, random: np.random.Generator) -> Render:
    """The render with a dark, grainy beard around the mouth and along the jaw."""
    points, (height, width, _) = render.landmarks_px, render.picture.shape
    size = (height, width)
    nose = points[[31, 35]] * 0.75 + points[[50, 52]] * 0.25
    outline = [*points[3:14], points[54], *nose[::-1], points[48]]
    shape = _filled(outline, size) & ~_filled(points[48:60], size)
    grain = random.uniform(0.55, 1.45, (*size, 1)) * random.choice([30, 55, 90])
    colour = (0.12 * render.picture + 0.88 * grain * [1.0, 0.85, 0.7]).clip(0, 255)
    return replace(render, picture=np.where(shape, colour, render.picture).astype(np.uint8))


def _filled(outline: Sequence[np.ndarray] | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 1) bool: inside a polygon of continuous pixels."""
    picture = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(picture).polygon([tuple(map(float, point)) for point in outline], fill=1)
    return np.asarray(picture)[..., None] > 0


def report_heads(
    fitters: Fitters,
    own: FaceModelData,
    weights: FitWeights,
    wanted: FittingFigures,
    detector: LandmarkDetector,
) -> None:
    """Shapes of another face model's heads, from one photo and from several."""
    try:
        options = FaceModelOptions("ict", bfm_folder=wanted.bfm_folder)
        other, _ = read_chosen_face_model(options)
    except InputError as error:
        print(f"\nheads: left out, {error}")
        return
    correspondence = HeadCorrespondence.of_random_points(own, other, wanted.first_seed)
    print(f"points lie {correspondence.gap_mm:.2f} mm from the other's mean head")
    studio = Studio(FaceModel(other), CROP_PX, wanted.looks, wanted.first_seed)

    def truth(renders: Sequence[Render]) -> HeadPoints:
        return correspondence(studio.block("identity", renders))

    if wanted.heads:
        numbers = studio.numbers(wanted.heads, MAX_YAW_DEG)
        pictures = Pictures.of(list(studio.take(numbers, "cluttered")), detector)
        heads = truth(pictures.renders)
        true = torch.from_numpy(np.stack([r.landmarks_px for r in pictures.renders])).float()
        print(f"\n{len(true)} heads, mm (standard error)")
        names = ["points, rigid", "points, similarity", "inner landmarks, %"]
        names += ["eyes wider, %", "eyes off, %"]
        _print_row("", names)
        for way in ways(weights):
            found = fitters.fit(way, pictures.batch)
            points = _landmarks(fitters.face_model, found)
            errors = heads.errors_mm(own, found.identity.numpy())
            wider = _eyes_wider(points, true)
            columns = (*errors, 100 * _inner(points, true), wider, np.abs(wider))
            _print_row(way.name, map(with_error, columns))
    if wanted.people:
        report_people(fitters, own, weights, wanted, studio, detector, truth)


def report_people(
    fitters: Fitters,
    own: FaceModelData,
    weights: FitWeights,
    wanted: FittingFigures,
    studio: Studio,
    detector: LandmarkDetector,
    truth: Callable[[Sequence[Render]], HeadPoints],
) -> None:
    """Several photos of one person, fitted together."""
    most = max(PHOTOS_EACH)
    # Some more than are wanted, since the detector misses some.
    numbers = studio.numbers(wanted.people * (most + 4), MAX_YAW_DEG, start=100000)
    part = studio.layout.slices["identity"]
    way = Way("", weights, wanted.preset)
    rows: dict[int, list[np.ndarray]] = {count: [] for count in (1, *PHOTOS_EACH)}
    for person in range(wanted.people):
        mine = numbers[person * (most + 4) : (person + 1) * (most + 4)]
        identity = np.tile(studio.coefficients(mine[:1])[:, part], (len(mine), 1))
        renders = list(studio.take(mine, "cluttered", {"identity": identity}))
        pictures = Pictures.of(renders, detector)
        if len(pictures.renders) < most:
            continue
        heads = truth(pictures.renders[:1])
        for count in rows:
            batch = pictures.batch.rows(torch.arange(count))
            found = fitters.fit(way, batch, one_person=count > 1).item(0)
            rows[count].append(np.concatenate(heads.errors_mm(own, found.identity.numpy())))
    print(f"\n{len(rows[1])} people, {wanted.preset}, mm (standard error)")
    _print_row("photos of each", ("points, rigid", "points, similarity"))
    for count, errors in rows.items():
        columns = np.array(errors).T
        _print_row(str(count), map(with_error, columns))


def report_photos(fitters: Fitters, weights: FitWeights, batch: FaceBatch) -> None:
    """Landmarks against the detector's; colours at the finest level."""
    assert batch.landmarks_px is not None
    print(f"\n{len(batch)} photos (standard error)")
    names = ("inner landmarks, %", "colours, levels", "eyes wider, %", "eyes off, %")
    _print_row("", names)
    judge = fitters(replace(PUBLIC_WEIGHTS, w_photo=1.0))
    for way in ways(weights):
        found = fitters.fit(way, batch)
        points = _landmarks(fitters.face_model, found)
        inner = _inner(points, batch.landmarks_px)
        wider = _eyes_wider(points, batch.landmarks_px)
        term = judge.photo_terms(batch, 1).by_name["photo"]
        colours = 255 * term.energy(term.look(found)).numpy()
        columns = (100 * inner, colours, wider, np.abs(wider))
        _print_row(way.name, map(with_error, columns))


def _print_row(name: str, cells: Iterable[str]) -> None:
    print(f"{name:<26}" + "".join(f"{cell:>20}" for cell in cells))


def _eyes_wider(points: torch.Tensor, given: torch.Tensor) -> np.ndarray:
    """How much farther apart the lids (B, 68, 2) are than those given, in % of their mean."""
    return 100 * (_opening(points) - _opening(given)) / _opening(given).mean()


def _opening(landmarks: torch.Tensor) -> np.ndarray:
    """(B,) how far the lids (B, 68, 2) are apart, over the distance of the outer corners."""
    scale = (landmarks[:, 36] - landmarks[:, 45]).norm(dim=1)
    return lid_gap(landmarks.numpy()) / scale.numpy()


def _gaze(face_model: FaceModel, coefficients: Coefficients) -> torch.Tensor | None:
    """(B,) radians to the side that eyes are turned in the head; None if the model knows no eyes.

    By the mean vertices of iris and eyeball, of the expression alone: both eyes' mean.
    """
    regions = face_model.regions
    if "iris" not in regions or "eyeballs" not in regions:
        return None
    neutral = torch.zeros_like(coefficients.identity)
    vertices = face_model.shape(neutral, coefficients.expression)
    sides = []
    for eye in ("eye_left", "eye_right"):
        ball, iris = regions[eye] & regions["eyeballs"], regions[eye] & regions["iris"]
        axis = vertices[:, iris].mean(dim=1) - vertices[:, ball].mean(dim=1)
        sides.append(torch.atan2(axis[:, 0], axis[:, 2]))
    return torch.stack(sides).mean(dim=0)


def _inner(points: torch.Tensor, given: torch.Tensor) -> np.ndarray:
    return normalised_error(points, given)[0].numpy()


def _landmarks(face_model: FaceModel, coefficients: Coefficients) -> torch.Tensor:
    shaped = shape_face(face_model, coefficients)
    return pose_face(face_model, shaped, coefficients, Camera.rnet()).landmarks_px


if __name__ == "__main__":
    run_command(main)
