"""What following a face along a video is worth: on rendered clips of known motion, and on a video.

python -m benchmarks.fitting_video --video FILE

    clips   of the fitted model's own people, who turn, talk and blink; hair, glasses, shadows and
            noise as in the training data. The detector's landmarks, a fit to each frame's, tracked
            and smoothed motion, against the true one: inner landmarks and their jitter, and how
            deep the lids close in blinks, as a share of the true depth.
    video   jitter of the inner landmarks in pixels of the video, their distance from the detected
            ones, and the colours' from the frame's: of a fit to each frame's landmarks, tracked,
            smoothed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.trained_networks import with_error
from data.video import VideoReader
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.fitter import FaceFitter
from models.landmarks import LID_PAIRS, from_index, normalised_error
from models.renderer import Renderer
from options import parse_command
from options.data_options import DetectionOptions
from options.face_options import CameraOptions, FaceModelOptions, RenderOptions
from options.fitting_weights import PUBLIC_WEIGHTS, FitWeights, Preset, TrackWeights
from options.synthesis_options import Looks
from util.assets import load_face_model
from util.command import run_command
from util.errors import InputError
from util.studio import Studio
from util.videos.followed_face import FollowedFace
from util.videos.video_file import VideoWriter
from util.videos.video_fitting import VideoFitting, VideoJob, frame_batch
from util.videos.video_measures import VideoMeasures, jitter

CLIP_PX = 448
"""Side of the clips."""
RATE_HZ = 25
BLINK = np.array([0.35, 0.85, 1.0, 0.7, 0.3])
"""Strength of the closed lids along the five frames of a blink."""
BLINKING = ("eyeBlinkLeft", "eyeBlinkRight")
BLINKS_AT = (0.3, 0.7)
"""When they begin, as shares of the clip."""
LEAST_FRAMES = 34
"""With which there are as many frames before and after each blink as it has."""
COLOUR_EVERY = 5
"""Frames of a video whose colours are compared."""
LANDMARKS_ALONE = "each frame's landmarks"
MAX_YAW_DEG = 15.0
"""Of the samples whose light and surroundings the clips have."""
BACK_DM = 3.0
"""How far the head stands behind where crops show it: the clips have room around it."""


@dataclass(frozen=True)
class VideoFigures:
    """What is measured."""

    clips: int = 6
    """Rendered people; 0 leaves them out."""
    frames: int = 120
    """Of each clip."""
    video: str = ""
    """A video; none leaves it out."""
    face_model: str = "open"
    """The model that is fitted, and whose people are rendered."""
    looks: Looks = "full"
    """Of the clips: plain leaves out hair, ears, glasses, gloss and shadows."""
    seed: int = 7000
    """Of the people."""
    preset: Preset = "balanced"
    """Of the fit."""
    workers: int = 2
    """Processes."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be measured on."""
        if self.clips < 0:
            raise InputError(f"--clips is {self.clips}; it must be 0 or more")
        if self.frames < LEAST_FRAMES:
            raise InputError(f"--frames is {self.frames}; at least {LEAST_FRAMES} are needed")


@dataclass(frozen=True)
class Clip:
    """A rendered video."""

    path: Path
    landmarks: np.ndarray
    """(N, 68, 2) true ones, pixel indices."""
    blinks: tuple[int, ...]
    """First frame of each."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print every table that is wanted."""
    options = parse_command([VideoFigures, FitWeights, TrackWeights], argv, __doc__ or "")
    wanted = options[VideoFigures]
    following = Following(wanted, options[FitWeights], options[TrackWeights])
    print(f"{following.face_model.card}, {wanted.preset}")
    with torch.no_grad():
        if wanted.clips:
            report_clips(following, wanted)
        if wanted.video:
            report_video(following, Path(wanted.video))


