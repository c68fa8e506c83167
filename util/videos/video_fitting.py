"""Fit one person's face to a video, part by part, in one process or several.

1. Scan: landmarks of every frame, and cuts.
2. Person: identity and albedo from frames spread over pose and expression, jointly.
3. Track: expression, pose and light of each frame, from the frame before.
4. Smooth: all frames together, each as certain as it is.

The video is divided into parts of a fixed length, with some frames before and after each that
settle what its first frames start from. What a part gives depends on nothing but the video and the
options: neither on the number of workers, nor on whether a run was stopped and started again. Each
finished part is a file in the cache, from which a later run goes on. Pictures are held one at a
time, numbers of all frames.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from data.detection import LandmarkDetector, create_detector
from data.skin_mask import skin_mask
from data.video import VideoDamage, VideoReader
from data.video_crops import FrameCrop, crop_path
from data.video_cuts import CutFinder
from data.video_landmarks import LandmarkTracker
from data.video_plan import VideoPart, choose_spread, frame_runs, split_ranges, three_together
from data.worker_pool import WorkerDied, WorkerPool
from models.batch import FaceBatch
from models.camera import Camera
from models.fitting.adam import fit_adam
from models.fitting.fitter import FIT_VERSION, PRESETS, FaceFitter
from models.fitting.gauss_newton import StepRules
from models.fitting.tracking import (
    MOTION,
    Smoothness,
    TrackedFrame,
    begin,
    smooth,
    track,
    track_adam,
)
from models.landmarks import from_index
from models.parameters import Coefficients, ParameterLayout
from models.precision import full_products
from models.renderer import Renderer
from options.data_options import DetectionOptions
from options.face_options import CameraOptions, FaceModelOptions, RenderOptions
from options.fitting_weights import AdamSchedule, FitWeights, Preset, TrackWeights
from util.assets import load_face_model
from util.atomic import atomic_file, remove_leftovers
from util.errors import InputError
from util.folder_lock import LOCK_NAME, FolderLock
from util.folders import make_folder
from util.photos.photo_fitting import face_fitter, inside_photo
from util.videos.followed_face import FollowedFace, without_any_face

FORMAT_VERSION = 5
"""Of the parts; raise it when what they hold or how they are made changes."""
SMOOTHED_FRAMES = 480
"""Frames that are smoothed at a time, with a fifth of them on either side beside them."""
FIRST_RULES = StepRules(most=10)
NEXT_RULES = StepRules(most=3, least_decrease=1e-2)
TRACK_STRIDE: Mapping[Preset, int] = {"fast": 4, "balanced": 4, "best": 2}
"""Side of the squares of pixels that tracking looks at. A lid is hardly wider than one of 4."""
MOST_APPROACH = 1.5
"""Largest over smallest size of a face along a video whose focal length is looked for: that of the
crops is one, so that of the frames is it divided by their magnification."""
_MOST_DEATHS = 3
"""Of workers on one part; more are no accident."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class VideoJob:
    """All that a worker needs to know; nothing in it is loaded yet."""

    video: Path
    face_model: FaceModelOptions
    camera: CameraOptions
    render: RenderOptions
    detection: DetectionOptions
    weights: FitWeights
    track: TrackWeights
    preset: Preset
    frames_for_shape: int
    focal: bool = False
    """Whether the key frames tell the focal length too."""
    schedule: AdamSchedule | None = None
    """Steps of Adam in place of Gauss-Newton's."""
    card: str = ""
    """Identity of the face model: its files may change while its name stays."""
    devices: tuple[str, ...] = ("cpu",)
    """Parts take turns on them."""
    part_frames: int = 150
    """Length of the parts, at most."""
    overlap_frames: int = 12
    """Frames before and after a part that it also looks at."""


