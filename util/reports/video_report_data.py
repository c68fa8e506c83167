"""A followed face as its report's viewer reads it: one head, the shapes that move it, and frames.

The meshes of the frames are a mean head and its main movements: principal components of what the
vertices do in this video, as many as bring every vertex of every frame within `SHOWN_MM`. That
holds for face models with joints as for linear ones. A movement has 8 bits of its largest, its
strength in a frame 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.face_model import FaceModel
from models.lighting import light_coefficients
from models.parameters import Coefficients
from models.stages import shape_face
from util.reports.report_data import MeshPacker, pack_deltas, packed, page_mesh

MOST_FRAMES = 300
"""Of a longer video every second frame is shown, or every third, and so on."""
SHOWN_MM = 0.05
"""How far what is left out may move a vertex."""
MOST_SHAPES, SHAPE_BYTES = 40, 2_000_000
"""So many shapes at most, and together so many bytes before they are deflated."""
_BLOCK = 32


@dataclass(frozen=True)
class Movements:
    """Heads (N, V, 3) as `mean + strengths @ shapes`."""

    mean: np.ndarray
    """(V, 3) decimetres."""
    shapes: np.ndarray
    """(K, V, 3) float32, at strength 1 their largest in the video."""
    strengths: np.ndarray
    """(N, K) in [-1, 1]."""
    error_mm: float
    """Largest distance of a vertex from where it should be."""


def main_movements(heads: np.ndarray, most_shapes: int = MOST_SHAPES) -> Movements:
    """Few shapes that move one head as it moved.

    The principal directions of N heads follow from their N x N products: with D the differences
    from the mean, D D^T = U S^2 U^T, and the rows of U^T D are the directions.

    Args:
        heads: (N, V, 3) float32 in the head's frame.
        most_shapes: where these do not suffice, what is left out is larger than `SHOWN_MM`.
    """
    mean = heads.mean(axis=0)
    away = (heads - mean).reshape(len(heads), -1)
    squares, turns = np.linalg.eigh(away.astype(np.float64) @ away.T.astype(np.float64))
    turns = turns[:, squares.argsort()[::-1]].astype(np.float32)

    def error_mm(count: int) -> float:
        left = away - turns[:, :count] @ (turns[:, :count].T @ away)
        return 100 * float(np.linalg.norm(left.reshape(heads.shape), axis=2).max(initial=0))

    few, many = 0, min(len(heads), most_shapes)
    while few < many:
        middle = (few + many) // 2
        few, many = (few, middle) if error_mm(middle) <= SHOWN_MM else (middle + 1, many)
    kept = turns[:, :few]
    most = np.abs(kept).max(axis=0, initial=0).clip(1e-9)
    shapes = (most[:, None] * (kept.T @ away)).reshape(few, *heads.shape[1:])
    return Movements(mean, shapes, kept / most, error_mm(few))


@torch.inference_mode()
def heads_of(face_model: FaceModel, coefficients: Coefficients) -> np.ndarray:
    """(N, V, 3) float32 heads in their own frame, without the pose."""
    flat = face_model.layout.join(coefficients)
    blocks = [face_model.layout.split(block) for block in flat.split(_BLOCK)]
    return np.concatenate([shape_face(face_model, b).vertices_object.numpy() for b in blocks])


def shown_frames(found: np.ndarray, most: int = MOST_FRAMES) -> np.ndarray:
    """Numbers of the frames of a video that are shown: all, or every n-th.

    Args:
        found: (N,) whether a frame has a face; at least one that has is shown.
        most: so many.
    """
    step = max(1, -(-len(found) // most))
    frames = np.arange(0, len(found), step)
    if not found[frames].any():
        frames = np.arange(int(found.argmax()) % step, len(found), step)
    return frames


def pack_video(
    face_model: FaceModel,
    coefficients: Coefficients,
    found: Sequence[bool] | np.ndarray,
    times_s: np.ndarray,
    colours: np.ndarray | None = None,
) -> dict[str, Any]:
    """What `loadVideo` of video.js reads.

    Args:
        face_model: of the face, on the CPU.
        coefficients: of the shown frames that have a face, before a camera that stands still.
        found: of each shown frame, whether it has one.
        times_s: of each shown frame, from 0 on.
        colours: (V, 3) of the head, RGB in [0, 1], where neither its albedo nor light is known.

    Raises:
        ValueError: a number is not finite, or no frame has a face.
    """
    unknown = () if colours is None else ("texture", "gamma")
    known = torch.cat([block for name, block in coefficients.items() if name not in unknown], dim=1)
    if not len(known) or not torch.isfinite(known).all():
        raise ValueError("the video has no face to show, or coefficients that are not finite")
    shown = page_mesh(face_model).vertex_count
    most_shapes = max(1, min(MOST_SHAPES, SHAPE_BYTES // (3 * shown)))
    moved = main_movements(heads_of(face_model, coefficients)[:, :shown], most_shapes)
    light = None
    if colours is None:
        with torch.inference_mode():
            colours = face_model.albedo(coefficients.texture[:1])[0].numpy()
        harmonics = light_coefficients(coefficients.gamma.double())
        light = pack_rows(harmonics.reshape(len(known), -1).numpy())
    places = coefficients.translation_dm.double().numpy()
    return {
        "mesh": {
            **MeshPacker(face_model).pack_head(moved.mean, colours),
            "shapes": {"error_mm": round(moved.error_mm, 3), **pack_deltas(moved.shapes)},
        },
        "frames": {
            "times": [round(time, 4) for time in times_s.tolist()],
            "found": "".join("1" if each else "0" for each in found),
            "strengths": pack_rows(moved.strengths),
            "angles": pack_rows(coefficients.angles_rad.double().numpy()),
            "places": pack_rows(places - np.median(places, axis=0)),
            "light": light,
        },
    }


def pack_rows(values: np.ndarray) -> dict[str, Any]:
    """Numbers (N, K) with 16 bits of the largest, which `rows` of video.js reads."""
    scale = max(float(np.abs(values).max(initial=0)), 1e-9) / 32767
    return {"values": packed(np.rint(values / scale).astype(np.int16)), "scale": scale}