class Following:
    """Fits videos, and tells where the landmarks are in each way of doing so."""

    def __init__(self, wanted: VideoFigures, weights: FitWeights, track: TrackWeights) -> None:
        self._wanted, self._weights, self._track = wanted, weights, track
        self._chosen = FaceModelOptions(wanted.face_model, jaw_landmarks="silhouette")
        self.face_model = load_face_model(self._chosen)
        if wanted.clips and not {"jawOpen", *BLINKING} <= set(self.face_model.unit_names):
            raise InputError(
                f"--face_model {wanted.face_model} has no named units for people to talk and blink "
                "with; take --clips 0, or --face_model open"
            )
        self._fitter = self._fitter_of(weights)
        self._judge = self._fitter_of(replace(PUBLIC_WEIGHTS, w_photo=1.0))

    def _fitter_of(self, weights: FitWeights) -> FaceFitter:
        return FaceFitter(self.face_model, Camera.rnet(), Renderer(), weights)

    def fit(self, video: Path) -> FollowedFace:
        """Identity, albedo and all frames."""
        wanted = self._wanted
        with tempfile.TemporaryDirectory() as folder:
            job = VideoJob(
                video,
                self._chosen,
                CameraOptions(),
                RenderOptions(),
                DetectionOptions(),
                self._weights,
                self._track,
                wanted.preset,
                frames_for_shape=16,
            )
            return VideoFitting(job, Path(folder) / "cache", wanted.workers).run()

    def ways(self, fit: FollowedFace) -> dict[str, np.ndarray]:
        """Coefficients (N, P) of each way."""
        return {
            LANDMARKS_ALONE: self._of_each(fit),
            "tracked": fit.tracked,
            "smoothed": fit.coefficients,
        }

    def landmarks(self, fit: FollowedFace, flat: np.ndarray) -> np.ndarray:
        """(N, 68, 2) pixel indices of the frames."""
        return VideoMeasures(self.face_model, fit).landmarks_of(flat)

    def _of_each(self, fit: FollowedFace) -> np.ndarray:
        """Shape and pose of each frame's landmarks, in albedo and light of the smoothed fit."""
        of_each, layout = fit.coefficients.copy(), self.face_model.layout
        for number in np.flatnonzero(fit.found).tolist():
            given = FaceBatch(torch.zeros(1, 3, 1, 1), ("",), _given(fit, number))
            alone = layout.join(self._fitter.fit(given, ()).coefficients)[0].numpy()
            for name, part in layout.slices.items():
                if name not in ("texture", "gamma"):
                    of_each[number, part] = alone[part]
        return of_each

    def colours(self, fit: FollowedFace, flat: np.ndarray, video: Path) -> float:
        """Mean robust colour distance over the skin of some frames, RGB in [0, 255]."""
        numbers = np.flatnonzero(fit.found)[::COLOUR_EVERY].tolist()
        distances = []
        for frame in VideoReader(video).read(numbers):
            crop = fit.aligned_crop(frame.number)
            batch = frame_batch(frame.image, crop, fit.landmarks[frame.number])
            term = self._judge.photo_term(batch, 1)
            found = self.face_model.layout.split(torch.from_numpy(flat[frame.number][None]))
            distances.append(float(term.energy(term.look(found))))
        return 255 * float(np.mean(distances))


def _given(fit: FollowedFace, number: int) -> torch.Tensor:
    """(1, 68, 2) detected landmarks of a frame, continuous pixels of its crop."""
    crop = fit.aligned_crop(number)
    points = torch.from_numpy(crop.crop_landmarks(fit.landmarks[number])).float()
    return from_index(points, "centre")[None]


