"""Square crops of faces as 3DDFA's and SynergyNet's networks see them.

Corners are rounded to whole pixels of the photo, what lies beyond it is black, and the crop is
scaled bilinearly without smoothing, as OpenCV does. What public weights predict depends on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from options.face_options import SYNERGY_CROP_PX
from util.errors import InputError

LANDMARK_FACTOR = math.sqrt(2)
"""Side of a crop over the longer side of the landmarks' box, in training data and benchmark."""
DETECTION_FACTOR = 1.2
"""Side of a crop over the height of a detector's box, in SynergyNet's demo."""


@dataclass(frozen=True)
class SquareCrop:
    """Where a crop lies in its photo; `util.photos.photo_camera.Window` is such."""

    photo_size: tuple[int, int]
    """Width and height of the photo."""
    left: int
    """First column; may lie beyond the photo, as all corners may."""
    top: int
    right: int
    """Column after the last one."""
    bottom: int
    crop_px: int = SYNERGY_CROP_PX
    """Side of the scaled crop."""

    def __post_init__(self) -> None:
        """Refuse what shows nothing.

        Raises:
            InputError: no pixel wide or high, or all of it beyond the photo.
        """
        width, height = self.photo_size
        if self.right <= self.left or self.bottom <= self.top:
            raise InputError(f"the face's box {self.corners} has no pixels; correct its points")
        if self.left >= width or self.top >= height or self.right <= 0 or self.bottom <= 0:
            raise InputError(
                f"the face's box {self.corners} lies outside of the photo of {width} x {height} "
                "pixels; correct its points"
            )

    @classmethod
    def about_landmarks(
        cls, landmarks: np.ndarray, photo_size: tuple[int, int], crop_px: int = SYNERGY_CROP_PX
    ) -> SquareCrop:
        """As crops of training data lie about landmarks.

        Args:
            landmarks: (68, 2) pixel indices of the photo.
            photo_size: width and height.
            crop_px: side of the scaled crop.
        """
        points = landmarks + 0.5
        low, high = points.min(axis=0), points.max(axis=0)
        half = LANDMARK_FACTOR * float((high - low).max()) / 2
        return cls._about((low + high) / 2, half, photo_size, crop_px)

    @classmethod
    def about_detection(
        cls, box: np.ndarray, photo_size: tuple[int, int], crop_px: int = SYNERGY_CROP_PX
    ) -> SquareCrop:
        """As SynergyNet's demo puts a crop about a detector's box (left, top, right, bottom)."""
        half = math.floor(DETECTION_FACTOR * float(box[3] - box[1]) / 2)
        centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        return cls._about(centre, half, photo_size, crop_px)

    @classmethod
    def whole(cls, photo_size: tuple[int, int], crop_px: int = SYNERGY_CROP_PX) -> SquareCrop:
        """The photo is the crop."""
        return cls(photo_size, 0, 0, photo_size[0], photo_size[1], crop_px)

    @classmethod
    def _about(
        cls, centre: np.ndarray, half: float, photo_size: tuple[int, int], crop_px: int
    ) -> SquareCrop:
        low, high = centre - half, centre + half
        left, top, right, bottom = (round(float(edge)) for edge in (*low, *high))
        return cls(photo_size, left, top, right, bottom, crop_px)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    @property
    def scales(self) -> np.ndarray:
        """(2,) pixels of the photo for one of the crop, in x and y."""
        return np.array([self.right - self.left, self.bottom - self.top]) / self.crop_px

    @property
    def scale(self) -> float:
        """Pixels of the crop for one of the photo."""
        return 1 / float(self.scales.mean())

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) photo -> crop, continuous pixels."""
        return np.column_stack(
            [np.diag(1 / self.scales), -np.array([self.left, self.top]) / self.scales]
        )

    @property
    def inverse_matrix(self) -> np.ndarray:
        """(2, 3) crop -> photo, continuous pixels."""
        return np.column_stack([np.diag(self.scales), [self.left, self.top]])

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the crop in the photo: continuous pixels, depth by the mean scale."""
        scales = np.append(self.scales, self.scales.mean())
        return points * scales + np.array([self.left, self.top, 0.0])

    def from_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) or (..., 3) of the photo in the crop, as `to_photo` has them."""
        count = points.shape[-1]
        scales = np.append(self.scales, self.scales.mean())[:count]
        return (points - np.array([self.left, self.top, 0.0])[:count]) / scales

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop (S, S, 3) uint8 of a photo (H, W, 3) uint8."""
        height, width = image.shape[:2]
        part = np.zeros((self.bottom - self.top, self.right - self.left, 3), np.uint8)
        x0, x1 = max(self.left, 0), min(self.right, width)
        y0, y1 = max(self.top, 0), min(self.bottom, height)
        rows, columns = slice(y0 - self.top, y1 - self.top), slice(x0 - self.left, x1 - self.left)
        part[rows, columns] = image[y0:y1, x0:x1]
        return resize_linear(part, self.crop_px)


def resize_linear(image: np.ndarray, side: int) -> np.ndarray:
    """Scale a picture (H, W, C) uint8 to (side, side, C): bilinear, without smoothing.

    Pixel i of the result lies at (i + 0.5) H / side - 0.5 of the picture; beyond its outer centres
    the edge goes on.
    """
    height, width = image.shape[:2]
    y0, y1, wy = _neighbours(height, side)
    x0, x1, wx = _neighbours(width, side)
    rows = image[y0] * (1 - wy)[:, None, None] + image[y1] * wy[:, None, None]
    mixed = rows[:, x0] * (1 - wx)[:, None] + rows[:, x1] * wx[:, None]
    return np.rint(mixed).astype(np.uint8)


def _neighbours(size: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second source pixel, and the weight of the second, of each pixel."""
    place = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    first = np.floor(place).astype(int)
    return first, np.minimum(first + 1, size - 1), (place - first).astype(np.float32)
