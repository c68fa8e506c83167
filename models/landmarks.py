"""The 68 iBUG landmarks: groups of indices, the five alignment points, and their pixel origins.

Files hold pixel indices (the centre of pixel i is i); inside the program landmarks are continuous
(the centre of pixel i is i + 0.5), y down. The public training compares given indices with
projected continuous points, half a pixel apart in x and y, and its weights have learned that: in
its y-up terms the given y is H - 1 - row. `LandmarkOrigin` "index" keeps that, "centre" is exact.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from options.face_options import LandmarkOrigin

Points = TypeVar("Points", Tensor, np.ndarray)

JAW = slice(0, 17)
INNER = slice(17, 68)
"""Brows, nose, eyes and mouth: points of the face itself, where the jaw is a silhouette."""
LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
"""On the upper lids and below them on the lower ones."""
LIDS = tuple(sorted(number for pair in LID_PAIRS for number in pair))
"""Between the corners of the eyes."""
EYE_CORNERS = ((36, 39), (42, 45))
"""Outer and inner corner, image left eye first."""
NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = 30, 48, 54

# (x, y) that an index gains when it enters as a continuous coordinate.
_SHIFT = {"index": (0.0, 1.0), "centre": (0.5, 0.5)}


def from_index(landmarks_index: Points, origin: LandmarkOrigin) -> Points:
    """Landmarks of a file as they enter the program, (..., 2) to (..., 2)."""
    return landmarks_index + _shift_like(landmarks_index, origin)


def to_index(landmarks_px: Points, origin: LandmarkOrigin) -> Points:
    """Exact inverse of `from_index`: predicted landmarks as they go into files."""
    return landmarks_px - _shift_like(landmarks_px, origin)


def _shift_like(points: Points, origin: LandmarkOrigin) -> Points:
    if not isinstance(points, Tensor):
        return np.asarray(_SHIFT[origin], dtype=points.dtype)
    # Filled on the device: copying values to a GPU would wait for it.
    return torch.stack([points.new_full((), shift) for shift in _SHIFT[origin]])


def five_from_68(landmarks: Float[Tensor, "batch 68 dims"]) -> Float[Tensor, "batch 5 dims"]:
    """Eye centres (image left first), nose tip, mouth corners (image left first).

    The public rule: an eye's centre is the mean of its two corners.
    """
    eyes = [(landmarks[:, outer] + landmarks[:, inner]) / 2 for outer, inner in EYE_CORNERS]
    rest = [landmarks[:, k] for k in (NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT)]
    return torch.stack([*eyes, *rest], dim=1)


def normalised_error(
    predicted: Float[Tensor, "batch 68 2"], given: Float[Tensor, "batch 68 2"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Mean distance of the inner 51 and of the 17 jaw landmarks over the outer-eye distance.

    The normaliser is the distance of the given outer eye corners (36 to 45).
    """
    scale = torch.linalg.vector_norm(given[:, 36] - given[:, 45], dim=-1)
    distance = torch.linalg.vector_norm(predicted - given, dim=-1)
    return distance[:, INNER].mean(dim=1) / scale, distance[:, JAW].mean(dim=1) / scale
