"""The crop of a photo that EG3D is trained on: 512 x 512, somewhat wider than the R-Net's.

EG3D scales the photo to 300 pixels a decimetre of the face in place of the R-Net's 102, cuts the
middle 700 pixels and scales them to 512, and both crops truncate to whole pixels on the way. Here
it is one warp from the photo, of the very part that the R-Net's camera says: its side is
700 / 300 * 102 = 238 of the R-Net's pixels, around the middle of its crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL.Image import Resampling

from data.images import resample_box

SIDE_PX = 512
SIDE_OF_CROP_PX = 238.0
"""Side of it in pixels of the R-Net's crop."""
_LANCZOS_REACH_PX = 3


class Crop(Protocol):
    """How a photo became the R-Net's crop; `Alignment` and `FrameCrop` are such."""

    @property
    def inverse_matrix(self) -> np.ndarray:
        """(2, 3) crop -> photo, continuous pixels."""
        ...

    @property
    def crop_px(self) -> int:
        """Side of the crop."""
        ...


@dataclass(frozen=True)
class PortraitCrop:
    """A part of a photo; all coordinates are continuous pixels, y down."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in the photo, beyond which it may reach."""

    @classmethod
    def around(cls, crop: Crop) -> PortraitCrop:
        """The part that belongs to the R-Net's crop."""
        middle, half = crop.crop_px / 2, SIDE_OF_CROP_PX / 2
        corners = np.array([[middle - half] * 2, [middle + half] * 2])
        matrix = crop.inverse_matrix
        (left, top), (right, bottom) = (corners @ matrix[:, :2].T + matrix[:, 2]).tolist()
        return cls((left, top, right, bottom))

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) photo -> the crop, with side 1."""
        left, top, right, bottom = self.box
        x, y = 1 / (right - left), 1 / (bottom - top)
        return np.array([[x, 0, -x * left], [0, y, -y * top], [0, 0, 1]])

    def cut(self, photo: np.ndarray) -> np.ndarray:
        """The crop (512, 512, 3) uint8 of a photo (H, W, 3) uint8; black beyond its edges."""
        shrunk = max((self.box[2] - self.box[0]) / SIDE_PX, 1.0)
        margin = math.ceil(_LANCZOS_REACH_PX * shrunk)
        return resample_box(photo, self.box, SIDE_PX, Resampling.LANCZOS, margin)
