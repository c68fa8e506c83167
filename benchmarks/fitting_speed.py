"""How fast photos are fitted: each preset, and Gauss-Newton steps against the public schedule.

python -m benchmarks.fitting_speed --photos datasets/portraits

Tables of one run in which the cases take turns, so that the load acts on all alike. Faces are
detected before; the clock runs from a crop with landmarks to coefficients.

    presets     seconds a photo, median and worst over the photos; balanced also as it runs without
                compiled kernels (torch's renderer and rows of the Jacobian)
    gpu         the same on a GPU, where there is one, by each renderer that draws there, and all
                photos in one batch; how far energies at the end differ from the CPU's
    schedule    seconds until the energy is as low as after all steps of the public fitter's
                schedule (models/fitting/adam.py), at its weights and at the photo's own pixels
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch

from benchmarks.face_model_photos import PhotoFigureOptions, check, load
from benchmarks.named_model import named_model
from benchmarks.renderer import gpu_backends
from benchmarks.timing import compare, settle
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.adam import fit_adam
from models.fitting.fitter import PRESETS, FaceFitter
from models.fitting.gauss_newton import StepRules
from models.fitting.pixel_rows import pixel_rows_reference
from models.fitting.problem import Evaluation
from models.parameters import Coefficients
from models.renderer import Renderer
from options import parse_command
from options.face_options import FaceModelOptions
from options.fit_options import AdamOptions
from options.fitting_weights import PUBLIC_WEIGHTS, AdamSchedule
from util.assets import choose_face_model
from util.command import run_command
from util.errors import InputError
from util.photos.photo_fitting import to_fit_batch

WITHOUT_KERNELS = "balanced, without kernels"


@dataclass(frozen=True)
class SpeedOptions:
    """What is timed, and how often."""

    photos: str = "datasets/portraits"
    """Folder of photos to fit, with detections/ where the face to take is known."""
    photo_count: int = 17
    """Photos at most."""
    repeats: int = 5
    """Times that each fit of a photo is timed, of which the median counts; Adam's once."""
    threads: int = 0
    """Threads of torch and of the kernels; 0 takes torch's default."""
    race: bool = True
    """Run the public schedule too, which takes minutes."""

    def __post_init__(self) -> None:
        """Refuse what times nothing."""
        for flag, least in (("photo_count", 1), ("repeats", 1), ("threads", 0)):
            if getattr(self, flag) < least:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must be at least {least}")


@dataclass(frozen=True)
class Course:
    """Energy of a fit while the clock runs."""

    seconds: tuple[float, ...]
    energies: tuple[float, ...]
    """At the photo's own pixels, whatever the fit looks at."""

    def reaches(self, energy: float) -> float:
        """Seconds until the energy is as low as this; inf if it never is."""
        for seconds, reached in zip(self.seconds, self.energies, strict=True):
            if reached <= energy:
                return seconds
        return math.inf


@dataclass(frozen=True)
class Race:
    """Both ways to the same energy, of one photo."""

    adam_seconds: float
    """For all steps of the schedule."""
    adam_energy: float
    """At its end."""
    course: Course
    """Of Gauss-Newton steps."""

    @property
    def seconds(self) -> float:
        """Until Gauss-Newton steps are as low as Adam at its end."""
        return self.course.reaches(self.adam_energy)

    @property
    def ratio(self) -> float:
        """How many times sooner; 0 if never."""
        return self.adam_seconds / self.seconds


