"""The datatool's output and its face model: SynergyNet's variant for BFM with 77 landmarks.

    ROOT/TAG/dataset.json                   annotations by their number
    ROOT/TAG/sample_files/ID_IMAGE.jpg      square pictures, 450 pixels

An annotation has head_pose {pitch, yaw, roll} in degrees, head_translation in pixels (y up),
head_scale in pixels a micrometre, shape_params, exp_params, and landmarks, of which the first 68
are the iBUG ones. `BFM.mat` is the Basel Face Model 2009 with expressions as 300W-LP's authors
publish it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import loadmat

from data.images import image_names
from models.face_model import FaceModel, IdentityCard, array_fingerprint
from models.synergy.morphable import SynergyFaceArrays, face_arrays
from models.synergy.parameters import ANGLE_POSE, DATATOOL_LAYOUT, SynergyLayout, Whitening
from options.face_options import DATATOOL_PX
from util.errors import InputError
from util.model_files.mat_file import foreign_data
from util.synergy.datatool_folder import CONTENT, PICTURES, REMEDY, check_tags
from util.text import decode_text

LANDMARKS = 77
_SHAPE_STD, _EXPRESSION_STD, _SCALE_STD = 1e7, 10.0, 0.01
"""By which the public code divides."""
_BFM_REMEDY = "take the BFM.mat that 300W-LP's Matlab code makes (face3d calls it so too)"

_BEYOND_IBUG = (
    (42, 43, 44, 45, 46, 47),
    (36, 37, 38, 39, 40, 41),
    (25, 26),
    (21, 22),
    (18, 19),
    (37, 38),
    (46, 47),
    tuple(range(36, 48)),
    (0, 16),
)
"""Landmarks 68 to 76 of face models that do not know them, as means of iBUG ones: the eyes, points
at the brows and lids, the middle of the eyes, the middle of the head."""


@dataclass(frozen=True)
class Annotation:
    """One usable face."""

    image: Path
    parameters: np.ndarray
    """(P,) float32: angles in radians, translation and scale of the picture's pixels."""
    landmarks: np.ndarray
    """(3, L) label coordinates of the picture, y down."""


@dataclass(frozen=True)
class TagContent:
    """The usable annotations of some tags, and how many are not."""

    annotations: tuple[Annotation, ...]
    unusable: dict[str, int]
    """Reason -> how many."""


def stand_in_arrays(model: FaceModel) -> SynergyFaceArrays:
    """One of our face models with up to the datatool's number of bases, and 77 landmarks."""
    layout = SynergyLayout(
        ANGLE_POSE,
        min(DATATOOL_LAYOUT.shape, len(model.identity_sigma)),
        min(DATATOOL_LAYOUT.expression, len(model.expression_sigma)),
    )
    arrays = face_arrays(model, layout)
    if len(arrays.landmark_vertices) != 68:
        raise InputError(
            f"face model {arrays.card} has {len(arrays.landmark_vertices)} landmarks; give "
            "--face_model one with the 68 iBUG points"
        )
    widest = 3 * max(len(points) for points in _BEYOND_IBUG)
    vertices = np.zeros((LANDMARKS, widest), arrays.landmark_vertices.dtype)
    weights = np.zeros((LANDMARKS, widest), np.float32)
    vertices[:68, :3], weights[:68, :3] = arrays.landmark_vertices, arrays.landmark_weights
    for number, points in enumerate(_BEYOND_IBUG, 68):
        taken = list(points)
        vertices[number, : 3 * len(taken)] = arrays.landmark_vertices[taken].ravel()
        weights[number, : 3 * len(taken)] = arrays.landmark_weights[taken].ravel() / len(taken)
    return replace(arrays, landmark_vertices=vertices, landmark_weights=weights)


