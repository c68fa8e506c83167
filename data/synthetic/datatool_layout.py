"""Synthetic faces in the layout of the datatool, which `util.synergy.datatool_files` describes.

Two tags, one to train on and one to validate on:

    <out>/SYNTH/{dataset.json, sample_files/000000.jpg ...}
    <out>/SYNTH_VAL/...
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.synthetic.coefficients import SyntheticTruth
from data.synthetic.crops import CropPhotographer, label_parameters
from data.synthetic.generate import (
    CHUNK,
    Made,
    RenderChunk,
    make_faces,
    open_backgrounds,
    settings_of,
)
from models.face_model import FaceModel
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import ANGLE_POSE, SynergyLayout
from models.synergy.pose import head_pose
from options.face_options import DATATOOL_PX
from options.synthesis_options import SynthesisOptions
from util.atomic import write_text
from util.synergy.datatool_files import stand_in_arrays

TAG, VALIDATION_TAG = "SYNTH", "SYNTH_VAL"
_WIDENED, _WIDENED_TOP = 0.22, 0.66
"""By what share of its sides a face's box is larger than its landmarks' box."""


def generate_datatool(
    options: SynthesisOptions, face_model: FaceModel, tag: str, *, progress: bool = True
) -> Made:
    """Make the pictures and annotations of one tag.

    Raises:
        InputError: as `data.synthetic.generate.generate`.
    """
    arrays = stand_in_arrays(face_model)
    sizes = arrays.shape_basis.shape[2], arrays.expression_basis.shape[2]
    layout = SynergyLayout(ANGLE_POSE, *sizes)
    pictures = open_backgrounds(options)
    photographer = CropPhotographer(
        face_model,
        size_px=DATATOOL_PX,
        looks=options.looks,
        pictures=pictures,
        layout=layout,
        kind="wide",
    )
    folder = Path(options.out) / tag
    settings = f"--layout datatool {settings_of(options, pictures)}"
    chunk = RenderChunk(
        photographer,
        folder / "sample_files",
        options.seed,
        options.n,
        settings,
        "none",
        CHUNK,
        only_images=True,
    )
    made, truth = make_faces(options, chunk, progress=progress)
    if truth is not None:
        face = SynergyFace(arrays, layout, DATATOOL_PX)
        annotations = _annotations(truth, face_model, face, tag)
        content = {
            "info": {"description": f"generated faces of {truth.face_model}"},
            "licenses": {},
            "images": {name: {"id_image": name} for name in annotations},
            "annotations": annotations,
        }
        write_text(folder / "dataset.json", json.dumps(content) + "\n")
    return made


def validation_options(options: SynthesisOptions) -> SynthesisOptions:
    """Those of the validation tag: of the next seed."""
    return replace(options, n=options.validation_count, n_val=0, seed=options.seed + 1)


def _annotations(
    truth: SyntheticTruth, face_model: FaceModel, face: SynergyFace, tag: str
) -> dict[str, dict[str, Any]]:
    """One entry a face, with the names that the datatool has."""
    slices, flat = face_model.layout.slices, truth.coefficients.astype(np.float64)
    shape = flat[:, slices["identity"]][:, : face.layout.shape]
    expression = flat[:, slices["expression"]][:, : face.layout.expression]
    blocks = [shape, expression]
    pose = head_pose(
        torch.from_numpy(label_parameters(truth.rotation, truth.intrinsics, [], DATATOOL_PX))
    )
    angles = pose.angles_rad().numpy()
    numbers = [angles, pose.translation_px.numpy(), pose.scale.numpy()[:, None], *blocks]
    parameters = torch.from_numpy(np.concatenate(numbers, axis=1))
    landmarks = face.double().landmarks(parameters).numpy()
    found = {}
    for row, name in enumerate(truth.names):
        stem, points = Path(name).stem, landmarks[row]
        degrees = np.degrees(angles[row])
        found[stem] = {
            "id_annotation": stem,
            "id_image": stem,
            "tag": tag,
            "file_path": f"sample_files/{name}",
            "face_landmarks_2d": _points(points[:2, :68]),
            "count_face_landmarks_2d": 68,
            "face_landmarks_3d": _points(points),
            "count_face_landmarks_3d": points.shape[1],
            "face_bounding_box_2d": _box(points[:2, :68]),
            "vertices_path": "",
            "head_pose": {
                **dict(zip(("pitch", "yaw", "roll"), degrees.tolist(), strict=True)),
                "confidence": 1.0,
            },
            "head_translation": parameters[row, 3:6].tolist(),
            "head_scale": float(parameters[row, 6]),
            "shape_params": shape[row].tolist(),
            "exp_params": expression[row].tolist(),
        }
    return found


def _points(points: np.ndarray) -> list[dict[str, float]]:
    """(2 or 3, L) as the datatool's points."""
    return [
        {"index": number, **dict(zip("xyz", point, strict=False))}
        for number, point in enumerate(points.T.tolist())
    ]


def _box(points: np.ndarray) -> dict[str, Any]:
    """The face's box around landmarks (2, 68)."""
    (left, top), (right, bottom) = points.min(axis=1).tolist(), points.max(axis=1).tolist()
    wide, high = right - left, bottom - top
    left, top = left - _WIDENED * wide, top - _WIDENED_TOP * high
    width, height = wide * (1 + 2 * _WIDENED), high * (1 + _WIDENED + _WIDENED_TOP)
    return {
        **{"topX": left, "topY": top, "w": width, "h": height},
        **{"area": width * height, "is_valid": True},
    }
