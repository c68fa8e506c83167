"""Landmarks of the frames of a video: predicted where the face was, detected where it is lost.

The detector is the slow part, and in a video it says little new: from one frame to the next the
predictor finds the face in the box of its last landmarks. Now and then, and whenever the landmarks
look impossible, the detector looks again; a face that has left gives frames without landmarks.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from data.detection import LandmarkDetector
from data.landmarks import check_landmarks, five_from_68
from data.skin_mask import skin_mask
from util.errors import InputError

CHECK_EVERY = 12
"""Frames after which the detector confirms the face."""
TILTED_EVERY = 5
"""Of frames in a row without a face, the first and then one in so many are searched for tilted
heads too, since each turn of the frame takes one more coarse search. Who comes into view leaning is
therefore found up to four frames later."""
WINDOW = 2.4
"""Side of the window in which it looks for it, over the extent of the landmarks."""
LARGEST_MOTION = 0.5
"""Of the landmarks' centre from frame to frame, over their extent."""
LARGEST_GROWTH = 1.35
"""Of their extent from frame to frame, either way."""
LEAST_LIKENESS = 0.75
"""Correlation with the face when it was last confirmed, below which the detector looks at once."""
PATCH_PX = 24
"""Side of the picture of the face that is compared."""
LEAST_SKIN = 0.3
"""Mean skin probability between the landmarks of a face that the detector does not confirm, such as
a profile."""


class LandmarkTracker:
    """Follows the largest face from frame to frame; hand it the frames in their order."""

    def __init__(self, detector: LandmarkDetector) -> None:
        """Begin without a face."""
        self._detector = detector
        self._last: np.ndarray | None = None
        self._unconfirmed = 0
        self._faceless = 0
        """Frames without a face, in a row."""
        self._confirmed: np.ndarray | None = None
        """What the face looked like when the detector last saw it."""
        self.is_new = False
        """Whether the last frame's face is not where the one before it was: nothing follows it."""

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks (68, 2), pixel indices, of an (H, W, 3) uint8 frame; None without a face."""
        points, self.is_new = None, False
        if self._last is not None:
            points = self._follow(image, self._last)
        if points is None:
            tilted = self._faceless % TILTED_EVERY == 0
            faces = self._detector.detect(image, largest_only=True, tilted=tilted)
            if faces:
                # Once more in the box that following will use: boxes shift landmarks.
                five = five_from_68(faces[0].landmarks_px)
                points = self._detector.landmarks_from_five(image, five)
                self._confirm(image, points)
                self.is_new = self._last is None or not _plausible(points, self._last, image.shape)
        self._last = points
        self._faceless = 0 if points is not None else self._faceless + 1
        return points

    def _follow(self, image: np.ndarray, last: np.ndarray) -> np.ndarray | None:
        """The face near where it was; None if it is not there any more."""
        points = self._detector.landmarks_from_five(image, five_from_68(last))
        if not _plausible(points, last, image.shape):
            return None
        self._unconfirmed += 1
        if self._unconfirmed < CHECK_EVERY and self._looks_alike(image, points):
            return points
        if self._is_there(image, points):
            self._confirm(image, points)
            return points
        return points if _skin_between(image, points) > LEAST_SKIN else None

    def _confirm(self, image: np.ndarray, points: np.ndarray) -> None:
        self._unconfirmed = 0
        self._confirmed = _patch(image, points)

    def _looks_alike(self, image: np.ndarray, points: np.ndarray) -> bool:
        """Whether the landmarks still lie on what was confirmed."""
        patch = _patch(image, points)
        if patch is None or self._confirmed is None:
            return False
        return float((patch * self._confirmed).mean()) > LEAST_LIKENESS

    def _is_there(self, image: np.ndarray, points: np.ndarray) -> bool:
        """Whether the detector finds such a face in a window about the landmarks."""
        middle, extent = _middle_and_extent(points)
        low = np.maximum(np.floor(middle - WINDOW * extent / 2), 0).astype(int)
        high = np.minimum(np.ceil(middle + WINDOW * extent / 2), image.shape[1::-1]).astype(int)
        window = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
        if min(window.shape[:2]) < 32:
            return False
        faces = self._detector.detect(window, largest_only=True)
        return any(_plausible(face.landmarks_px + low, points, image.shape) for face in faces)


def _middle_and_extent(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre of the landmarks' box, and its longer side."""
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, float((high - low).max())


def _plausible(points: np.ndarray, last: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether landmarks can be those of a face that was at `last` a moment ago."""
    try:
        check_landmarks(points, shape, "tracked")
    except InputError:
        return False
    middle, extent = _middle_and_extent(points)
    last_middle, last_extent = _middle_and_extent(last)
    growth = extent / last_extent
    moved = np.linalg.norm(middle - last_middle) / last_extent
    return moved < LARGEST_MOTION and 1 / LARGEST_GROWTH < growth < LARGEST_GROWTH


def _skin_between(image: np.ndarray, points: np.ndarray) -> float:
    """Mean skin probability of the box of the inner landmarks."""
    low = np.maximum(points[17:].min(axis=0), 0).astype(int)
    high = np.minimum(points[17:].max(axis=0) + 1, image.shape[1::-1]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    if not part.size:
        return 0.0
    return float(skin_mask(np.ascontiguousarray(part)).mean() / 255)


def _patch(image: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The box of the inner landmarks as a small grey picture of mean 0 and variance 1.

    None where it lies outside of the image.
    """
    low, high = points[17:].min(axis=0), points[17:].max(axis=0)
    low = np.clip(low, 0, np.array(image.shape[1::-1]) - 1)
    high = np.clip(high, low + 1, image.shape[1::-1])
    first, last = np.floor(low).astype(int), np.ceil(high).astype(int)
    part = image[first[1] : last[1], first[0] : last[0]]
    if min(part.shape[:2]) < 4:
        return None
    size = (PATCH_PX, PATCH_PX)
    small = Image.fromarray(part).resize(size, Image.Resampling.BILINEAR).convert("L")
    values = np.asarray(small, dtype=np.float64)
    # Noise alone must not look like a face.
    return (values - values.mean()) / max(values.std(), 4.0)
