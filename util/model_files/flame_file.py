"""Read FLAME (2020, 2023) as its `.pkl` or `.npz` has it, without chumpy and without unpickling.

    v_template (V, 3)         mean head, metres; V = 5023
    f (F, 3)                  triangles
    shapedirs (V, 3, 400)     300 identity and 100 expression components, a standard deviation each
    J_regressor (5, V)        joints as mixes of vertices: root, neck, jaw, left eye, right eye
    kintree_table (2, 5)      the joint that each hangs from
    weights (V, 5)            which joints carry a vertex
    posedirs (V, 3, 36)       pose correctives

The landmarks are in other files, which belong beside it: `landmark_embedding.npy` (static and
dynamic points), or `flame_static_embedding.pkl` and `flame_dynamic_embedding.npy`. Without them the
open face model is laid over the head by eyeballs and nose tip. Albedo and skin are the open
model's: FLAME itself has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from data.landmarks import five_from_68
from models.face_model import FaceModelData
from models.landmark_embedding import MovingContour
from models.skeleton import SkeletonData
from util.errors import InputError
from util.model_files.face_transfer import (
    lay_by_eyes_and_nose,
    origin_fingerprint,
    paper_size,
    place_like,
    transfer_appearance,
)
from util.model_files.flame_folder import NAME, REMEDY
from util.model_files.safe_pickle import Passive, read_npy, read_npz, read_pickle
from util.surface import nearest_on_surface

LICENCE = "FLAME: the licence of flame.is.tue.mpg.de; albedo CC0-1.0 (open face model)"
EMBEDDING = "landmark_embedding.npy"
STATIC, DYNAMIC = "flame_static_embedding.pkl", "flame_dynamic_embedding.npy"
LANDMARK_REMEDY = (
    f"{EMBEDDING} comes with DECA (github.com/yfeng95/DECA, data/); {STATIC} and {DYNAMIC} with "
    "RingNet (github.com/soubhiksanyal/RingNet, flame_model/); without any of them the open face "
    "model's landmarks are laid over FLAME"
)

_IDENTITIES = 300
_DM_PER_M = 10.0
_JOINTS = ("neck", "jaw", "eye_left", "eye_right")
_SIGMA_RAD = (
    *(0.15, 0.15, 0.1),  # neck
    *(0.2, 0.05, 0.03),  # jaw: mostly opening
    *(0.15, 0.25, 0.02),  # eyes
    *(0.15, 0.25, 0.02),
)
"""Prior of the rotations, by judgement: FLAME publishes none."""
_KEYS = ("v_template", "f", "shapedirs", "J_regressor", "kintree_table", "weights", "posedirs")


@dataclass(frozen=True)
class _Landmarks:
    """Landmarks as FLAME's files have them: triangles and weights."""

    faces: np.ndarray
    """(68,)"""
    barycentrics: np.ndarray
    """(68, 3)"""
    contour_faces: np.ndarray | None
    """(79, 17): yaw 0, -1 .. -39, +1 .. +39 degrees."""
    contour_barycentrics: np.ndarray | None
    """(79, 17, 3)"""


def read_flame(path: Path, donor: FaceModelData) -> tuple[FaceModelData, str]:
    """Read FLAME and, beside it, its landmarks.

    Args:
        path: the `.pkl` or `.npz`.
        donor: the open face model, which gives the albedo.

    Returns:
        The model; and a clause that says where it and its landmarks are from.

    Raises:
        InputError: a file is missing, something else, damaged, or of another version.
    """
    reader = read_npz if path.suffix.lower() == ".npz" else read_pickle
    content = reader(path, REMEDY)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no named arrays; {REMEDY}")
    landmarks, source = _read_landmarks(path.parent)
    try:
        arrays = {key: _array(content, key) for key in _KEYS}
        data = _decode(arrays, landmarks, donor, path.stem)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise InputError(f"{path} is no FLAME model ({error}); {REMEDY}") from error
    return data, f"from {path} with the landmarks of {source}"


