"""What trained R-Nets are worth: on real photos, and on heads that no training has seen.

python -m benchmarks.trained_networks --runs plain full --photos FOLDER --bfm_folder BFM

    photos  landmark error against the default detector's points (or those in landmarks/), and the
            colours that are left when light and albedo are solved for
    heads   renders of random heads of ICT-FaceKit, which the user downloads (BFM/README.md). What
            the network sees in each is compared with the head, without expression: distances of
            corresponding points of the face after the best rigid motion, and after the best
            similarity, since one picture cannot tell a large head from a near one; and the
            distance of the head's surface from the predicted one, along which points may slide.

The mean face of the same model in the pose of five given points stands in the first row; a face
that is predicted as that has a ratio of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import test as test_command
from benchmarks.face_model_photos import (
    PhotoFigureOptions,
    check,
    errors,
    load,
    start,
)
from models.appearance import solve_appearance
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.facerecon_model import FaceReconModel
from models.landmarks import normalised_error
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import pose_face, reconstruct, shape_face
from options import parse_command
from options.face_options import CROP_PX, FaceModelOptions
from util.assets import read_chosen_face_model
from util.command import run_command
from util.errors import InputError
from util.evaluation.head_correspondence import (
    POINTS,
    corresponding_points,
    frontal_area,
    mean_distance_mm,
)
from util.evaluation.surface_fit import SurfaceFitter
from util.model_files.face_transfer import shape_landmarks
from util.photos.photo_fitting import to_fit_batch
from util.point_fits import fit_similarity
from util.studio import Render, Studio
from util.training.trained_model import load_reconstruction_model

MAX_YAW_DEG = 50.0
BATCH = 20
DRAWS = 200
"""Random people whose variation is compared with that of heads."""

Predictor = Callable[[FaceBatch], Coefficients]
"""A batch of aligned faces -> their coefficients."""


@dataclass(frozen=True)
class TrainedOptions:
    """What is compared."""

    runs: tuple[str, ...] = ()
    """Names of runs below checkpoints_dir; all of one face model."""
    checkpoints_dir: str = "checkpoints"
    """Folder of the runs."""
    epoch: str = "latest"
    """Which of their checkpoints."""
    photos: str = ""
    """Folder of real photos, with detections/ where the face to take is known; none leaves them
    out."""
    bfm_folder: str = "BFM"
    """Folder of the face models that runs were trained with, and of ICT-FaceKit."""
    heads: int = 100
    """Renders of as many random heads; 0 leaves them out."""
    head_seed: int = 5000
    """Random seed of heads and renders."""

    def __post_init__(self) -> None:
        """Refuse what compares nothing."""
        if not self.runs:
            raise InputError("--runs is empty; name one or more trained runs")
        if self.heads < 0:
            raise InputError(f"--heads is {self.heads}; it must be 0 or more")


@dataclass(frozen=True)
class Run:
    """A trained R-Net."""

    model: FaceReconModel
    data: FaceModelData
    """Arrays of its face model."""


@dataclass(frozen=True)
class PhotoErrors:
    """Of each photo, (N,)."""

    inner: np.ndarray
    """Mean distance of the inner 51 landmarks over the outer-eye distance."""
    jaw: np.ndarray
    """Of the 17 jaw points."""
    photometric: np.ndarray
    """Mean colour distance over the visible skin in 8-bit levels, light and albedo solved."""


@dataclass(frozen=True)
class HeadErrors:
    """Of each head, (N,)."""

    inner: np.ndarray
    """As `PhotoErrors.inner`."""
    rigid_mm: np.ndarray
    """Mean distance of corresponding points of the face without expression, rigidly aligned."""
    scaled_mm: np.ndarray
    """The same, aligned by a similarity."""
    surface_mm: np.ndarray
    """Mean distance of the head's surface from the predicted one, aligned by a similarity."""


