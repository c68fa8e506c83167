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
from data.synthetic.coefficients import VALIDATION_COUNT, read_truth
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
        command = "" if is_train else _validation_command(self.options)
        truth = read_truth(self.folder / "coefficients.npz", command)
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
    """Rotate (H, W) or (H, W, 3) uint8 clockwise about its centre, bilinearly.

    Args:
        picture: to rotate.
        angle_rad: as seen in the picture.
        extend: continue the picture beyond its edges by their own pixels, in place of black:
            black corners would tell a network the angle.
    """
    out = np.empty_like(picture, order="C")
    shape = (*picture.shape[:2], -1)
    _rotate(
        np.ascontiguousarray(picture).reshape(shape),
        round(math.sin(angle_rad) * _ONE),
        round(math.cos(angle_rad) * _ONE),
        extend,
        out.reshape(shape),
    )
    return out


# Coordinates are integers with 32 fractional bits, weights of the four neighbours have 12 bits.
_ONE = 1 << 32
_WEIGHT_BITS = 12
_WEIGHTS = 1 << _WEIGHT_BITS
# The channels of a pixel share one integer, 21 bits each, and are so weighted at once: 255 * 2^12
# takes 20 bits.
_CHANNEL_BITS = 21
_HALF_WEIGHTS = (_WEIGHTS // 2) * (1 + (1 << _CHANNEL_BITS) + (1 << 2 * _CHANNEL_BITS))


@kernel
def _rotate(picture, sine, cosine, extend, out):
    """Sample (H, W, 1 or 3) `picture` at the places that the rotation takes to those of `out`."""
    height, width, channels = picture.shape
    packed = np.empty((height, width), np.int64)
    for row in range(height):
        for column in range(width):
            if channels == 3:
                packed[row, column] = (
                    np.int64(picture[row, column, 0])
                    | np.int64(picture[row, column, 1]) << _CHANNEL_BITS
                    | np.int64(picture[row, column, 2]) << 2 * _CHANNEL_BITS
                )
            else:
                packed[row, column] = picture[row, column, 0]

    right, bottom, half = (width - 1) * _ONE, (height - 1) * _ONE, _ONE // 2
    for row in range(height):
        # Twice the distance from the middle is whole.
        dx, dy = 1 - width, 2 * row - (height - 1)
        x = (cosine * dx + sine * dy + right) >> 1
        y = (cosine * dy - sine * dx + bottom) >> 1
        # 1. Columns whose four neighbours all exist: 0 <= start + column * step < end.
        first, last = 0, width
        for start, step, end in ((x, cosine, right), (y, -sine, bottom)):
            if step == 0:
                last = last if 0 <= start < end else first
                continue
            # From the other end where the coordinate falls: 0 <= end - 1 - start - column * step.
            start, step = (start, step) if step > 0 else (end - 1 - start, -step)
            first = max(first, -(start // step))
            last = min(last, -((start - end) // step))
        # 2. Each pixel: the four neighbours, those beyond the edge being the edge itself.
        for column in range(width):
            inner_x, inner_y, step_x, step_y = x, y, 1, 1
            shown = True
            if not first <= column < last:
                shown = extend or (-half < x < right + half and -half < y < bottom + half)
                inner_x, inner_y = min(max(x, 0), right), min(max(y, 0), bottom)
                step_x, step_y = int(inner_x < right), int(inner_y < bottom)
            x, y = x + cosine, y - sine
            value = 0
            if shown:
                x0, y0 = inner_x // _ONE, inner_y // _ONE
                fx = (inner_x % _ONE) * _WEIGHTS // _ONE
                fy = (inner_y % _ONE) * _WEIGHTS // _ONE
                both = fx * fy // _WEIGHTS
                value = (
                    (_WEIGHTS - fx - fy + both) * packed[y0, x0]
                    + (fx - both) * packed[y0, x0 + step_x]
                    + (fy - both) * packed[y0 + step_y, x0]
                    + both * packed[y0 + step_y, x0 + step_x]
                    + _HALF_WEIGHTS
                )
            out[row, column, 0] = (value >> _WEIGHT_BITS) & 255
            if channels == 3:
                out[row, column, 1] = (value >> _WEIGHT_BITS + _CHANNEL_BITS) & 255
                out[row, column, 2] = (value >> _WEIGHT_BITS + 2 * _CHANNEL_BITS) & 255


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
    """A rectangle of one colour in a picture."""

    rows: slice
    columns: slice
    colour: np.ndarray
    """(3,) uint8."""

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


def _validation_command(options: SyntheticOptions) -> str:
    """What makes the validation faces that belong to the training faces: those of the next seed.

    The training faces' own seed would give the same faces again.
    """
    folder, folder_val = Path(options.synthetic_folder), Path(options.synthetic_folder_val)
    seed, count = 0, None
    if (folder / "coefficients.npz").is_file():
        truth = read_truth(folder / "coefficients.npz")
        seed, count = truth.seed, len(truth.names)
    if str(folder_val) == f"{folder}_val":
        # Made together with the training faces, of which those that are there are kept.
        flags = {
            "out": folder,
            "n": count,
            "n_val": VALIDATION_COUNT,
            "seed": seed or None,
        }
    else:
        flags = {
            "out": folder_val,
            "n": VALIDATION_COUNT,
            "n_val": 0,
            "seed": seed + 1,
        }
    words = [f"--{flag} {_quoted(value)}" for flag, value in flags.items() if value is not None]
    return " ".join(["python make_synthetic.py", *words])


def _quoted(value: object) -> str:
    """As every shell takes it."""
    return f'"{value}"' if " " in str(value) else str(value)


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