def _decode(
    arrays: dict[str, np.ndarray], landmarks: _Landmarks | None, donor: FaceModelData, stem: str
) -> FaceModelData:
    mean = _DM_PER_M * arrays["v_template"].astype(np.float64)
    vertices, joints = len(mean), len(_JOINTS) + 1
    components = arrays["shapedirs"].shape[-1]
    expected = {
        "v_template": (vertices, 3),
        "f": (len(arrays["f"]), 3),
        "shapedirs": (vertices, 3, components),
        "J_regressor": (joints, vertices),
        "kintree_table": (2, joints),
        "weights": (vertices, joints),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
    }
    for key, shape in expected.items():
        if arrays[key].shape != shape:
            raise ValueError(f"{key} is {arrays[key].shape}, expected {shape}")
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} holds numbers that are not finite")
    if components <= _IDENTITIES:
        raise ValueError(f"shapedirs has {components} components, expected 400")
    triangles = arrays["f"].astype(np.int64)
    if not 0 <= triangles.min() <= triangles.max() < vertices:
        raise ValueError(f"f must index its {vertices} vertices")
    triangles = triangles.astype(np.int32)
    parents = (-1, *(int(parent) for parent in arrays["kintree_table"][0, 1:]))

    bases = _DM_PER_M * arrays["shapedirs"].astype(np.float64)
    identity = paper_size(bases[..., :_IDENTITIES], "identity")
    expression = paper_size(bases[..., _IDENTITIES:], "expression")
    regressor, weights = arrays["J_regressor"].astype(np.float64), arrays["weights"]
    eyeballs = weights[:, 3:].max(axis=1) > 0.5

    if landmarks is None:
        eyes = regressor[[4, 3]] @ mean  # the image's left eye first
        laid = lay_by_eyes_and_nose(donor, mean, triangles, eyes)
        points = nearest_on_surface(laid, mean, triangles)
        corners, barycentrics, contour = points.corners, points.barycentrics, None
    else:
        _check_landmarks(landmarks, len(triangles))
        corners, barycentrics = triangles[landmarks.faces], landmarks.barycentrics
        contour = _contour(landmarks, triangles)
    points = (mean[corners] * barycentrics[..., None]).sum(axis=1)
    shift = place_like(donor, points)
    mean, points = mean + shift, points + shift
    appearance = transfer_appearance(donor, mean, points, eyeballs)
    front = appearance.front | eyeballs
    return FaceModelData(
        name=NAME,
        version=f"{stem}, albedo of {donor.name} {donor.version}",
        licence=LICENCE,
        mean_shape=mean.astype(np.float32),
        identity_basis=identity,
        expression_basis=expression,
        mean_albedo=appearance.mean_albedo,
        albedo_basis=appearance.albedo_basis,
        identity_sigma=np.ones(identity.shape[2], np.float32),
        expression_sigma=np.ones(expression.shape[2], np.float32),
        albedo_sigma=donor.albedo_sigma,
        triangles=triangles,
        landmark_vertices=corners.astype(np.int32),
        landmark_barycentrics=barycentrics.astype(np.float32),
        skin_mask=appearance.skin_mask,
        front_triangles=triangles[front[triangles].all(axis=1)],
        alignment_points=five_from_68(points).astype(np.float32),
        regions={"eyeballs": eyeballs},
        skeleton=SkeletonData(
            names=_JOINTS,
            parents=parents,
            mean_joints=(regressor @ mean).astype(np.float32),
            joint_basis=np.einsum(
                "jv,vck->jck", regressor, np.concatenate([identity, expression], axis=2)
            ).astype(np.float32),
            weights=weights.astype(np.float32),
            pose_basis=(_DM_PER_M * arrays["posedirs"]).astype(np.float32),
            sigma=np.array(_SIGMA_RAD, np.float32),
        ),
        contour=contour,
        fingerprint=origin_fingerprint(
            donor,
            *(arrays["v_template"], identity, expression, np.array(parents)),
            *(regressor, weights, arrays["posedirs"]),
        ),
    )