@dataclass(frozen=True)
class Heads:
    """Renders of heads of another face model. N heads."""

    renders: tuple[Render, ...]
    surface: np.ndarray
    """(N, P, 3) points without expression, dm, spread evenly over the area seen from the front."""
    landmarks: np.ndarray
    """(N, 68, 3) of them."""
    points: np.ndarray
    """(N, Q, 3) where corresponding points of the face model lie on them, dm."""
    vertices: np.ndarray
    """(Q,) which vertices of the face model these are, evenly over its frontal area."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row for the mean face and one for each run."""
    wanted = parse_command([TrainedOptions], argv, __doc__ or "")[TrainedOptions]
    photos = PhotoFigureOptions(photos=wanted.photos)
    check(photos)
    head, message = find_heads(wanted)
    print(f"heads: {message}")
    if head is None and not wanted.photos:
        raise InputError("there is nothing to measure on; give --photos or ICT-FaceKit's heads")
    runs = {name: load_run(wanted, name) for name in wanted.runs}
    first = runs[wanted.runs[0]]
    for name, run in runs.items():
        if run.data.card != first.data.card:
            raise InputError(
                f"--runs {name} is of the face model {run.data.card}, {wanted.runs[0]} of "
                f"{first.data.card}; compare runs of one"
            )
    face_model = first.model.face_model
    predictors: dict[str, Predictor] = {"mean face": lambda batch: mean_face(face_model, batch)}
    for name, run in runs.items():
        predictors[name] = lambda batch, model=run.model: model.predict(batch.images)

    with torch.inference_mode():
        if wanted.photos:
            faces = load(face_model, photos)
            batches = [to_fit_batch(faces[k : k + BATCH]) for k in range(0, len(faces), BATCH)]
            report_photos({n: on_photos(face_model, p, batches) for n, p in predictors.items()})
        if head is not None:
            heads = photograph(head, first.data, wanted.heads, wanted.head_seed)
            report_variation(first.data, heads)
            report_heads({n: on_heads(first.data, p, heads) for n, p in predictors.items()})


def find_heads(wanted: TrainedOptions) -> tuple[FaceModelData | None, str]:
    """ICT-FaceKit, if it is wanted and there, and a sentence about it."""
    if not wanted.heads:
        return None, "left out (--heads 0)"
    try:
        return read_chosen_face_model(FaceModelOptions("ict", bfm_folder=wanted.bfm_folder))
    except InputError as error:
        return None, f"left out, {error}"


def load_run(wanted: TrainedOptions, name: str) -> Run:
    """The network and the face model of a run, as test.py loads them.

    Raises:
        InputError: no such run, or a face model without the regions that are compared.
    """
    folder = Path(wanted.checkpoints_dir)
    if not (folder / name).is_dir():
        there = sorted(path.name for path in folder.glob("*") if path.is_dir())
        raise InputError(
            f"--runs {name}: there is no such run in --checkpoints_dir {folder}"
            + (f"; it has {', '.join(there)}" if there else "")
        )
    line = ["--name", name, "--checkpoints_dir", str(folder), "--epoch", wanted.epoch]
    line += ["--gpu_ids", "-1", "--bfm_folder", wanted.bfm_folder]
    model, options = load_reconstruction_model(parse_command(test_command.GROUPS, line))
    data, _ = read_chosen_face_model(options[FaceModelOptions])
    if not {"border", "eyeballs"} <= data.regions.keys():
        raise InputError(
            f"--runs {name} is of the face model {data.card}, which names neither border nor "
            "eyeballs; only faces of the open model can be compared with heads"
        )
    return Run(model, data)


def mean_face(face_model: FaceModel, batch: FaceBatch) -> Coefficients:
    """The mean face in the pose of the five points among the given landmarks."""
    assert batch.landmarks_px is not None
    return Coefficients(**start(face_model, Camera.rnet(), batch.landmarks_px))


