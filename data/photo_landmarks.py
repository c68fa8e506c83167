"""Which landmarks of a photo count: the user's own first, then those of a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.detection import LandmarkDetector
from data.landmarks import check_landmarks, read_landmarks, upright_landmarks


def read_checked(
    path: Path, image_shape: tuple[int, ...], *, any_way_up: bool = False
) -> np.ndarray | None:
    """The points of a landmark file, checked against their image; None where there is no file.

    Args:
        path: file of 5 or 68 points.
        image_shape: (height, width, ...).
        any_way_up: turn points that count rows from below, as public files of `landmarks/` do.

    Raises:
        InputError: a file that cannot be read, or points that are not those of one upright face.
    """
    if not path.is_file():
        return None
    points = read_landmarks(path)
    if any_way_up:
        points = upright_landmarks(points, image_shape[0])
    check_landmarks(points, image_shape, str(path))
    return points


def choose_landmarks(
    image: np.ndarray,
    landmarks: np.ndarray | None,
    given: np.ndarray | None,
    detector: LandmarkDetector,
) -> np.ndarray | None:
    """The 68 landmarks of a photo.

    They are, in this order: `landmarks`, `given` if it has all 68, those of the face that five
    `given` points mark, those of the largest face found.

    Args:
        image: (H, W, 3) uint8.
        landmarks: (68, 2) from the file in landmarks/, or None.
        given: (5 | 68, 2) from the file in detections/, or None.
        detector: finds what is missing.

    Returns:
        (68, 2) pixel indices, or None where no face is found. What a detector found is not
        checked.
    """
    if landmarks is not None:
        return landmarks
    if given is not None:
        return given if len(given) == 68 else detector.landmarks_from_five(image, given)
    faces = detector.detect(image, largest_only=True)
    return faces[0].landmarks_px if faces else None