def _array(content: dict[str, Any], key: str) -> np.ndarray:
    """An array of whatever kind FLAME's files have had it: numpy, chumpy, sparse."""
    if key not in content:
        found = ", ".join(sorted(str(name) for name in content)[:6]) or "nothing"
        raise KeyError(f"it lacks {key} and holds {found}")
    value = content[key]
    if isinstance(value, Passive):
        value = _sparse(value) if "sparse" in value.origin else value.entry("x")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        origin = getattr(content[key], "origin", type(content[key]).__name__)
        raise ValueError(f"{key} is no array of numbers but {origin}")
    return array


def _sparse(matrix: Passive) -> np.ndarray:
    parts = tuple(np.asarray(matrix.entry(name)) for name in ("data", "indices", "indptr"))
    shape = matrix.entry("_shape", "shape")
    kind = csr_matrix if "csr" in matrix.origin else csc_matrix
    result = kind(parts, shape=tuple(int(length) for length in shape))
    # SciPy trusts the indices, and would read outside the arrays.
    result.check_format(full_check=True)
    return result.toarray()


def _read_landmarks(folder: Path) -> tuple[_Landmarks | None, str]:
    path = folder / EMBEDDING
    try:
        if path.is_file():
            content = read_npy(path, LANDMARK_REMEDY)
            static = _pair(content, "static_lmk_faces_idx", "static_lmk_bary_coords", (51,))
            contour = _pair(content, "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords", (79, 17))
            return _joined(static, contour), str(path)
        path = folder / STATIC
        if path.is_file():
            content = read_pickle(path, LANDMARK_REMEDY)
            static = _pair(content, "lmk_face_idx", "lmk_b_coords", (51,))
            path = folder / DYNAMIC
            content = read_npy(path, LANDMARK_REMEDY)
            contour = _pair(content, "lmk_face_idx", "lmk_b_coords", (79, 17))
            return _joined(static, contour), f"{folder / STATIC} and {DYNAMIC}"
    except (ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no landmark embedding of FLAME ({error}); {LANDMARK_REMEDY}"
        ) from error
    return None, f"the open face model (no {EMBEDDING} beside it)"


def _pair(
    content: Any, faces: str, barycentrics: str, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (*shape) and weights (*shape, 3)."""
    if not isinstance(content, dict):
        raise TypeError("it holds no named arrays")
    if faces not in content or barycentrics not in content:
        raise KeyError(f"it lacks {faces} or {barycentrics}")
    indices = np.asarray(content[faces]).astype(np.int64)
    weights = np.asarray(content[barycentrics]).astype(np.float64)
    if indices.shape != shape or weights.shape != (*shape, 3):
        raise ValueError(f"{faces} is {indices.shape}, expected {shape}")
    if not np.isfinite(weights).all():
        raise ValueError(f"{barycentrics} holds numbers that are not finite")
    return indices, weights


def _joined(
    static: tuple[np.ndarray, np.ndarray], contour: tuple[np.ndarray, np.ndarray]
) -> _Landmarks:
    """68 points: the jaw of a face that looks straight ahead, then the static ones."""
    faces, barycentrics = (
        np.concatenate([moving[0], fixed]) for moving, fixed in zip(contour, static, strict=True)
    )
    return _Landmarks(faces, barycentrics, *contour)


def _check_landmarks(landmarks: _Landmarks, triangles: int) -> None:
    for faces in (landmarks.faces, landmarks.contour_faces):
        if faces is not None and not 0 <= faces.min() <= faces.max() < triangles:
            raise ValueError(f"the landmarks must lie on its {triangles} triangles")


def _contour(landmarks: _Landmarks, triangles: np.ndarray) -> MovingContour | None:
    """The table of the dynamic landmarks; a face that turns to its right has negative yaw."""
    faces, barycentrics = landmarks.contour_faces, landmarks.contour_barycentrics
    if faces is None or barycentrics is None:
        return None
    half = len(faces) // 2
    degrees = np.concatenate([-np.arange(half + 1), np.arange(1, half + 1)])
    return MovingContour(
        landmarks=np.arange(faces.shape[1]),
        yaws_rad=np.radians(degrees).astype(np.float32),
        vertices=triangles[faces],
        barycentrics=barycentrics.astype(np.float32),
    )