def on_photos(
    face_model: FaceModel, predict: Predictor, batches: Sequence[FaceBatch]
) -> PhotoErrors:
    """Errors on real photos, landmarks as the network gives them."""
    camera, renderer = Camera.rnet(), Renderer("auto")
    inner, jaw, photometric = [], [], []
    for batch in batches:
        assert batch.landmarks_px is not None and batch.skin_mask is not None
        first = reconstruct(face_model, renderer, camera, predict(batch))
        of_inner, of_jaw = normalised_error(first.posed.landmarks_px, batch.landmarks_px)
        solved = solve_appearance(face_model, camera, first, batch.images, batch.skin_mask)
        second = reconstruct(face_model, renderer, camera, solved)
        found = errors(second, batch, batch.skin_mask * second.face_mask)
        inner.append(of_inner)
        jaw.append(of_jaw)
        photometric.append(255 * found.photometric)
    return PhotoErrors(*(torch.cat(parts).numpy() for parts in (inner, jaw, photometric)))


def photograph(other: FaceModelData, own: FaceModelData, count: int, seed: int) -> Heads:
    """One render of each of some random heads, before cluttered backdrops.

    Args:
        other: whose heads.
        own: the face model that is predicted; it says which area counts.
        count: of heads.
        seed: of heads and renders.
    """
    studio = Studio(FaceModel(other), CROP_PX, seed=seed)
    renders = tuple(studio.take(studio.numbers(count, MAX_YAW_DEG), "cluttered"))
    identity = np.stack([r.coefficients[studio.layout.slices["identity"]] for r in renders])
    shapes = other.mean_shape + np.einsum("vdk,nk->nvd", other.identity_basis, identity)
    area = frontal_area(other, own)
    surface = shapes[:, area.vertices].astype(np.float64)
    landmarks = shape_landmarks(other, shapes)
    random = np.random.default_rng(seed)
    chosen = random.choice(len(area.vertices), POINTS, replace=False, p=area.weights)
    face = frontal_area(own, own)
    vertices = random.choice(face.vertices, POINTS, replace=False, p=face.weights)
    return Heads(
        renders=renders,
        surface=surface[:, chosen],
        landmarks=landmarks,
        points=corresponding_points(own, other, area, vertices, shapes),
        vertices=vertices,
    )


def on_heads(own: FaceModelData, predict: Predictor, heads: Heads) -> HeadErrors:
    """Errors on renders of another face model's heads."""
    model = FaceModel(own)
    inner, rigid, scaled, surface = [], [], [], []
    for first in range(0, len(heads.renders), BATCH):
        part = slice(first, first + BATCH)
        batch = render_batch(heads.renders[part])
        coefficients = predict(batch)
        inner.append(inner_error(model, coefficients, batch))
        identity = coefficients.identity.numpy()
        shapes = own.mean_shape + np.einsum("vdk,nk->nvd", own.identity_basis, identity)
        for number, shape in enumerate(shapes.astype(np.float64), first):
            predicted, true = shape[heads.vertices], heads.points[number]
            for errors_mm, with_scale in ((rigid, False), (scaled, True)):
                moved = fit_similarity(predicted, true, scaled=with_scale)(predicted)
                errors_mm.append(mean_distance_mm(moved, true))
            surface.append(
                surface_error_mm(own, shape, heads.surface[number], heads.landmarks[number])
            )
    return HeadErrors(np.concatenate(inner), np.array(rigid), np.array(scaled), np.array(surface))


def render_batch(renders: Sequence[Render]) -> FaceBatch:
    """Pictures and true landmarks; they are drawn as aligned crops."""
    pictures = torch.from_numpy(np.stack([render.picture for render in renders]))
    points = torch.from_numpy(np.stack([render.landmarks_px for render in renders]))
    return FaceBatch(
        images=pictures.permute(0, 3, 1, 2) / 255.0,
        paths=tuple("render" for _ in renders),
        landmarks_px=points.float(),
    )


