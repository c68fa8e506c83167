"""What the default detector sees in renders of the face model: faces found, landmarks agreeing.

The share of faces found before plain and cluttered backdrops, how far the detector's inner 51
landmarks are from the model's, and where it sees each landmark of frontal faces: the table from
which `DETECTOR_OFFSETS` in BFM/open_model/landmarks.py is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from BFM.open_model.landmarks import DETECTOR_OFFSETS
from data.detection import LandmarkDetector, create_detector
from data.landmarks import MIRROR_ORDER
from models.face_model import FaceModel
from models.landmarks import INNER
from options.data_options import DetectionOptions
from options.face_options import CROP_PX
from options.synthesis_options import Looks
from util.errors import InputError
from util.studio import Backdrop, Render, Studio

PARTS = {
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "outer lips": slice(48, 60),
    "inner lips": slice(60, 68),
}
OUTER_EYES = (36, 45)
LEFT_AND_MIDDLE = tuple(
    np.r_[0:9, 17:22, 27:34, 36:42, 48:52, 57:63, 66:68].tolist(),
)
"""Landmarks of the image's left half and of the middle; the others mirror them."""
FRONTAL_YAW_DEG, FRONTAL_PITCH_DEG = 20.0, 15.0
UPRIGHT_DEG = 10.0
"""What people tilt their heads in most photos; the generator's do so more often."""
SAME_FACE = 0.5
"""A face was found if its inner landmarks' centre is nearer to the true one than this share of the
outer-eye distance."""
ASTRAY = 10.0
"""Percent of the outer-eye distance beyond which most landmarks lie on something else."""
AIMS = {"plain": 97.0, "cluttered": 92.0}
AIM_AGREEMENT, AIM_OFFSET = 3.0, 0.7


@dataclass(frozen=True)
class DetectionFigureOptions:
    """What the detector is shown."""

    renders: int = 1000
    """Renders in which faces are searched, half before plain, half before cluttered backdrops."""
    max_yaw: float = 40.0
    """Degrees that they turn their heads at most."""
    render_px: int = CROP_PX
    """Side of the renders."""
    looks: Looks = "full"
    """plain leaves out hair, ears, glasses, gloss and shadows."""
    render_seed: int = 77
    """Random seed of the renders."""

    def __post_init__(self) -> None:
        """Refuse what gives no figures."""
        if self.renders < 2:
            raise InputError(f"--renders is {self.renders}; it must be at least 2")
        if not 0 < self.max_yaw <= 55:
            raise InputError(f"--max_yaw is {self.max_yaw}; it must lie between 0 and 55 degrees")


@dataclass(frozen=True)
class Sighting:
    """One render, and where the detector saw its landmarks."""

    offsets: np.ndarray | None
    """(68, 2) detector less model in percent of the outer-eye distance, x along the line of the
    eyes to the image's right, y down the face; None if no face was found."""
    visible: np.ndarray
    """(68,) bool."""
    angles_deg: np.ndarray
    """(3,) pitch, yaw, roll."""

    @property
    def frontal(self) -> bool:
        """Whether the face looks ahead, so that its offsets mean the same as others'."""
        pitch, yaw, _ = np.abs(self.angles_deg)
        return bool(yaw < FRONTAL_YAW_DEG and pitch < FRONTAL_PITCH_DEG)

    @property
    def upright(self) -> bool:
        """Whether the head is held as people mostly hold it, whatever its yaw."""
        return bool((np.abs(self.angles_deg[[0, 2]]) < UPRIGHT_DEG).all())


def face_frame_offsets(detected_px: np.ndarray, model_px: np.ndarray) -> np.ndarray:
    """Detected less true landmarks, in percent of the outer-eye distance, with the roll undone.

    Args:
        detected_px: (68, 2) y down.
        model_px: (68, 2) in the same pixels.

    Returns:
        (68, 2): x along the line of the outer eye corners, y down the face.
    """
    first, last = OUTER_EYES
    across = model_px[last] - model_px[first]
    # Rows: the direction of the eyes, and the one a quarter turn clockwise from it in the image.
    axes = np.array([[across[0], across[1]], [-across[1], across[0]]])
    return 100 * (detected_px - model_px) @ axes.T / (across @ across)


def look(render: Render, detector: LandmarkDetector, angles: slice) -> Sighting:
    """Search one render for its face."""
    true_px = render.landmarks_px.astype(np.float64)
    angles_deg = np.degrees(render.coefficients[angles])
    centre = true_px[INNER].mean(axis=0)
    reach = SAME_FACE * np.linalg.norm(true_px[OUTER_EYES[0]] - true_px[OUTER_EYES[1]])
    for face in detector.detect(render.picture, largest_only=True):
        seen_px = face.landmarks_px + 0.5
        if np.linalg.norm(seen_px[INNER].mean(axis=0) - centre) < reach:
            offsets = face_frame_offsets(seen_px, true_px)
            return Sighting(offsets, render.visible, angles_deg)
    return Sighting(None, render.visible, angles_deg)


@dataclass(frozen=True)
class SymmetricOffsets:
    """Where the detector sees landmarks, as a symmetric face would have them."""

    median: np.ndarray
    """(68, 2) percent of the outer-eye distance; mirror images of each other."""
    spread: np.ndarray
    """(68,) mean distance from the median."""
    count: np.ndarray
    """(68,) sightings of the landmark or its twin."""


