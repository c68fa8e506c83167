"""The raster that all backends agree on: subpixels and the pixel centres in clip space."""

from __future__ import annotations

import torch
from torch import Tensor

SUBPIXELS = 16
"""Vertices snap to 1/16 pixel for visibility; pixel p is sampled at SUBPIXELS * p + HALF."""

HALF = SUBPIXELS // 2

LIMIT = 2**28
"""Largest snapped coordinate from the image centre, in subpixels: products of two differences
then stay far inside int64. Float32 has no subpixels left that far out anyway."""


def pixel_centres_ndc(pixels: int, like: Tensor) -> Tensor:
    """x/w (or y/w) at the centres of a row (column) of pixels: (2 / W) p + (1 / W - 1)."""
    index = torch.arange(pixels, dtype=like.dtype, device=like.device)
    # Tensors of the working type, not Python floats: both constants are rounded to it first.
    # Filled where they are: a copy from the host would wait for the GPU.
    step = like.new_full((), 2.0) / pixels
    start = like.new_full((), 1.0) / pixels - 1
    return step * index + start
