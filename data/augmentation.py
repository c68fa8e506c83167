"""Random shifts, scales, rotations and flips of face crops: image, mask and landmarks alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from data.base_dataset import FaceSample
from data.landmarks import MIRROR_ORDER
from options.data_options import AugmentationOptions


@dataclass(frozen=True)
class Warp:
    """One change of a crop: flip, then shift, then rotate and scale about its centre."""

    flip: bool = False
    """Mirror left and right."""
    shift_px: tuple[int, int] = (0, 0)
    """To the right, down."""
    scale: float = 1.0
    """Larger than 1 enlarges."""
    angle_rad: float = 0.0
    """Clockwise as seen in the image."""

    @classmethod
    def draw(cls, options: AugmentationOptions, random: np.random.Generator) -> Warp:
        """A random change; what `--preprocess` leaves out stays as it is."""
        kinds = options.preprocess.split("_")
        # All are drawn in any case, so that one kind more does not change the others.
        reach = int(options.shift_pixs)
        shift = random.integers(-reach, reach, size=2, endpoint=True)
        scale = 1 + options.scale_delta * random.uniform(-1, 1)
        angle = math.radians(options.rot_angle * random.uniform(-1, 1))
        flip = random.random() < 0.5
        return cls(
            flip=flip and "flip" in kinds,
            shift_px=(int(shift[0]), int(shift[1])) if "shift" in kinds else (0, 0),
            scale=scale if "scale" in kinds else 1.0,
            angle_rad=angle if "rot" in kinds else 0.0,
        )

    def matrix(self, size_px: tuple[int, int]) -> np.ndarray:
        """(2, 3) where a point goes, in continuous pixels of an image of (width, height)."""
        centre = np.array(size_px) / 2
        sine, cosine = math.sin(self.angle_rad), math.cos(self.angle_rad)
        turn = self.scale * np.array([[cosine, -sine], [sine, cosine]])
        linear = turn @ np.diag([-1.0 if self.flip else 1.0, 1.0])
        shift = centre + turn @ np.array(self.shift_px) - linear @ centre
        return np.concatenate([linear, shift[:, None]], axis=1)

    def apply_to_image(self, image: np.ndarray, method: Literal["bicubic", "bilinear"]):
        """Warp (H, W) or (H, W, 3) uint8; black where nothing was. A mere flip is exact."""
        # Flipped by copying, so that the resampling below has nothing to do in a mere flip.
        flipped = np.ascontiguousarray(image[:, ::-1]) if self.flip else image
        rest = replace(self, flip=False)
        if rest == Warp():
            return flipped
        height, width = image.shape[:2]
        forward = np.concatenate([rest.matrix((width, height)), [[0.0, 0.0, 1.0]]])
        backward = np.linalg.inv(forward)[:2]
        warped = Image.fromarray(flipped).transform(
            (width, height),
            Image.Transform.AFFINE,
            data=tuple(backward.reshape(-1).tolist()),
            resample=Image.Resampling[method.upper()],
        )
        return np.asarray(warped)

    def apply_to_landmarks(self, landmarks: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
        """Move (68, 2) pixel indices with the image; a flip also restores their order.

        Indices count pixel centres: index i is at i + 0.5, so that a flip takes column c of a
        224-pixel crop to 223 - c.
        """
        matrix = self.matrix(size_px)
        moved = (landmarks + 0.5) @ matrix[:, :2].T + matrix[:, 2] - 0.5
        return moved[MIRROR_ORDER] if self.flip else moved

    def apply(self, sample: FaceSample) -> FaceSample:
        """Change image (bicubic), mask (bilinear) and landmarks of a sample alike."""
        height, width = sample.image.shape[:2]
        return replace(
            sample,
            image=self.apply_to_image(sample.image, "bicubic"),
            mask=None if sample.mask is None else self.apply_to_image(sample.mask, "bilinear"),
            landmarks=(
                None
                if sample.landmarks is None
                else self.apply_to_landmarks(sample.landmarks, (width, height))
            ),
        )
