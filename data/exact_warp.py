"""Changes of a picture that keep its true coefficients true: rotation about its centre, mirroring.

The camera's axis goes through the centre of the R-Net's crops, so that these two are movements of
the scene. Shifts and changes of size are none: perspective would change with them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from data.augmentation import Warp
from data.base_dataset import FaceSample
from models.camera import rotation_matrix
from models.kernels import kernel
from models.lighting import turn_light
from models.parameters import ParameterLayout


def warp_exactly(sample: FaceSample, warp: Warp, layout: ParameterLayout) -> FaceSample:
    """Those parts of a warp under which coefficients stay true: its flip and its rotation.

    Args:
        sample: with coefficients.
        warp: of photos; its shift and its scale are left out.
        layout: of the coefficients. Faces of a model without mirror symmetry are not flipped.
    """
    if warp.flip and all(block.parity is not None for block in layout.blocks):
        sample = mirror(sample, layout)
    return turn(sample, layout, warp.angle_rad) if warp.angle_rad else sample


def mirror(sample: FaceSample, layout: ParameterLayout) -> FaceSample:
    """Mirror a picture left to right, and its truth with it."""
    flipped = Warp(flip=True).apply(sample)
    if sample.coefficients is None:
        return flipped
    flat = torch.from_numpy(sample.coefficients)[None]
    return replace(flipped, coefficients=layout.mirror(flat)[0].numpy())


def turn(sample: FaceSample, layout: ParameterLayout, angle_rad: float) -> FaceSample:
    """Rotate a picture about its centre, and its truth with it.

    The camera's axis goes through the picture's centre, so that rotating the picture by phi is
    rotating the scene about that axis: roll grows, and translation and light turn.

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
    rotation = rotation_matrix(torch.tensor([[0.0, 0.0, phi]], dtype=torch.float64))[0]
    turned = coefficients.copy()
    # 1. R = Rz(roll) Ry Rx: turning about z adds to the roll.
    turned[layout.slices["angles_rad"].start + 2] += phi
    # 2. Translation.
    part = layout.slices["translation_dm"]
    turned[part] = rotation.numpy() @ coefficients[part]
    # 3. Light.
    part = layout.slices["gamma"]
    light = torch.from_numpy(coefficients[part]).double()
    turned[part] = turn_light(light[None], rotation[None])[0].numpy()
    return turned