def read_bfm_mat(path: Path) -> SynergyFaceArrays:
    """Read `BFM.mat` with its 77 landmarks.

    Landmarks 68 to 74 are vertices that the public code found by number; 75 is the mean of 68 and
    69, 76 the mean of two vertices at the sides of the head.

    Raises:
        InputError: missing, damaged, or another file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {_BFM_REMEDY}")
    if kind := foreign_data(path):
        raise InputError(f"{path} is {kind}; {_BFM_REMEDY}")
    try:
        model = loadmat(path)["model"][0, 0]
        mean = (model["shapeMU"] + model["expMU"]).astype(np.float32).reshape(-1, 3)
        count = len(mean)
        shape = np.asarray(model["shapePC"], np.float32).reshape(count, 3, -1)
        expression = np.asarray(model["expPC"], np.float32).reshape(count, 3, -1)
        triangles = np.concatenate([model["tri"].T, model["tri_mouth"].T]).astype(np.int64) - 1
        ibug = np.asarray(model["kpt_ind"]).reshape(-1).astype(np.int64) - 1
    except Exception as error:
        # SciPy's reader raises whatever a damaged or other file makes it stumble over.
        raise InputError(f"{path} cannot be read as BFM.mat ({error}); {_BFM_REMEDY}") from error
    sizes = (shape.shape[2], expression.shape[2], len(ibug))
    if sizes != (DATATOOL_LAYOUT.shape, DATATOOL_LAYOUT.expression, 68):
        raise InputError(
            f"{path} has {sizes[0]} shape and {sizes[1]} expression bases and {sizes[2]} "
            f"landmarks, 199, 29 and 68 were expected; {_BFM_REMEDY}"
        )
    middle = [
        (ibug[43] + ibug[46]) // 2,
        (ibug[37] + ibug[40]) // 2 - 70,
        (ibug[25] + ibug[26]) // 2,
        40424,
        (ibug[18] + ibug[19]) // 2,
        ibug[37] + 40,
        ibug[46] + 20,
    ]
    vertices = np.stack([np.concatenate([ibug, middle])] * 2, axis=1)
    vertices = np.concatenate([vertices, [[middle[0], middle[1]], [20000, 34000]]])
    if vertices.max() >= count or vertices.min() < 0 or triangles.max() >= count:
        raise InputError(f"{path} has {count} vertices, landmarks need 40425; {_BFM_REMEDY}")
    fingerprint = array_fingerprint(mean, shape, expression)
    return SynergyFaceArrays(
        card=IdentityCard("bfm09_datatool", "unnamed", "", fingerprint),
        mean=mean,
        shape_basis=shape,
        expression_basis=expression,
        landmark_vertices=vertices,
        landmark_weights=np.full(vertices.shape, 0.5, np.float32),
        triangles=triangles.astype(np.int32),
    )


def datatool_whitening(layout: SynergyLayout, *, of_bfm: bool) -> Whitening:
    """What the public code divides by; no mean. Our models count in sigma, not in millions."""
    shape = _SHAPE_STD if of_bfm else 10.0
    std = [1.0] * 3 + [float(DATATOOL_PX)] * 3 + [_SCALE_STD]
    std += [shape] * layout.shape + [_EXPRESSION_STD] * layout.expression
    return Whitening(torch.zeros(layout.size), torch.tensor(std))


def read_tags(root: Path, tags: Sequence[str], layout: SynergyLayout, flag: str) -> TagContent:
    """Read the annotations of some tags, and leave out those that training cannot use.

    Pictures are only looked for.

    Raises:
        InputError: no such folder or file, no JSON of the datatool, no usable annotation.
    """
    check_tags(root, tags, flag)
    usable: list[Annotation] = []
    unusable: dict[str, int] = {}
    for tag in tags:
        path, pictures = root / tag / CONTENT, root / tag / PICTURES
        there = set(image_names(pictures))
        for name, entry in _annotations(path):
            try:
                found = _annotation(pictures, entry, layout)
                if found.image.name not in there:
                    raise _Unusable(f"no picture in {PICTURES}")
                usable.append(found)
            except _Unusable as reason:
                unusable[str(reason)] = unusable.get(str(reason), 0) + 1
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}: annotation {name} is malformed ({type(error).__name__}: {error}); "
                    f"{REMEDY}"
                ) from error
    if not usable:
        why = "; ".join(f"{count} with {reason}" for reason, count in unusable.items())
        raise InputError(
            f"{flag} {', '.join(tags)}: {root} has no usable annotation ({why or 'none at all'}); "
            f"wanted are 68 landmarks or more and {layout}"
        )
    return TagContent(tuple(usable), unusable)


class _Unusable(Exception):
    """Why an annotation is left out."""


def _annotations(path: Path) -> list[tuple[str, Any]]:
    try:
        content = json.loads(decode_text(path.read_bytes()))
        entries = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no dataset.json ({error}); {REMEDY}") from error
    if isinstance(entries, Mapping):
        return [(str(name), entry) for name, entry in entries.items()]
    if isinstance(entries, list):
        return [(str(number), entry) for number, entry in enumerate(entries)]
    raise InputError(f"{path}: its annotations are no map; {REMEDY}")


def _annotation(folder: Path, entry: Any, layout: SynergyLayout) -> Annotation:
    points = entry["face_landmarks_3d"]
    flat = entry.get("face_landmarks_2d") or []
    # Files of AFLW have landmarks in 3D alone.
    if len(points) < 68 or 0 < len(flat) < 68:
        raise _Unusable("fewer than 68 landmarks")
    shape, expression = entry["shape_params"], entry["exp_params"]
    if len(shape) != layout.shape or len(expression) != layout.expression:
        raise _Unusable(f"{len(shape)} shape and {len(expression)} expression parameters")
    pose = entry["head_pose"]
    angles = [math.radians(float(pose[name])) for name in ("pitch", "yaw", "roll")]
    shift = [float(value) for value in np.ravel(entry["head_translation"])]
    scale = float(np.ravel(entry["head_scale"])[0])
    parameters = np.array([*angles, *shift, scale, *shape, *expression], np.float32)
    landmarks = np.array([[float(p[axis]) for p in points] for axis in "xyz"], np.float32)
    if len(shift) != 3:
        raise ValueError(f"head_translation has {len(shift)} numbers")
    if not (np.isfinite(parameters).all() and np.isfinite(landmarks).all()):
        raise _Unusable("numbers that are not finite")
    return Annotation(folder / f"{entry['id_image']}.jpg", parameters, landmarks)
