"""The crop of each frame of a video: it follows the face smoothly, without rounding to pixels.

Single photos are cropped as the public code does, with its truncations; along a video these, and
the noise of the landmarks, would shake the crop, and with it everything that is estimated in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL.Image import Resampling
from scipy.ndimage import gaussian_filter1d

from data.alignment import FACE_SCALE_PX, pos
from data.images import resample_box
from data.landmarks import five_from_68
from data.video_plan import frame_runs
from options.face_options import CROP_PX

SMOOTH_FRAMES = 5.0
"""Standard deviation of the Gaussian along the frames."""


@dataclass(frozen=True)
class FrameCrop:
    """A square window of a frame; its matrices act on continuous pixels, y down."""

    photo_size: tuple[int, int]
    """Width and height of the frame."""
    scale: float
    """Pixels of the crop for one pixel of the frame."""
    left: float
    """Of the window, in pixels of the frame; may lie outside of it."""
    top: float
    crop_px: int = CROP_PX

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) frame -> crop."""
        s = self.scale
        return np.array([[s, 0, -s * self.left], [0, s, -s * self.top]])

    @property
    def inverse_matrix(self) -> np.ndarray:
        """(2, 3) crop -> frame."""
        return np.array([[1 / self.scale, 0, self.left], [0, 1 / self.scale, self.top]])

    @property
    def public_parameters(self) -> np.ndarray:
        """(5,) as the public code's `trans_params`: frame size, scale, centre (y up)."""
        width, height = self.photo_size
        half = self.crop_px / 2 / self.scale
        centre = (self.left + half, height - (self.top + half))
        return np.array([width, height, self.scale, *centre])

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The window of an (H, W, 3) uint8 frame, resampled; black outside of the frame."""
        side = self.crop_px / self.scale
        box = (self.left, self.top, self.left + side, self.top + side)
        return resample_box(image, box, self.crop_px, Resampling.BILINEAR)

    def crop_landmarks(self, landmarks: np.ndarray) -> np.ndarray:
        """Pixel indices of the frame -> pixel indices of the crop."""
        return (landmarks + 0.5) @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5


def crop_path(
    landmarks: np.ndarray,
    found: np.ndarray,
    photo_size: tuple[int, int],
    standard_points: np.ndarray,
    starts: np.ndarray,
) -> list[FrameCrop | None]:
    """Crops of all frames of a video; None where there is no face.

    Args:
        landmarks: (N, 68, 2) pixel indices.
        found: (N,) whether a frame has some.
        photo_size: width and height of the frames.
        standard_points: (5, 3) alignment points of the face model.
        starts: (N,) whether a frame begins something new: after a cut, or when a face comes back.
    """
    path: list[FrameCrop | None] = [None] * len(found)
    for run in frame_runs(found, starts):
        raw = np.array([_window(landmarks[k], photo_size, standard_points) for k in run])
        smooth = gaussian_filter1d(raw, SMOOTH_FRAMES, axis=0, mode="nearest")
        for number, (log_scale, x, y) in zip(run, smooth.tolist(), strict=True):
            scale = float(np.exp(log_scale))
            half = CROP_PX / 2 / scale
            path[number] = FrameCrop(photo_size, scale, float(x - half), float(y - half))
    return path


def _window(
    points: np.ndarray, photo_size: tuple[int, int], standard_points: np.ndarray
) -> tuple[float, float, float]:
    """Logarithm of the scale, and centre (continuous pixels, y down) of one frame's crop."""
    five = five_from_68(points) + 0.5
    flipped = np.stack([five[:, 0], photo_size[1] - five[:, 1]], axis=1)
    scale, shift = pos(flipped, standard_points)
    return float(np.log(FACE_SCALE_PX / scale)), shift[0], photo_size[1] - shift[1]
