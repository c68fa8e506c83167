"""Figures of a face model: speed, how well it fits real heads, and what photos say of it.

python -m benchmarks.face_model --bfm_folder BFM --photos FOLDER
python -m benchmarks.face_model --only detection --renders 1000

    speed      size and time of the model
    geometry   its fit to heads of ICT-FaceKit, of models that know their border
    detection  what the default detector finds in renders     (.face_model_detection)
    identity   whether a recognition network knows its people (.face_model_identity)
    photos     fits to real photos, with and without albedo   (.face_model_photos)

The heads are random identities of ICT-FaceKit (USC, from scans), which the user downloads
(BFM/README.md); without it that part is left out, and without --photos the last. Eight other draws
of the same heads chose two numbers of the open model, the sliders' share and the sigmas of its
components (BFM/open_model/geometry_bases.py); nothing else of it knows them. All parts measure the
model of --face_model, open unless another is named; of open without a level, speed measures all
three.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks import face_model_detection, face_model_identity, face_model_photos
from benchmarks.face_model_detection import DetectionFigureOptions
from benchmarks.face_model_identity import IdentityFigureOptions
from benchmarks.face_model_photos import PhotoFigureOptions
from benchmarks.landmark_transfer import PARTS
from benchmarks.named_model import named_model
from benchmarks.timing import compare
from models.face_model import FaceModel, FaceModelData
from models.landmarks import INNER
from options import ParsedOptions, parse_command
from options.face_options import LEVELS, FaceModelOptions
from options.loss_options import ObjectiveOptions
from options.network_options import RecognitionOptions
from util.assets import OPEN_FACE_MODEL, choose_face_model, read_chosen_face_model
from util.command import run_command
from util.devices import one_thread
from util.errors import InputError
from util.evaluation.head_correspondence import frontal_area
from util.evaluation.surface_fit import SurfaceFitter
from util.model_files.face_transfer import mean_landmarks, shape_landmarks
from util.model_files.recognition_file import load_recognition_net

HEAD_SEED = 2000
"""Far from the seeds of the heads that calibrated the model."""


@dataclass(frozen=True)
class FigureOptions:
    """What to measure, and how much."""

    only: Literal["all", "speed", "geometry", "detection", "identity", "photos"] = "all"
    """One part, or all."""
    quick: bool = False
    """Small counts, for a look at each part within a minute; in place of those given."""
    heads: int = 100
    """Random heads of ICT-FaceKit for shape; a third of it for expressions."""
    landmark_share: float = 0.05
    """Weight of a head's inner landmarks against its surface in the fits of shape: what is measured
    is how near the model comes to both at once. 0.01 asks for the surface."""
    repeats: int = 5
    """Times that each speed is measured."""

    def __post_init__(self) -> None:
        """Refuse a share that would reward distance."""
        if not 0 <= self.landmark_share < math.inf:
            raise InputError(f"--landmark_share is {self.landmark_share}; it must be 0 or more")


GROUPS = [
    FigureOptions,
    DetectionFigureOptions,
    IdentityFigureOptions,
    PhotoFigureOptions,
    ObjectiveOptions,
    RecognitionOptions,
    FaceModelOptions,
]
QUICK = {
    FigureOptions: {"heads": 6, "repeats": 1},
    DetectionFigureOptions: {"renders": 60},
    IdentityFigureOptions: {"people": 20},
    PhotoFigureOptions: {"photo_count": 4, "steps": 40},
}


def geometry(model: FaceModelData, head: FaceModelData, count: int, landmark_share: float) -> None:
    """Print how near the open model comes to random heads and their expressions."""
    fit_to = partial(SurfaceFitter, landmark_share=landmark_share)
    area = frontal_area(head, model)
    print(f"frontal area: {len(area.vertices)} of {len(head.mean_shape)} vertices")
    random = np.random.default_rng(HEAD_SEED)
    both = np.concatenate([model.identity_basis, model.expression_basis], axis=2)
    both_sigma = np.concatenate([model.identity_sigma, model.expression_sigma])
    cases = {
        "identity": (fit_to(model, model.identity_basis, model.identity_sigma), count, 0.0),
        "expression": (fit_to(model, both, both_sigma), -(-count // 3), 1.0),
    }
    for name, (fitter, heads, strength) in cases.items():
        errors, coefficients, offsets = [], [], []
        for _ in range(heads):
            shape = _random_head(head, random, strength)
            landmarks = shape_landmarks(head, shape)
            fit = fitter.fit(shape[area.vertices], area.weights, landmarks)
            errors.append(100 * float(area.weights @ fit.distances_dm))
            coefficients.append(fit.coefficients)
            offsets.append(100 * fit.landmark_offsets_dm)
        rms = np.sqrt(np.mean(np.square(coefficients) / fitter.sigma**2))
        print(
            f"{name}: {heads} heads, point to surface {np.mean(errors):.3f} mm on average, worst "
            f"{np.max(errors):.3f}; coefficients' rms {rms:.2f}"
        )
        # What is the same on every head is convention, not correspondence.
        convention = np.mean(offsets, axis=0)
        spread = np.linalg.norm(np.array(offsets) - convention, axis=2).mean(axis=0)
        constant = np.linalg.norm(convention, axis=1)
        print("  landmarks, mm beyond a constant offset (the constant):", end="")
        for part, slot in PARTS.items():
            if part != "jaw":
                print(f" {part} {spread[slot].mean():.2f} ({constant[slot].mean():.1f})", end="")
        print()
    mean_fit = fit_to(model, model.identity_basis[:, :, :1] * 0, np.ones(1))
    random = np.random.default_rng(HEAD_SEED)
    distances = []
    for _ in range(count):
        shape = _random_head(head, random, 0.0)
        fit = mean_fit.fit(shape[area.vertices], area.weights, shape_landmarks(head, shape))
        distances.append(100 * float(area.weights @ fit.distances_dm))
    print(f"the mean face alone: {np.mean(distances):.3f} mm")


def _random_head(head: FaceModelData, random: np.random.Generator, strength: float) -> np.ndarray:
    """Vertices (V, 3) of a random person, with three random units where strength is not 0."""
    identity = random.normal(size=head.identity_basis.shape[2])
    shape = head.mean_shape + head.identity_basis @ identity.astype(np.float32)
    if strength:
        units = random.choice(len(head.unit_names), 3, replace=False)
        weights = strength * random.uniform(0.3, 1, 3) @ head.unit_matrix[units]
        shape = shape + head.expression_basis @ weights.astype(np.float32)
    return shape.astype(np.float64)


def speed(models: Sequence[FaceModelOptions], repeats: int) -> None:
    """Print times of loading and decoding, and what the arrays take, of each model."""
    for wanted in models:
        read_chosen_face_model(wanted)  # compiles, converts, and has the file in memory
        start = time.perf_counter()
        data, _ = read_chosen_face_model(wanted)
        loading = time.perf_counter() - start
        model = FaceModel(data)
        arrays = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
        random = torch.Generator().manual_seed(0)
        coefficients = torch.randn(8, model.layout.size, generator=random)
        parts = model.layout.split(coefficients)

        def decode(model: FaceModel = model, parts=parts) -> None:
            with torch.no_grad():
                model.shape(parts.identity, parts.expression)
                model.albedo(parts.texture)

        timing = compare({"decode": decode}, repeats)["decode"]
        milliseconds = 1e3 * timing.median / 8
        print(
            f"{wanted.face_model}: {model.vertex_count} vertices, {len(model.triangles)} "
            f"triangles; file read in {loading:.2f} s; shape and albedo {milliseconds:.2f} ms a "
            f"face in batches of 8; arrays of {arrays / 2**20:.0f} MiB"
        )


def detection(options: ParsedOptions) -> None:
    """Print what the detector sees."""
    face_model = _measured(options)
    wanted = options[DetectionFigureOptions]
    face_model_detection.report(face_model_detection.measure(face_model, wanted))


def identity(options: ParsedOptions) -> None:
    """Print whether a recognition network tells people apart."""
    face_model = _measured(options)
    net, message = load_recognition_net(options[RecognitionOptions])
    if net is None:
        print(f"identity: left out, {message}")
        return
    print(f"judge: {message}")
    people = face_model_identity.photograph(face_model, net, options[IdentityFigureOptions])
    distances = face_model_identity.pair_distances(net, people.embeddings)
    alike = face_model_identity.alike_pairs(people, face_model)
    face_model_identity.report(people, distances, alike)


def photos(options: ParsedOptions) -> None:
    """Print how well photos are explained."""
    wanted = options[PhotoFigureOptions]
    if not wanted.photos:
        print("photos: left out, give a folder with --photos")
        return
    face_model = _measured(options)
    faces = face_model_photos.load(face_model, wanted)
    free, mean, strips = face_model_photos.compare_albedo(
        face_model, faces, options[ObjectiveOptions], wanted.steps
    )
    face_model_photos.report(faces, free, mean)
    if wanted.picture:
        face_model_photos.write_strips(Path(wanted.picture), strips)
        print(f"pictures: {wanted.picture}")


def _measured(options: ParsedOptions) -> FaceModel:
    face_model, message = choose_face_model(named_model(options))
    print(f"face model: {message}")
    return face_model


def heads(options: ParsedOptions) -> None:
    """Print the fit to real heads, if the user has them."""
    model, _ = read_chosen_face_model(named_model(options))
    if "border" not in model.regions:
        print(f"geometry: left out, {model.name} does not say where its border is")
        return
    folder = options[FaceModelOptions].bfm_folder
    try:
        head, message = read_chosen_face_model(
            FaceModelOptions(face_model="ict", bfm_folder=folder)
        )
    except InputError as error:
        print(f"geometry: left out, {error}")
        return
    print(f"heads: {message}")
    print(f"landmarks of both mean faces, mm: {100 * _gap(model, head):.1f}")
    wanted = options[FigureOptions]
    geometry(model, head, wanted.heads, wanted.landmark_share)


def size_and_speed(options: ParsedOptions) -> None:
    """Print the size of the open model's file, and times."""
    wanted = named_model(options)
    models = [wanted]
    if wanted.face_model == "open":
        print(f"{OPEN_FACE_MODEL.name}: {OPEN_FACE_MODEL.stat().st_size / 2**20:.2f} MiB")
        models = [replace(wanted, face_model=f"open@{level}") for level in LEVELS]
    with one_thread():
        speed(models, options[FigureOptions].repeats)


PARTS_OF_IT: dict[str, Callable[[ParsedOptions], None]] = {
    "speed": size_and_speed,
    "geometry": heads,
    "detection": detection,
    "identity": identity,
    "photos": photos,
}


def check_files(options: ParsedOptions) -> None:
    """See that what flags name is there, before minutes of measuring.

    Raises:
        InputError: the face model or the photos are missing.
    """
    read_chosen_face_model(named_model(options))
    face_model_photos.check(options[PhotoFigureOptions])


def main(argv: Sequence[str] | None = None) -> None:
    """Print all figures, or one part."""
    options = parse_command(GROUPS, argv, __doc__ or "")
    wanted = options[FigureOptions]
    if wanted.quick:
        for group, values in QUICK.items():
            options = options.with_values(group, **values)
    check_files(options)
    for name, part in PARTS_OF_IT.items():
        if wanted.only in ("all", name):
            part(options)


def _gap(model: FaceModelData, head: FaceModelData) -> float:
    difference = mean_landmarks(model)[INNER] - mean_landmarks(head)[INNER]
    return float(np.linalg.norm(difference, axis=1).mean())


if __name__ == "__main__":
    run_command(main)