def time_presets(
    fitter: FaceFitter, batches: Sequence[FaceBatch], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each preset for each photo, by name.

    Args:
        fitter: with compiled kernels.
        batches: of one photo each.
        repeats: of each, in turns; the median counts.
    """
    plain = FaceFitter(fitter.face_model, fitter.camera, Renderer("torch"), fitter.weights)

    def without_kernels(batch: FaceBatch) -> None:
        with patch("models.fitting.photometric.pixel_rows", pixel_rows_reference):
            plain.fit(batch, PRESETS["balanced"])

    found: dict[str, list[float]] = {name: [] for name in (*PRESETS, WITHOUT_KERNELS)}
    for batch in batches:
        cases: dict[str, Callable[[], object]] = {
            name: partial(fitter.fit, batch, levels) for name, levels in PRESETS.items()
        }
        cases[WITHOUT_KERNELS] = partial(without_kernels, batch)
        for timing in compare(cases, repeats).timings:
            found[timing.name].append(timing.median)
    return found


def time_on(
    face_model: FaceModel, on_cpu: FaceFitter, photos: FaceBatch, repeats: int
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each preset and renderer on a GPU, by name.

    Args:
        face_model: on the GPU.
        on_cpu: whose energies are compared.
        photos: all of them.
        repeats: of each, in turns; the median counts.

    Returns:
        The seconds for each photo; the largest relative difference of energies at the end of
        `balanced`.
    """
    device = face_model.mean_shape.device
    camera = Camera.rnet().to(device)
    fitters = {
        name: FaceFitter(face_model, camera, Renderer(name)) for name in gpu_backends(device)
    }

    def cases(batch: FaceBatch) -> dict[str, Callable[[], object]]:
        return {
            f"{preset}, {name}": partial(fitter.fit, batch, levels)
            for name, fitter in fitters.items()
            for preset, levels in PRESETS.items()
        }

    found: dict[str, list[float]] = {}
    worst = 0.0
    everyone = photos.to(device)
    for batch in (everyone.rows(torch.tensor([number])) for number in range(len(photos))):
        for timing in compare(cases(batch), repeats).timings:
            found.setdefault(timing.name, []).append(timing.median)
        energies = [
            sum(float(term[0]) for term in fit.stages[-1].energies.values())
            for fit in (
                on_cpu.fit(batch.to("cpu"), PRESETS["balanced"]),
                *(fitter.fit(batch, PRESETS["balanced"]) for fitter in fitters.values()),
            )
        ]
        worst = max([worst, *(abs(energy / energies[0] - 1) for energy in energies[1:])])
    for timing in compare(cases(everyone), repeats).timings:
        found[f"{timing.name}, together"] = [timing.median / len(photos)]
    return found, worst


def course_of(fitter: FaceFitter, batch: FaceBatch, repeats: int) -> Course:
    """The finest preset's way down.

    Args:
        fitter: with the weights of the energy.
        batch: one photo.
        repeats: of the whole way, which is the same each time; a step's median time counts.
    """
    laps: list[list[float]] = []
    steps: list[Coefficients] = []
    for _ in range(repeats):
        steps.clear()
        laps.append([])
        start = time.perf_counter()

        def watch(_name: str, evaluation: Evaluation, start: float = start) -> None:
            settle()
            laps[-1].append(time.perf_counter() - start)
            steps.append(evaluation.coefficients)

        fitter.fit(batch, PRESETS["best"], watch=watch)
    return Course(
        seconds=tuple(statistics.median(step) for step in zip(*laps, strict=True)),
        energies=tuple(energy_of(fitter, batch, step) for step in steps),
    )


def energy_of(fitter: FaceFitter, batch: FaceBatch, coefficients: Coefficients) -> float:
    """At the pixels of the one photo."""
    whole = fitter.photo_terms(batch, 1)
    return float(fitter.minimise(coefficients, whole, StepRules(most=0)).first[0])


def race(fitter: FaceFitter, batch: FaceBatch, schedule: AdamSchedule, repeats: int) -> Race:
    """Fit one photo both ways; Adam, which takes long, once."""
    course = course_of(fitter, batch, repeats)
    start = time.perf_counter()
    fit = fit_adam(fitter, batch, schedule)
    settle()
    seconds = time.perf_counter() - start
    return Race(seconds, energy_of(fitter, batch, fit.coefficients), course)


def report_presets(seconds: Mapping[str, Sequence[float]]) -> None:
    """Print median and worst over the photos."""
    width = max(map(len, (*seconds, "seconds a photo")))
    print(f"{'seconds a photo':<{width}}  {'median':>7}  {'worst':>7}")
    for name, times in seconds.items():
        print(f"{name:<{width}}  {statistics.median(times):>7.3f}  {max(times):>7.3f}")
    if WITHOUT_KERNELS in seconds:
        ratio = statistics.median(seconds[WITHOUT_KERNELS]) / statistics.median(seconds["balanced"])
        print(f"kernels make balanced {ratio:.1f} times as fast")


def report_races(names: Sequence[str], races: Sequence[Race], schedule: AdamSchedule) -> None:
    """Print both ways for each photo, and the medians."""
    print(f"to the energy after {schedule.rigid_steps} + {schedule.steps} steps of Adam")
    print("photo                 Adam, s   energy   Gauss-Newton, s   times as fast   its end")
    for name, one in zip(names, races, strict=True):
        print(
            f"{name:<20} {one.adam_seconds:>8.2f} {one.adam_energy:>8.4f} {one.seconds:>17.3f} "
            f"{one.ratio:>15.0f} {min(one.course.energies):>9.4f}"
        )
    adam = statistics.median(one.adam_seconds for one in races)
    newton = statistics.median(one.seconds for one in races)
    ratio = statistics.median(one.ratio for one in races)
    print(f"{f'median of {len(races)}':<20} {adam:>8.2f} {newton:>26.3f} {ratio:>15.0f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    groups = [SpeedOptions, AdamOptions, FaceModelOptions]
    options = parse_command(groups, argv, __doc__ or "")
    wanted, chosen = options[SpeedOptions], named_model(options)
    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    figures = PhotoFigureOptions(photos=wanted.photos, photo_count=wanted.photo_count)
    check(figures)
    face_model, message = choose_face_model(chosen)
    print(f"face model: {message}, {face_model.vertex_count} vertices")
    faces = load(face_model, figures)
    batches = [to_fit_batch([face]) for face in faces]
    print(f"{len(faces)} photos, {torch.get_num_threads()} threads")

    fitter = FaceFitter(face_model, Camera.rnet(), Renderer())
    report_presets(time_presets(fitter, batches, wanted.repeats))
    face_models = {"CPU": face_model}
    if torch.cuda.is_available():
        on_gpu = choose_face_model(chosen)[0].to(torch.device("cuda"))
        face_models["GPU"] = on_gpu
        seconds, apart = time_on(on_gpu, fitter, to_fit_batch(faces), wanted.repeats)
        print(
            f"{torch.cuda.get_device_name()}, energies of balanced within {apart:.1e} of the CPU's"
        )
        report_presets(seconds)
    if not wanted.race:
        return
    schedule = options[AdamOptions].schedule
    for name, model in face_models.items():
        device = model.mean_shape.device
        public = FaceFitter(model, Camera.rnet().to(device), Renderer(), PUBLIC_WEIGHTS)
        races = [race(public, batch.to(device), schedule, wanted.repeats) for batch in batches]
        print(f"on the {name}")
        report_races([face.stem for face in faces], races, schedule)


if __name__ == "__main__":
    run_command(main)