def report_clips(following: Following, wanted: VideoFigures) -> None:
    """Errors against the truth, mean over the clips."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(following.face_model, CLIP_PX, wanted.looks, wanted.seed)
        for person in studio.numbers(wanted.clips, MAX_YAW_DEG):
            clip = make_clip(following.face_model, studio, person, wanted, Path(folder))
            fit = following.fit(clip.path)
            points = {"truth": clip.landmarks, "detected": fit.landmarks}
            for name, flat in following.ways(fit).items():
                points[name] = following.landmarks(fit, flat)
            for name, one in points.items():
                rows.setdefault(name, []).append(_against_truth(one, clip, fit.found))
    print(f"\n{wanted.clips} clips of {wanted.frames} frames (standard error)")
    print(f"{'':<26}{'inner landmarks, %':>20}{'jitter, px':>20}{'depth of blinks':>20}")
    for name, values in rows.items():
        columns = "".join(
            f"{with_error(np.array(column)):>20}" for column in zip(*values, strict=True)
        )
        print(f"{name:<26}{columns}")


def make_clip(
    face_model: FaceModel, studio: Studio, person: int, wanted: VideoFigures, folder: Path
) -> Clip:
    """A person of the studio who turns, talks and blinks twice.

    Args:
        face_model: the studio's, with expression units.
        studio: that draws.
        person: number of the sample, which gives identity, light and surroundings.
        wanted: its `frames`, `seed`.
        folder: where the video is written.
    """
    count, random = wanted.frames, np.random.default_rng((wanted.seed, person))
    seconds = np.arange(count) / RATE_HZ
    units = {name: np.zeros(count) for name in face_model.unit_names}
    talk = _wave(random, seconds, (2.0, 4.5)).clip(0, None)
    units["jawOpen"] += 0.35 * talk
    for name, slow in (("mouthSmile", 0.5), ("browInnerUp", 0.4), ("mouthPucker", 0.4)):
        strength = slow * _wave(random, seconds, (0.2, 0.8)).clip(0, None)
        for side in (name, f"{name}Left", f"{name}Right"):
            if side in units:
                units[side] += strength
    blinks = tuple(int(share * count) for share in BLINKS_AT)
    for first in blinks:
        for side in BLINKING:
            units[side][first : first + len(BLINK)] = BLINK
    strengths = np.stack([units[name] for name in face_model.unit_names], axis=1)
    turns = [_wave(random, seconds, (0.15, 0.7)) for _ in range(3)]
    ways = [_wave(random, seconds, (0.1, 0.5)) for _ in range(3)]
    blocks = {
        "expression": strengths @ face_model.unit_matrix.numpy(),
        "angles_rad": np.radians([8.0, 18.0, 6.0]) * np.stack(turns, axis=1),
        "translation_dm": np.array([0.4, 0.2, 0.5]) * np.stack(ways, axis=1) + [0, 0, -BACK_DM],
    }
    renders = list(studio.take([person] * count, "cluttered", blocks))
    path = folder / f"clip_{person}.mp4"
    with VideoWriter(path) as writer:
        for render, at in zip(renders, seconds, strict=True):
            writer.write(render.picture, float(at))
    true = np.stack([render.landmarks_px for render in renders]) - 0.5
    return Clip(path, true, blinks)


def _wave(random: np.random.Generator, seconds: np.ndarray, hz: tuple[float, float]) -> np.ndarray:
    """(N,) a smooth random motion of mean square 1/2: three sines of frequencies between two."""
    parts = [
        np.sin(2 * np.pi * (random.uniform(*hz) * seconds + random.uniform())) for _ in range(3)
    ]
    return np.sum(parts, axis=0) / np.sqrt(3)


def _against_truth(points: np.ndarray, clip: Clip, found: np.ndarray) -> tuple[float, float, float]:
    """Error of the inner landmarks in percent, jitter in pixels, depth of the blinks."""
    inner = _inner(points[found], clip.landmarks[found])
    no_breaks = np.zeros(len(found), bool)
    shaking = jitter(points[:, 17:], found, no_breaks)
    depth = [
        _depth(points, clip, first) / _depth(clip.landmarks, clip, first)
        for first in clip.blinks
        if found[_around(first)].all()
    ]
    return 100 * inner, shaking, float(np.mean(depth)) if depth else float("nan")


def lid_gap(points: np.ndarray) -> np.ndarray:
    """Mean distance (N,) of the upper from the lower lids among landmarks (N, 68, 2)."""
    gaps = [np.linalg.norm(points[:, up] - points[:, down], axis=-1) for up, down in LID_PAIRS]
    return np.mean(gaps, axis=0)


def _around(first: int) -> slice:
    """A blink and as many frames before and after it."""
    return slice(first - len(BLINK), first + 2 * len(BLINK))


def _depth(points: np.ndarray, clip: Clip, first: int) -> float:
    """By how much the lids near each other in a blink, in true widths of the eyes."""
    width = np.linalg.norm(clip.landmarks[:, 36] - clip.landmarks[:, 39], axis=-1)
    gap = lid_gap(points) / width
    closed = slice(first, first + len(BLINK))
    before, after = slice(first - len(BLINK), first), slice(closed.stop, closed.stop + len(BLINK))
    return float((gap[before].mean() + gap[after].mean()) / 2 - gap[closed].min())


def report_video(following: Following, video: Path) -> None:
    """Jitter and errors of the steps of a video."""
    fit = following.fit(video)
    print(f"\n{video.name}: {fit.found.sum()} of {len(fit.found)} frames, pixels of the video")
    print(f"{_repeated(video)} frames show the picture before them once more")
    print(f"{'':<26}{'jitter':>12}{'inner landmarks, %':>20}{'colours, levels':>20}")
    print(f"{'detected':<26}{jitter(fit.landmarks[:, 17:], fit.found, fit.starts):>12.2f}")
    for name, flat in following.ways(fit).items():
        points = following.landmarks(fit, flat)
        inner = _inner(points[fit.found], fit.landmarks[fit.found])
        shaking = jitter(points[:, 17:], fit.found, fit.starts)
        colours = following.colours(fit, flat, video)
        print(f"{name:<26}{shaking:>12.2f}{100 * inner:>20.2f}{colours:>20.1f}")


def _repeated(video: Path) -> int:
    """Frames that change less than a tenth of what is usual: a changed frame rate leaves them."""
    before, changes = None, []
    for frame in (reader := VideoReader(video)).frames(0, len(reader)):
        image = frame.image.astype(np.float32)
        if before is not None:
            changes.append(np.abs(image - before).mean())
        before = image
    return int((np.array(changes) < 0.1 * np.median(changes)).sum())


def _inner(points: np.ndarray, given: np.ndarray) -> float:
    """Mean error of the inner landmarks in outer-eye distances."""
    one, other = torch.from_numpy(points).double(), torch.from_numpy(given).double()
    return float(normalised_error(one, other)[0].mean())


if __name__ == "__main__":
    run_command(main)
