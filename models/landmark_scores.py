"""How benchmarks score landmarks and head poses: errors of images, yaw bins, their balanced mean.

NME (normalised mean error) of an image: the mean distance of its 68 points in the plane of the
photo, over a length of the face. Two lengths are in use, and papers do not always say which:

* `box`: sqrt(w h) of the box of the labels that are compared with (Zhu et al., CVPR 2016, and all
  that compare themselves with it). The box of a face turned aside is narrow: the same error in
  pixels counts more there.
* `outer_eye`: distance of the outer eye corners (points 36 and 45), in 3D where labels have a
  depth, since in the picture it vanishes for a profile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

YAW_LIMITS_DEG = (30.0, 60.0)
"""Largest |yaw| of the first and of the second bin; both belong to their bin."""
BIN_NAMES = ("0-30", "30-60", "60-90")


def point_errors_px(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean distance (N,) of points in the plane.

    Args:
        predicted: (N, P, 2 or more) pixels; only x and y count.
        labels: likewise, in the same pixels.
    """
    difference = predicted[..., :2].astype(np.float64) - labels[..., :2]
    return np.linalg.norm(difference, axis=2).mean(axis=1)


def box_sizes_px(labels: np.ndarray) -> np.ndarray:
    """Square root (N,) of the area of the points' box, points (N, P, 2 or more)."""
    plane = labels[..., :2].astype(np.float64)
    width, height = np.moveaxis(plane.max(axis=1) - plane.min(axis=1), -1, 0)
    return np.sqrt(width * height)


def outer_eye_px(labels: np.ndarray) -> np.ndarray:
    """Distance (N,) of the outer eye corners of (N, 68, 2 or 3) points."""
    corners = labels.astype(np.float64)
    return np.linalg.norm(corners[:, 36] - corners[:, 45], axis=1)


def yaw_bins(yaw_deg: np.ndarray) -> np.ndarray:
    """Which bin (N,) each yaw belongs to: 0, 1 or 2."""
    turned = np.abs(yaw_deg)
    return (turned > YAW_LIMITS_DEG[0]).astype(int) + (turned > YAW_LIMITS_DEG[1])


@dataclass(frozen=True)
class BinnedError:
    """An error by yaw bins; not a number where a bin is empty."""

    bins: tuple[float, float, float]
    """Means over |yaw| <= 30, <= 60 and above."""
    counts: tuple[int, int, int]
    """Images of the bins."""
    overall: float
    """Mean over all images, of which most are frontal."""

    @classmethod
    def of(cls, errors: np.ndarray, yaw_deg: np.ndarray) -> BinnedError:
        """Sort the errors (N,) of images by their yaw (N,)."""
        chosen = yaw_bins(yaw_deg)
        parts = [errors[chosen == number] for number in range(3)]
        means = tuple(float(part.mean()) if len(part) else math.nan for part in parts)
        counts = tuple(len(part) for part in parts)
        return cls(means, counts, float(errors.mean()))  # pyright: ignore[reportArgumentType]

    @property
    def balanced(self) -> float:
        """Mean of the three means: each bin counts alike."""
        return float(np.mean(self.bins))

    @property
    def spread(self) -> float:
        """Standard deviation of the three means, over three."""
        return float(np.std(self.bins))


@dataclass(frozen=True)
class PoseError:
    """Mean absolute errors of the angles in degrees, without wrapping around."""

    pitch: float
    yaw: float
    roll: float

    @classmethod
    def of(cls, predicted_deg: np.ndarray, labels_deg: np.ndarray) -> PoseError:
        """Compare (M, 3) pitch, yaw, roll."""
        differences = np.abs(predicted_deg.astype(np.float64) - labels_deg)
        return cls(*differences.mean(axis=0).tolist())

    @property
    def mean(self) -> float:
        """Of the three."""
        return (self.pitch + self.yaw + self.roll) / 3


def worst(errors: np.ndarray, count: int) -> Sequence[int]:
    """Numbers of the images with the largest errors, the largest first."""
    return np.argsort(-errors, kind="stable")[:count].tolist()