def inner_error(model: FaceModel, coefficients: Coefficients, batch: FaceBatch) -> np.ndarray:
    """Landmark error of renders; the other model's convention is part of it."""
    assert batch.landmarks_px is not None
    shaped = shape_face(model, coefficients)
    posed = pose_face(model, shaped, coefficients, Camera.rnet())
    return normalised_error(posed.landmarks_px, batch.landmarks_px)[0].numpy()


def surface_error_mm(
    own: FaceModelData, shape: np.ndarray, surface: np.ndarray, landmarks: np.ndarray
) -> float:
    """Mean distance in millimetres of a head's surface from a predicted face.

    Args:
        own: the face model.
        shape: (V, 3) the prediction; it moves, and grows or shrinks as a whole.
        surface: (P, 3) points of the head, dm, in any pose.
        landmarks: (68, 3) of the head; those of the prediction start the motion.
    """
    growing = (shape - shape.mean(axis=0))[..., None]
    fitter = SurfaceFitter(replace(own, mean_shape=shape), growing, np.ones(1))
    fit = fitter.fit(surface, np.full(len(surface), 1 / len(surface)), landmarks)
    return 100 * float(fit.distances_dm.mean())


def report_photos(rows: dict[str, PhotoErrors]) -> None:
    """Print means and their standard errors."""
    count = len(next(iter(rows.values())).inner)
    print(f"\n{count} photos (standard error)")
    print(f"{'':<20}{'inner landmarks, %':>20}{'jaw, %':>20}{'colours, levels':>20}")
    for name, row in rows.items():
        columns = (100 * row.inner, 100 * row.jaw, row.photometric)
        print(f"{name:<20}" + "".join(f"{with_error(values):>20}" for values in columns))


def report_variation(own: FaceModelData, heads: Heads) -> None:
    """Print how much people differ, as heads and as random people of the face model."""
    random = np.random.default_rng(0)
    identity = own.identity_sigma * random.standard_normal((DRAWS, own.identity_sigma.size))
    basis = own.identity_basis[heads.vertices].astype(np.float64)
    people = own.mean_shape[heads.vertices] + np.einsum("vdk,nk->nvd", basis, identity)
    print(
        f"people differ from their mean, size aside, by {variation_mm(heads.points):.2f} mm "
        f"(heads) and {variation_mm(people):.2f} mm (the face model's)"
    )


def variation_mm(people: np.ndarray) -> float:
    """Mean distance of corresponding points (N, P, 3) from those of the mean of all, in mm.

    Each is aligned with the mean by a similarity, twice, since the mean depends on that.
    """
    mean = people[0]
    for _ in range(2):
        people = np.stack([fit_similarity(one, mean)(one) for one in people])
        mean = people.mean(axis=0)
    return mean_distance_mm(people.reshape(-1, 3), np.tile(mean, (len(people), 1)))


def report_heads(rows: dict[str, HeadErrors]) -> None:
    """Print means, their standard errors, and ratios to the mean face."""
    mean = rows["mean face"]
    print(f"\n{len(mean.inner)} heads, mm (standard error), ratio to the mean face's")
    titles = ("inner landmarks, %", "points, rigid", "points, similarity", "surface")
    print(f"{'':<20}" + "".join(f"{title:>20}" for title in titles))
    for name, row in rows.items():
        columns = [with_error(100 * row.inner)]
        for key in ("rigid_mm", "scaled_mm", "surface_mm"):
            values, reference = getattr(row, key), getattr(mean, key)
            columns.append(f"{with_error(values)}  {values.mean() / reference.mean():.2f}")
        print(f"{name:<20}" + "".join(f"{column:>20}" for column in columns))


def with_error(values: np.ndarray) -> str:
    """Mean, and its standard error if there is one."""
    if len(values) < 2:
        return f"{values.mean():.2f} (-)"
    return f"{values.mean():.2f} ({values.std(ddof=1) / np.sqrt(len(values)):.2f})"


if __name__ == "__main__":
    run_command(main)
