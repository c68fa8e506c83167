"""Where the landmarks of upright faces lie in the detector's boxes: `UPRIGHT_FACE`'s numbers.

python -m benchmarks.upright_face --renders 600

Renders of the open model's people who look ahead are searched by the default detector, and its
predictor looks once at each box. The mean is what `UPRIGHT_FACE` in data/landmark_looks.py holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.named_model import named_model
from data.detection import DlibDetector
from data.landmark_looks import UPRIGHT_FACE, Place, Start
from data.landmarks import MIRROR_ORDER
from models.face_model import FaceModel
from options import parse_command
from options.face_options import CROP_PX, FaceModelOptions
from util.assets import choose_face_model
from util.command import run_command
from util.errors import InputError
from util.studio import Studio

AHEAD_DEG = 10.0
"""By how much people may nod, turn and tilt their heads who look ahead."""
ONCE = Start(zoom=1.0, mirrored=False)


@dataclass(frozen=True)
class UprightOptions:
    """What the predictor is shown."""

    renders: int = 600
    """Renders of faces that look ahead."""
    render_seed: int = 77
    """Random seed of the renders."""

    def __post_init__(self) -> None:
        """Refuse what gives no mean."""
        if self.renders < 1:
            raise InputError(f"--renders is {self.renders}; it must be at least 1")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and by how much it differs from the one in use."""
    options = parse_command([UprightOptions, FaceModelOptions], argv, __doc__ or "")
    face_model, message = choose_face_model(named_model(options))
    print(f"face model: {message}")
    report(landmarks_in_boxes(face_model, options[UprightOptions]))


def landmarks_in_boxes(face_model: FaceModel, wanted: UprightOptions) -> np.ndarray:
    """Landmarks (N, 68, 2) of the faces found, in boxes from -0.5 to 0.5, y down.

    Raises:
        InputError: no face was found.
    """
    studio = Studio(face_model, CROP_PX, seed=wanted.render_seed)
    detector = DlibDetector()
    found = []
    for render in studio.take(_ahead(studio, wanted.renders), "plain"):
        for face in detector.detect(render.picture, largest_only=True):
            place = Place.of_box(np.array(face.box))
            (landmarks,) = detector.look(render.picture, place, [ONCE])
            found.append((landmarks - place.middle) / place.side)
    if not found:
        raise InputError("the detector finds no face in any render; ask for more of them")
    return np.stack(found)


def symmetric_mean(landmarks: np.ndarray) -> np.ndarray:
    """Mean (68, 2) of landmarks (N, 68, 2) and of their mirror images."""
    mean = landmarks.mean(axis=0)
    return (mean + mean[MIRROR_ORDER] * (-1, 1)) / 2


def report(landmarks: np.ndarray) -> None:
    """Print the table of landmarks (N, 68, 2)."""
    table = symmetric_mean(landmarks)
    for x, y in table:
        print(f"        [{x:.3f}, {y:.3f}],")
    difference = np.abs(table - UPRIGHT_FACE)
    row, axis = np.unravel_index(difference.argmax(), difference.shape)
    print(
        f"{len(landmarks)} faces; largest difference from UPRIGHT_FACE "
        f"{difference[row, axis]:.4f}, the {'xy'[axis]} of landmark {row}; mean "
        f"{difference.mean():.4f}"
    )


def _ahead(studio: Studio, count: int) -> list[int]:
    """The first samples of people who look ahead."""
    angles = studio.layout.slices["angles_rad"]
    found: list[int] = []
    number = 0
    while len(found) < count:
        if (np.abs(np.degrees(studio.coefficients([number])[0, angles])) < AHEAD_DEG).all():
            found.append(number)
        number += 1
    return found


if __name__ == "__main__":
    run_command(main)