def symmetric_offsets(sightings: Sequence[Sighting]) -> SymmetricOffsets:
    """Medians over faces and over both sides, of what is visible.

    Args:
        sightings: of faces that were found.
    """
    values = _offsets(sightings)
    seen = np.stack([s.visible for s in sightings if s.offsets is not None])
    mirrored = values[:, MIRROR_ORDER] * (-1.0, 1.0)
    values = np.concatenate([values, mirrored])
    seen = np.concatenate([seen, seen[:, MIRROR_ORDER]])
    values = np.where(seen[..., None], values, np.nan)
    median = np.nanmedian(values, axis=0)
    spread = np.nanmean(np.linalg.norm(values - median, axis=2), axis=0)
    return SymmetricOffsets(median, spread, seen.sum(axis=0))


def measure(
    face_model: FaceModel, wanted: DetectionFigureOptions
) -> dict[Backdrop, list[Sighting]]:
    """Render and search, by backdrop."""
    detector = create_detector(DetectionOptions())
    studio = Studio(face_model, wanted.render_px, wanted.looks, wanted.render_seed)
    numbers = studio.numbers(wanted.renders, wanted.max_yaw)
    angles = studio.layout.slices["angles_rad"]
    parts: dict[Backdrop, list[int]] = {"plain": numbers[::2], "cluttered": numbers[1::2]}
    return {
        backdrop: [look(render, detector, angles) for render in studio.take(part, backdrop)]
        for backdrop, part in parts.items()
    }


def report(sightings: Mapping[Backdrop, Sequence[Sighting]]) -> None:
    """Print all figures."""
    report_found(sightings)
    everyone = [face for faces in sightings.values() for face in faces]
    report_landmarks([face for face in everyone if face.offsets is not None])


def report_found(sightings: Mapping[Backdrop, Sequence[Sighting]]) -> None:
    """Print the shares of faces that were found, and on which poses they depend."""
    for backdrop, faces in sightings.items():
        upright = [face for face in faces if face.upright]
        print(
            f"found before {backdrop} backdrops: {_found_percent(faces):.1f} % of {len(faces)} "
            f"(aim {AIMS[backdrop]:.0f}); with pitch and roll below {UPRIGHT_DEG:.0f} degrees "
            f"{_found_percent(upright):.1f} % of {len(upright)}"
        )
    everyone = [face for faces in sightings.values() for face in faces]
    for axis, name in enumerate(("pitch", "yaw", "roll")):
        print(f"  by {name}:", end="")
        for low, high in itertools.pairwise((0, 10, 20, 30, 60)):
            group = [face for face in everyone if low <= abs(face.angles_deg[axis]) < high]
            if group:
                print(f" from {low} degrees {_found_percent(group):.1f} % of {len(group)};", end="")
        print()


def _found_percent(faces: Sequence[Sighting]) -> float:
    """Share of faces that were found; 0 of none."""
    return 100 * sum(face.offsets is not None for face in faces) / max(len(faces), 1)


def report_landmarks(found: Sequence[Sighting]) -> None:
    """Print how far detector and model are apart on faces that were found."""
    if not found:
        print("no face was found: no landmarks to compare")
        return
    print(f"inner landmarks, % of the outer-eye distance (aim {AIM_AGREEMENT:.0f}):")
    frontal = [face for face in found if face.frontal]
    upright = [face for face in found if face.upright]
    for name, faces in (("all", found), ("upright", upright), ("frontal", frontal)):
        if faces:
            distances = np.linalg.norm(_offsets(faces), axis=2)
            each = distances[:, INNER].mean(axis=1)
            parts = ", ".join(f"{k} {distances[:, v].mean():.2f}" for k, v in PARTS.items())
            print(
                f"  {name} {len(faces)} faces: mean {each.mean():.2f}, median "
                f"{np.median(each):.2f}, beyond {ASTRAY:.0f} {(each > ASTRAY).sum()} ({parts})"
            )
    if frontal:
        offsets = symmetric_offsets(frontal)
        left = without(found, offsets)
        print(
            f"  all with the offsets below taken away: mean {left.mean():.2f}, median "
            f"{np.median(left):.2f}"
        )
        print_offsets(offsets, len(frontal))


def _offsets(faces: Sequence[Sighting]) -> np.ndarray:
    """(N, 68, 2) of the faces that were found."""
    return np.stack([face.offsets for face in faces if face.offsets is not None])


def without(sightings: Sequence[Sighting], offsets: SymmetricOffsets) -> np.ndarray:
    """Mean distance of each face's inner landmarks (N,) that calibration would leave, percent."""
    each = _offsets(sightings) - offsets.median
    return np.linalg.norm(each, axis=2)[:, INNER].mean(axis=1)


def print_offsets(offsets: SymmetricOffsets, faces: int) -> None:
    """Print the table of `DETECTOR_OFFSETS`: left half and middle, the other half mirrors it."""
    size = np.linalg.norm(offsets.median, axis=1)[INNER]
    print(
        f"detector less model over {faces} frontal faces, (x, y down) in % of the outer-eye "
        f"distance, image's left half; largest {size.max():.2f}, {(size > AIM_OFFSET).sum()} of 51 "
        f"beyond {AIM_OFFSET}"
    )
    print("landmark       x      y   spread  seen   DETECTOR_OFFSETS with this added")
    for number in LEFT_AND_MIDDLE:
        x, y = offsets.median[number]
        now = DETECTOR_OFFSETS.get(number, (0.0, 0.0))
        middle = MIRROR_ORDER[number] == number
        total = (0.0 if middle else now[0] + x, now[1] + y)
        print(
            f"{number:>8} {x:>7.2f}{y:>7.2f}  {offsets.spread[number]:>7.2f} "
            f"{offsets.count[number]:>5}   {number}: ({total[0]:.1f}, {total[1]:.1f}),"
        )