class VideoFitting:
    """Goes through the four steps, and through the cache."""

    def __init__(self, job: VideoJob, cache: Path, workers: int = 1) -> None:
        """Open the video and the cache.

        Args:
            job: what is done.
            cache: folder of finished parts; made if missing.
            workers: processes; 1 works in this one.

        Raises:
            InputError: not a video, or a cache of another video or other options.
        """
        self._job = job
        self._workers = workers
        self.reader = VideoReader(job.video)
        self._cache = _Cache(cache, job)
        self._tools = _Tools(job)

    def run(self) -> FollowedFace:
        """All steps."""
        workers = min(self._workers, len(self._split()))
        try:
            # One pool for both passes: what a process loads takes seconds.
            with WorkerPool(_Work(self._tools), workers if workers > 1 else 0) as pool:
                return self._run(pool)
        except BaseException:
            self._cache.leave()
            raise

    def _run(self, pool: WorkerPool[_Part, Arrays]) -> FollowedFace:
        scan = self._scan(pool)
        found, starts = scan["found"], scan["start"]
        if not found.any():
            self._cache.forget("scan_*.npz")  # another detector may find what this one did not
            raise without_any_face(self._job.video, len(self.reader))
        cuts = tuple(int(number) for number in np.flatnonzero(scan["cut"]))
        size = (self.reader.info.width, self.reader.info.height)
        standard = self._tools.fitter(0).face_model.alignment_points.cpu().numpy()
        crops = crop_path(scan["landmarks"], found, size, standard, starts)
        keys, person, focal_scale = self._person(scan, found, crops)
        tracked = self._track(pool, self._split(cuts), person, focal_scale, scan, crops)
        coefficients = self._smooth(tracked, found, starts)
        return FollowedFace(
            info=self.reader.info,
            times_s=self.reader.times_s,
            found=found,
            coefficients=coefficients.astype(np.float32),
            tracked=tracked["coefficients"],
            camera=Camera.rnet(self._job.camera).refocused(focal_scale),
            crops=tuple(crops),
            face_model=self._tools.fitter(0).face_model.card,
            landmarks=scan["landmarks"],
            starts=starts,
            photo=tracked["photo"],
            cuts=cuts,
            key_frames=keys,
            damage=VideoDamage(
                tuple(int(number) for number in np.flatnonzero(scan["broken"])),
                self.reader.damage.lost_at_end,
            ),
        )

    def clear_up(self) -> None:
        """Remove the finished parts: everything is written."""
        self._cache.remove()

    def _split(self, cuts: Sequence[int] = ()) -> list[VideoPart]:
        """The parts of the video; cuts bound what parts look at beside their own frames.

        Several are an even number, as cores mostly are: of two workers none has to wait for the
        other's third part.
        """
        frames, most = len(self.reader), self._job.part_frames
        count = 1 if frames <= most else 2 * -(-frames // (2 * most))
        return split_ranges(frames, count, self._job.overlap_frames, cuts)

    def _scan(self, pool: WorkerPool[_Part, Arrays]) -> Arrays:
        """Landmarks, cuts and broken frames of the whole video."""
        items = [_ScanPart(number, part) for number, part in enumerate(self._split())]
        return self._in_parts("scan", "finding the face", pool, items)

    def _person(
        self, scan: Arrays, found: np.ndarray, crops: Sequence[FrameCrop | None]
    ) -> tuple[tuple[int, ...], Coefficients, float]:
        """Key frames, and what they tell.

        Returns:
            Their numbers; identity, albedo and mean light of the person; the focal length of the
            crops, as a multiple of the given camera's.
        """
        fitter = self._tools.fitter(0)
        layout = fitter.face_model.layout
        saved = self._cache.read("person")
        if saved is None:
            if self._job.focal:
                _check_sizes(crops)
            features, away = _features(fitter, scan["landmarks"], found, crops)
            keys = choose_spread(features, self._job.frames_for_shape, away)
            frames = {frame.number: frame.image for frame in self.reader.read(keys)}
            batches = [
                frame_batch(frames[key], _crop(crops, key), scan["landmarks"][key])
                for key in frames
            ]
            batch = _join(batches).to(fitter.camera.focal_px.device)
            if self._job.schedule is not None:
                fit = fit_adam(fitter, batch, self._job.schedule, one_person=True)
            else:
                fit = fitter.fit(
                    batch, PRESETS[self._job.preset], one_person=True, focal=self._job.focal
                )
            flat = layout.join(fit.coefficients).mean(dim=0, keepdim=True)
            scale = float(fit.camera.focal_px[0, 0] / fitter.camera.focal_px[0, 0])
            saved = {
                "keys": np.array(list(frames)),
                "person": flat.cpu().numpy(),
                "focal_scale": np.array(scale),
            }
            self._cache.write("person", saved)
        keys = tuple(int(key) for key in saved["keys"])
        person = layout.split(torch.from_numpy(saved["person"]))
        return keys, person, float(saved["focal_scale"])

    def _track(
        self,
        pool: WorkerPool[_Part, Arrays],
        parts: Sequence[VideoPart],
        person: Coefficients,
        focal_scale: float,
        scan: Arrays,
        crops: Sequence[FrameCrop | None],
    ) -> Arrays:
        """Coefficients of every frame of its own; certainties stay in the cache."""
        items = [
            _TrackPart(
                number=number,
                part=part,
                person={name: block.numpy() for name, block in person.items()},
                focal_scale=focal_scale,
                landmarks=scan["landmarks"][part.covered.start : part.covered.stop],
                starts=scan["start"][part.covered.start : part.covered.stop],
                crops=tuple(crops[part.covered.start : part.covered.stop]),
            )
            for number, part in enumerate(parts)
        ]
        return self._in_parts(
            "track", "tracking", pool, items, leave=("certainty", "motion", "pull")
        )

    def _smooth(self, tracked: Arrays, found: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Coefficients (N, P) with the motion smoothed, scene by scene."""
        coefficients = tracked["coefficients"].astype(np.float64)
        blocks = _motion_slices(self._tools.fitter(0).face_model.layout)
        columns = np.concatenate([np.arange(coefficients.shape[1])[p] for p in blocks.values()])
        usual = np.median(tracked["sureness"][found], axis=0)
        smoothness = Smoothness.of(
            coefficients[:, columns],
            three_together(found, starts),
            usual.astype(np.float64),
            _within_motion(blocks),
            self._job.track.smoothing,
            self.reader.info.frame_rate_hz,
        )
        margin = SMOOTHED_FRAMES // 5
        for run in frame_runs(found, starts):
            for first in range(run.start, run.stop, SMOOTHED_FRAMES):
                core = range(first, min(first + SMOOTHED_FRAMES, run.stop))
                window = range(
                    max(core.start - margin, run.start), min(core.stop + margin, run.stop)
                )
                smoothed = smooth(*self._motion(window), smoothness)
                inside = slice(core.start - window.start, core.stop - window.start)
                coefficients[core.start : core.stop, columns] = smoothed[inside]
        return coefficients

    def _motion(self, window: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Motion, certainty and pull of some frames, out of the parts that hold them."""
        names = ("motion", "certainty", "pull")
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for number, part in enumerate(self._split()):
            low, high = max(part.core.start, window.start), min(part.core.stop, window.stop)
            if low < high:
                saved = self._cache.read(f"track_{number:05d}")
                assert saved is not None
                inside = slice(low - part.core.start, high - part.core.start)
                for name in names:
                    pieces[name].append(saved[name][inside])
        motion, certainty, pull = (
            np.concatenate(pieces[name]).astype(np.float64) for name in names
        )
        return motion, certainty, pull

    def _in_parts(
        self,
        name: str,
        title: str,
        pool: WorkerPool[_Part, Arrays],
        items: Sequence[_Part],
        leave: Sequence[str] = (),
    ) -> Arrays:
        """Do the parts that the cache lacks, and join the results of all.

        A part whose worker dies is done again.

        Args:
            name: of the files in the cache.
            title: of the progress bar.
            pool: does them.
            items: all parts of the video, in order.
            leave: arrays that stay in the cache.
        """
        files = [f"{name}_{item.number:05d}" for item in items]
        deaths = [0] * len(items)
        with tqdm(total=len(self.reader), unit="frame", desc=title) as bar:
            missing = [item for item in items if not self._cache.has(files[item.number])]
            todo = sum(len(item.part.core) for item in missing)
            bar.update(len(self.reader) - todo)
            while missing:
                again = []
                for item, result in pool.map(missing):
                    core = item.part.core
                    if isinstance(result, WorkerDied):
                        deaths[item.number] += 1
                        if deaths[item.number] >= _MOST_DEATHS:
                            raise InputError(
                                f"{self._job.video}, frames {core.start} to {core.stop - 1}: "
                                f"{result}; give fewer --nworkers"
                            )
                        again.append(item)
                        continue
                    self._cache.write(files[item.number], result)
                    bar.update(len(core))
                missing = again
        every = []
        for file in files:
            part = self._cache.read(file, without=leave)
            if part is None:
                raise InputError(
                    f"--cache_folder: {file}.npz is gone; does another run use the same folder? "
                    "Start again"
                )
            every.append(part)
        return {key: np.concatenate([part[key] for part in every]) for key in every[0]}


class _Cache:
    """A folder of finished parts of one job."""

    def __init__(self, folder: Path, job: VideoJob) -> None:
        self._folder = folder
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        """Folders that were not there, innermost first."""
        make_folder(folder, "res_folder or another --cache_folder")
        marker, mark = folder / "job.json", _fingerprint(job)
        try:
            self._lock = FolderLock(folder)
        except BlockingIOError as error:
            raise InputError(
                f"--cache_folder {folder} is in use by another run; wait for it, or give another "
                "folder"
            ) from error
        others = [p for p in folder.iterdir() if p.suffix != ".part" and p.name != LOCK_NAME]
        if others and not marker.is_file():
            self._lock.release(remove=True)
            raise InputError(
                f"--cache_folder {folder} holds other files; give an empty folder, or a new one"
            )
        if marker.is_file():
            if marker.read_text(encoding="utf-8") != mark:
                self._lock.release()
                raise InputError(
                    f"--cache_folder {folder} holds parts of another video, or of this one fitted "
                    "with other options; give another folder, or remove it"
                )
        else:
            with atomic_file(marker) as file:
                file.write(mark.encode())
        # What a killed run was writing.
        remove_leftovers(folder)

    def has(self, name: str) -> bool:
        return (self._folder / f"{name}.npz").is_file()

    def read(self, name: str, without: Sequence[str] = ()) -> Arrays | None:
        path = self._folder / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            return {key: arrays[key] for key in arrays.files if key not in without}

    def write(self, name: str, arrays: Arrays) -> None:
        broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            raise ValueError(f"{name}: {', '.join(broken)} holds non-finite numbers")
        with atomic_file(self._folder / f"{name}.npz") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]

    def forget(self, pattern: str) -> None:
        """Delete some parts."""
        for path in self._folder.glob(pattern):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete what the cache wrote, and the folders made for it if nothing else is in them."""
        for pattern in ("scan_*.npz", "track_*.npz", "person.npz", "job.json"):
            self.forget(pattern)
        self._lock.release(remove=True)
        with suppress(OSError):  # somebody else's files, or the next run's lock, keep it
            self._folder.rmdir()
            for path in self._made[1:]:  # that of the results, where there are none
                path.rmdir()

    def leave(self) -> None:
        """After a failure: finished parts stay for a later run; without any, nothing does."""
        if any(self._folder.glob("*.npz")):
            self._lock.release()
        else:
            self.remove()


def _fingerprint(job: VideoJob) -> str:
    """What must be equal for parts of two runs to fit together; workers and devices need not."""
    stat = job.video.stat()
    video = {"path": str(job.video.resolve()), "bytes": stat.st_size, "changed": stat.st_mtime_ns}
    plain = {key: value for key, value in asdict(job).items() if key not in ("video", "devices")}
    plain["track"].pop("smoothing")  # which comes after the parts
    plain["format"] = [FORMAT_VERSION, FIT_VERSION]
    text = json.dumps({**plain, "video": video}, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class _Tools:
    """What a process loads once: face model, detector, video. Pickles as its job alone."""

    def __init__(self, job: VideoJob) -> None:
        self.job = job
        self._fitters: dict[int, FaceFitter] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"job": self.job, "_fitters": {}}

    def fitter(self, part: int) -> FaceFitter:
        """That of the device whose turn it is."""
        turn = part % len(self.job.devices)
        if turn not in self._fitters:
            device = torch.device(self.job.devices[turn])
            self._fitters[turn] = face_fitter(
                load_face_model(self.job.face_model).to(device),
                Camera.rnet(self.job.camera).to(device),
                Renderer(self.job.render.renderer),
                self.job.weights,
            )
        return self._fitters[turn]

    @cached_property
    def detector(self) -> LandmarkDetector:
        return create_detector(self.job.detection)

    @cached_property
    def reader(self) -> VideoReader:
        return VideoReader(self.job.video)


def frame_batch(image: np.ndarray, crop: FrameCrop, landmarks: np.ndarray) -> FaceBatch:
    """One frame's crop with landmarks and skin mask.

    Args:
        image: (H, W, 3) uint8 RGB, the frame.
        crop: of the face.
        landmarks: (68, 2) pixel indices of the frame.
    """
    window = crop.cut(image)
    points = torch.from_numpy(crop.crop_landmarks(landmarks)).float()
    return FaceBatch(
        images=torch.from_numpy(window.copy()).permute(2, 0, 1)[None] / 255.0,
        paths=("",),
        landmarks_px=from_index(points, "centre")[None],
        skin_mask=torch.from_numpy(skin_mask(window))[None, None] / 255.0,
        inside=torch.from_numpy(inside_photo(crop, window.shape))[None, None],
    )


class _Work:
    """What a process does: any part of any pass."""

    def __init__(self, tools: _Tools) -> None:
        self._tools = tools

    # A process of its own starts with what its container's environment says.
    @full_products()
    def __call__(self, item: _Part) -> Arrays:
        return item.result(self._tools)


@dataclass(frozen=True)
class _Part(ABC):
    """One pass over a part of the video, as it is handed to a process."""

    number: int
    """Of the part."""
    part: VideoPart

    @abstractmethod
    def result(self, tools: _Tools) -> Arrays:
        """Arrays with a row for each frame of the core."""


@dataclass(frozen=True)
class _ScanPart(_Part):
    """Finds the face in the frames of a part."""

    def result(self, tools: _Tools) -> Arrays:
        """Landmarks, found, cut, start and broken.

        A start is a cut, or a face that is not where the one before it was.
        """
        part = self.part
        count = len(part.core)
        landmarks = np.zeros((count, 68, 2), np.float32)
        found, cut, broken = np.zeros(count, bool), np.zeros(count, bool), np.ones(count, bool)
        start = np.zeros(count, bool)
        tracker, finder = LandmarkTracker(tools.detector), CutFinder()
        cuts: list[int] = []
        for frame in tools.reader.frames(part.covered.start, part.covered.stop):
            begins = finder.add(frame.number, frame.image)
            cuts += [] if begins is None else [begins]
            place = frame.number - part.core.start
            if frame.number >= part.core.stop:
                continue  # beyond the core only cuts matter
            points = tracker(frame.image)
            if place >= 0:
                broken[place] = False
                start[place] = tracker.is_new
                if points is not None:
                    landmarks[place], found[place] = points, True
        for number in (*cuts, *finder.finish()):
            if number in part.core:
                cut[number - part.core.start] = True
        return {
            "landmarks": landmarks,
            "found": found,
            "cut": cut,
            "start": start | cut,
            "broken": broken,
        }


@dataclass(frozen=True)
class _TrackPart(_Part):
    """Follows the known face through a part; rows are those of the frames that it covers."""

    person: Arrays
    focal_scale: float
    landmarks: np.ndarray
    starts: np.ndarray
    crops: tuple[FrameCrop | None, ...]

    def result(self, tools: _Tools) -> Arrays:
        """Coefficients, motion, certainty and its diagonal, pull, colour distance."""
        fitter, core, covered = tools.fitter(self.number), self.part.core, self.part.covered
        job = tools.job
        fitter = fitter.seen_by(fitter.camera.refocused(self.focal_scale))
        fitter = fitter.weighing(job.track.of_known_face(fitter.weights))
        device = fitter.camera.focal_px.device
        person = Coefficients(
            **{name: torch.from_numpy(block).to(device) for name, block in self.person.items()}
        )
        fitter, layout = fitter.knowing(person), fitter.face_model.layout
        size = sum(part.stop - part.start for part in _motion_slices(layout).values())
        arrays = {
            "coefficients": np.zeros((len(core), layout.size), np.float32),
            "motion": np.zeros((len(core), size), np.float32),
            "certainty": np.zeros((len(core), size, size), np.float32),
            "sureness": np.zeros((len(core), size), np.float32),
            "pull": np.zeros((len(core), size), np.float32),
            "photo": np.zeros(len(core), np.float32),
        }
        last: TrackedFrame | None = None
        # What comes after the core says nothing about it.
        for frame in tools.reader.frames(covered.start, core.stop):
            row = frame.number - covered.start
            crop = self.crops[row]
            if crop is None:
                last = None
                continue
            batch = frame_batch(frame.image, crop, self.landmarks[row]).to(device)
            weights, schedule = job.track, job.schedule
            is_first = last is None or bool(self.starts[row])
            rendered = None
            if last is None or is_first:
                start, rules = begin(fitter, person, batch), FIRST_RULES
                weights = replace(
                    weights, near_expression=0.0, near_rotation=0.0, near_translation=0.0
                )
            else:
                start, rules = last.coefficients, NEXT_RULES
                rendered = last.rendered
            stride = TRACK_STRIDE[job.preset]
            if schedule is None:
                last = track(fitter, start, batch, rules, weights, stride, rendered)
            else:
                last = track_adam(
                    fitter, start, batch, schedule, weights, stride, is_first=is_first
                )
            if frame.number in core:
                place = frame.number - core.start
                arrays["coefficients"][place] = layout.join(last.coefficients)[0].cpu().numpy()
                arrays["motion"][place] = last.motion.cpu().numpy()
                certainty = last.certainty.cpu().numpy()
                arrays["certainty"][place] = certainty
                arrays["sureness"][place] = certainty.diagonal()
                arrays["pull"][place] = last.pull.cpu().numpy()
                arrays["photo"][place] = _colour_distance(last, fitter)
        return arrays


def _motion_slices(layout: ParameterLayout) -> dict[str, slice]:
    """Where the blocks of the motion lie, in the order of `motion_of`."""
    return {name: layout.slices[name] for name in MOTION if name in layout.slices}


def _within_motion(blocks: Mapping[str, slice]) -> dict[str, slice]:
    """Where the blocks of the motion lie in it."""
    within, begin = {}, 0
    for name, part in blocks.items():
        within[name] = slice(begin, begin + part.stop - part.start)
        begin = within[name].stop
    return within


def _colour_distance(tracked: TrackedFrame, fitter: FaceFitter) -> float:
    """The photometric term without its weight."""
    energy = float(tracked.minimum.evaluation.energies["photo"][0])
    return energy / fitter.weights.w_photo if fitter.weights.w_photo else 0.0


def _check_sizes(crops: Sequence[FrameCrop | None]) -> None:
    """Refuse to look for one focal length of crops that magnify the frames differently."""
    scales = [crop.scale for crop in crops if crop is not None]
    factor = max(scales) / min(scales)
    if factor > MOST_APPROACH:
        raise InputError(
            f"--fit_focal: the face grows or shrinks {factor:.1f} times along the video, and one "
            f"focal length for all its crops serves up to {MOST_APPROACH:g} times; leave the flag "
            "out, or fit a part of the video"
        )


def _crop(crops: Sequence[FrameCrop | None], number: int) -> FrameCrop:
    crop = crops[number]
    assert crop is not None
    return crop


def _features(
    fitter: FaceFitter,
    landmarks: np.ndarray,
    found: np.ndarray,
    crops: Sequence[FrameCrop | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Pose and expression of each frame for the choice of key frames; NaN without a face.

    The pose is that of the mean face; what the landmarks are off from it, in the face's own size,
    stands for the expression.

    Returns:
        (N, 3 + 102) features; (N,) angle in radians by which the face is turned away.
    """
    numbers = np.flatnonzero(found).tolist()
    points = np.stack([_crop(crops, n).crop_landmarks(landmarks[n]) for n in numbers])
    given = from_index(torch.from_numpy(points).float(), "centre").to(fitter.camera.focal_px.device)
    with torch.no_grad():
        posed = fitter.pose(given)
        terms = fitter.landmark_terms(given).by_name["landmarks"]
        residuals = terms.look(posed).residuals[:, 17:].flatten(1).cpu().numpy()
        angles = posed.angles_rad.cpu().numpy()
    features = np.full((len(found), 3 + residuals.shape[1]), np.nan)
    away = np.full(len(found), np.nan)
    # A turn by 0.2 rad counts as much as landmarks that are off by 3 pixels on average.
    features[numbers] = np.concatenate(
        [angles / 0.2, residuals / (3 * np.sqrt(residuals.shape[1]))], axis=1
    )
    away[numbers] = np.linalg.norm(angles[:, :2], axis=1)
    return features, away


def _join(batches: Sequence[FaceBatch]) -> FaceBatch:
    """One batch of several."""

    def cat(name: str) -> torch.Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])

    return FaceBatch(
        images=cat("images"),
        paths=tuple(path for batch in batches for path in batch.paths),
        landmarks_px=cat("landmarks_px"),
        skin_mask=cat("skin_mask"),
        inside=cat("inside"),
    )
