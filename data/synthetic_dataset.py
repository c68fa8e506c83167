"""Faces that `make_synthetic.py` rendered, with their true coefficients.

Augmentation keeps the truth exact: a rotation of the picture about the camera's principal point
turns roll, translation and light with it, and gains of the colour channels scale the light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.augmentation import Warp
from data.base_dataset import FaceDataset, FaceSample
from data.images import read_mask
from data.synthetic.coefficients import read_truth
from data.synthetic.lighting import brighten, turn_light
from models.assets import ModelAssets
from models.kernels import kernel
from models.landmarks import LandmarkOptions
from models.parameters import ParameterLayout
from util.errors import InputError


@dataclass(frozen=True)
class SyntheticOptions:
    """Synthetic faces with true coefficients."""

    synthetic_folder: str = "datasets/synthetic"
    """Folder of the training faces, made by make_synthetic.py."""
    synthetic_folder_val: str = "datasets/synthetic_val"
    """Folder of the validation faces."""
    synthetic_masks: bool = True
    """Read skin masks, which only the photometric loss needs."""
    synthetic_aug: bool = True
    """Turn, cover and brighten training faces at random; their truth stays exact."""
    synthetic_rot_deg: float = 8.0
    """Standard deviation of the random rotation in degrees."""
    synthetic_box_share: float = 0.3
    """Share of the training faces that a random box covers partly."""
    synthetic_gain: float = 0.08
    """Standard deviation of the random gain of the brightness."""


class SyntheticDataset(FaceDataset):
    """Rendered faces with landmarks, masks and coefficients."""

    option_groups = (SyntheticOptions, LandmarkOptions)

    def __init__(self, options: Any, assets: ModelAssets, is_train: bool) -> None:
        """Read all coefficients; images are read when asked for.

        Raises:
            InputError: no such folder, images missing, or faces of another face model.
        """
        super().__init__(options, assets, is_train)
        self.options: SyntheticOptions = options[SyntheticOptions]
        flag = "synthetic_folder" if is_train else "synthetic_folder_val"
        self.folder = Path(getattr(self.options, flag))
        truth = read_truth(self.folder / "coefficients.npz")
        card = assets.face_model.card
        if truth.fingerprint != card.fingerprint:
            raise InputError(
                f"--{flag} {self.folder} holds faces of the face model {truth.face_model}, this "
                f"run uses {card}; make them again with make_synthetic.py --overwrite"
            )
        present = {path.name for path in self.folder.glob("*.jpg")}
        if missing := [name for name in truth.names if name not in present]:
            raise InputError(
                f"--{flag} {self.folder} lacks {len(missing)} of its images, such as {missing[0]}; "
                "run make_synthetic.py again, which makes what is missing"
            )
        self.layout: ParameterLayout = assets.face_model.layout
        self.truth = truth
        self._augment = is_train and self.options.synthetic_aug

    def __len__(self) -> int:
        return len(self.truth.names)

    def __getitem__(self, index: int) -> FaceSample:
        """Read and, for training, augment one face."""
        path = self.folder / self.truth.names[index]
        mask = None
        if self.options.synthetic_masks:
            mask = read_mask(self.folder / "mask" / f"{path.stem}.png")
        sample = FaceSample(
            image=_read_jpeg(path),
            path=str(path),
            landmarks=self.truth.landmarks_px[index] - np.float32(0.5),
            mask=mask,
            coefficients=self.truth.coefficients[index].copy(),
        )
        if self._augment:
            sample = augment(sample, self.options, self.layout, self.random(index))
        return sample


def augment(
    sample: FaceSample,
    options: SyntheticOptions,
    layout: ParameterLayout,
    random: np.random.Generator,
) -> FaceSample:
    """Turn, brighten and cover a face at random, with its truth."""
    # All numbers are drawn in any case, so that one option does not change another's numbers.
    angle = math.radians(options.synthetic_rot_deg * random.standard_normal())
    gain = float(np.clip(1 + options.synthetic_gain * random.standard_normal(), 0.7, 1.3))
    covered = random.uniform() < options.synthetic_box_share
    box = _Box.draw(random, sample.image.shape[:2])
    if angle:
        sample = turn(sample, layout, angle)
    image = sample.image
    if gain != 1:
        levels = (np.arange(256) * gain + 0.5).clip(0, 255).astype(np.uint8)
        image = levels.take(image)
        sample = replace(
            sample, coefficients=_changed(sample, layout, "gamma", brighten, np.full(3, gain))
        )
    mask = sample.mask
    if covered:
        # Copies: a sample's arrays may belong to the caller.
        image = box.paint(image.copy())
        mask = None if mask is None else box.clear(mask.copy())
    return replace(sample, image=image, mask=mask)


def turn(sample: FaceSample, layout: ParameterLayout, angle_rad: float) -> FaceSample:
    """Rotate a picture about its centre, and its truth with it.

    The camera's axis goes through the picture's centre, so that rotating the picture by phi is
    rotating the scene about that axis: roll grows, the translation turns in x and y, and the
    light's direction turns. Of its harmonics those of equal |m| turn among themselves, by phi or
    2 phi (`turn_light`).

    Args:
        sample: with or without mask, landmarks, coefficients.
        layout: of the coefficients.
        angle_rad: clockwise as seen in the picture.
    """
    warp = Warp(angle_rad=angle_rad)
    height, width = sample.image.shape[:2]
    turned = replace(
        sample,
        image=rotate_picture(sample.image, angle_rad, extend=True),
        mask=None if sample.mask is None else rotate_picture(sample.mask, angle_rad, extend=False),
        landmarks=(
            None
            if sample.landmarks is None
            else warp.apply_to_landmarks(sample.landmarks, (width, height)).astype(np.float32)
        ),
    )
    if sample.coefficients is None:
        return turned
    return replace(turned, coefficients=turn_coefficients(sample.coefficients, layout, angle_rad))


def rotate_picture(picture: np.ndarray, angle_rad: float, *, extend: bool) -> np.ndarray:
    """Rotate (H, W) or (H, W, C) uint8 clockwise about its centre, bilinearly.

    Args:
        picture: to rotate.
        angle_rad: as seen in the picture.
        extend: continue the picture beyond its edges by their own pixels, in place of black:
            black corners would tell a network the angle.
    """
    out = np.empty_like(picture)
    shape = (*picture.shape[:2], -1)
    _rotate(
        np.ascontiguousarray(picture).reshape(shape),
        np.float32(math.sin(angle_rad)),
        np.float32(math.cos(angle_rad)),
        extend,
        out.reshape(shape),
    )
    return out


@kernel
def _rotate(picture, sine, cosine, extend, out):
    """Sample (H, W, C) `picture` at the places that the rotation takes to the pixels of `out`."""
    height, width, channels = picture.shape
    middle_x, middle_y = np.float32((width - 1) / 2), np.float32((height - 1) / 2)
    half = np.float32(0.5)
    for row in range(height):
        dy = np.float32(row) - middle_y
        for column in range(width):
            dx = np.float32(column) - middle_x
            x = cosine * dx + sine * dy + middle_x
            y = -sine * dx + cosine * dy + middle_y
            inside = -half < x < width - half and -half < y < height - half
            if not (inside or extend):
                for channel in range(channels):
                    out[row, column, channel] = 0
                continue
            x = min(max(x, np.float32(0)), np.float32(width - 1))
            y = min(max(y, np.float32(0)), np.float32(height - 1))
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - np.float32(x0), y - np.float32(y0)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            for channel in range(channels):
                a = np.float32(picture[y0, x0, channel])
                b = np.float32(picture[y0, x1, channel])
                c = np.float32(picture[y1, x0, channel])
                d = np.float32(picture[y1, x1, channel])
                upper, lower = a + fx * (b - a), c + fx * (d - c)
                out[row, column, channel] = np.uint8(upper + fy * (lower - upper) + half)


def turn_coefficients(
    coefficients: np.ndarray, layout: ParameterLayout, angle_rad: float
) -> np.ndarray:
    """Coefficients (P,) of a face whose picture was rotated clockwise about its centre."""
    # Roll turns from x to y, which points up: anticlockwise as seen in the picture.
    phi = -angle_rad
    sine, cosine = math.sin(phi), math.cos(phi)
    turned = coefficients.copy()
    # 1. R = Rz(roll) Ry Rx: turning about z adds to the roll.
    turned[layout.slices["angles_rad"].start + 2] += phi
    # 2. Translation.
    x = layout.slices["translation_dm"].start
    turned[x] = cosine * coefficients[x] - sine * coefficients[x + 1]
    turned[x + 1] = sine * coefficients[x] + cosine * coefficients[x + 1]
    # 3. Light.
    part = layout.slices["gamma"]
    turned[part] = turn_light(coefficients[part], phi)
    return turned


@dataclass(frozen=True)
class _Box:
    """A rectangle of one colour, or of noise, in a picture."""

    rows: slice
    columns: slice
    colour: np.ndarray
    """(3,) or (h, w, 3) uint8."""

    @classmethod
    def draw(cls, random: np.random.Generator, size: tuple[int, int]) -> _Box:
        height, width = (int(side * random.uniform(0.08, 0.4)) for side in size)
        # Partly outside at times: occluders often come from the picture's edge.
        top = int(random.uniform(-height / 2, size[0] - height / 2))
        left = int(random.uniform(-width / 2, size[1] - width / 2))
        rows = slice(max(top, 0), top + height)
        columns = slice(max(left, 0), left + width)
        return cls(rows, columns, random.integers(0, 256, 3, dtype=np.uint8))

    def paint(self, image: np.ndarray) -> np.ndarray:
        image[self.rows, self.columns] = self.colour
        return image

    def clear(self, mask: np.ndarray) -> np.ndarray:
        mask[self.rows, self.columns] = 0
        return mask


def _changed(
    sample: FaceSample, layout: ParameterLayout, block: str, change: Any, argument: Any
) -> np.ndarray | None:
    """The sample's coefficients with one block changed, None where it has none."""
    if sample.coefficients is None:
        return None
    coefficients = sample.coefficients.copy()
    part = layout.slices[block]
    coefficients[part] = change(coefficients[part], argument)
    return coefficients


def _read_jpeg(path: Path) -> np.ndarray:
    """(H, W, 3) uint8; these files are our own, so that no other form is looked for."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from error
