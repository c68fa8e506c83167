"""Read and write the `.mat` layout of the public code's `BFM_model_front.mat`.

    meanshape (1, 3V)     dm; idBase (3V, 80), exBase (3V, 64): dm per standard deviation
    meantex (1, 3V)       0 to 255; texBase (3V, 80): likewise per standard deviation
    tri (F, 3)            vertices of each triangle, counter-clockwise seen from outside
    point_buf (V, 8)      triangles at each vertex; F + 1 fills rows up
    tri_mask2 (F2, 3)     triangles of the front of the face, for the photometric loss
    frontmask2_idx        vertices of the front
    keypoints (1, 68)     vertices that are the iBUG landmarks
    skinmask (1, V)       1 on skin

Indices start at 1; the three numbers of a vertex follow each other. The published model, bfm09, has
35,709 vertices and 70,789 triangles.

The public code moves the mean of the mean shape to the origin when it reads the file, and so does
this reader. Files that this program exports carry two arrays more, `card` (which face model this
is: JSON in UTF-8, as uint8) and `alignment_points`; those are read as they are, since another
model's origin need not be its centre.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat

from data.landmarks import five_from_68
from models.face_model import FaceModelData, IdentityCard, array_fingerprint
from models.mesh import adjacent_faces
from util.atomic import atomic_file
from util.errors import InputError
from util.model_files.mat_file import mat_shapes, read_mat

NAME, VERSION = "bfm09", "2009"
LICENCE = "Basel Face Model 2009, non-commercial, given by the University of Basel on request"
BASIS_SIZES = {"idBase": 80, "exBase": 64, "texBase": 80}
LANDMARKS = 68
DEGREE = 8
"""Triangles at a vertex for which point_buf has room."""
STANDARD_POINTS_FILE = "similarity_Lm3D_all.mat"
"""68 landmarks of the standard face (key `lm`), with which the public code aligns photos."""

_KEYS = (
    *("meanshape", "meantex", *BASIS_SIZES, "skinmask"),
    *("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx"),
)
_EXPORT_KEYS = ("card", "alignment_points")
_FRONT = "front"
"""Region that keeps frontmask2_idx, which need not be all vertices of tri_mask2."""


def read_bfm_model(path: Path) -> tuple[FaceModelData, str]:
    """Read a face model in this layout; the file stays as it is.

    The five standard points are those of `similarity_Lm3D_all.mat` beside it, as in the public
    code; where that is not there, those of the model's own landmarks.

    Returns:
        The model; and a sentence that says where it and its standard points are from.

    Raises:
        InputError: the file is missing, damaged, something else, or contradicts itself.
    """
    remedy = (
        "a BFM_model_front.mat is what the public code or this program makes of the user's BFM09 "
        "files (BFM/README.md); move this one away to have it made again"
    )
    is_export = mat_shapes(path, remedy).keys() >= set(_EXPORT_KEYS)
    arrays = read_mat(path, _KEYS + (_EXPORT_KEYS if is_export else ()), remedy)
    try:
        # Numbers that are not finite are no warning here: a face model refuses them by name.
        with np.errstate(all="ignore"):
            points, source = _alignment_points(arrays, path.parent)
            data = _decode(arrays, points)
            differing = _differing_point_buf(arrays["point_buf"], data)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path} contradicts itself ({error}); {remedy}") from error
    message = f"from {path} with the five standard points of {source}"
    if differing:
        message += (
            f"; its point_buf leaves out or adds triangles at {differing} vertices, whose normals "
            "here follow tri"
        )
    return data, message


def check_bfm_arrays(arrays: dict[str, np.ndarray]) -> None:
    """See that a file of these arrays could be read.

    Raises:
        ValueError, TypeError, IndexError: it would be refused.
    """
    with np.errstate(all="ignore"):
        points = arrays["meanshape"].reshape(-1, 3)[:5]  # any five: they are no part of the file
        data = _decode(arrays, points)
        _differing_point_buf(arrays["point_buf"], data)
    if not np.isfinite(data.skin_mask).all():
        raise ValueError("skinmask holds numbers that are not finite")


def write_bfm_model(path: Path, data: FaceModelData) -> None:
    """Export a face model, so that other programs can read it.

    Landmarks become the vertices that weigh most in them. Texture coordinates, units, regions,
    mirror symmetry and joints have no place in the layout; the native `.npz` keeps all but the
    last.

    Raises:
        ValueError: the model's sizes are not those of the layout.
    """
    vertices = len(data.mean_shape)
    bases = {
        "idBase": data.identity_basis,
        "exBase": data.expression_basis,
        "texBase": data.albedo_basis,
    }
    sizes = {key: basis.shape[2] for key, basis in bases.items()}
    landmarks = len(data.landmark_vertices)
    if sizes != BASIS_SIZES or landmarks != LANDMARKS:
        raise ValueError(
            f"face model {data.name} has {tuple(sizes.values())} components and {landmarks} "
            f"landmarks; BFM_model_front.mat holds {tuple(BASIS_SIZES.values())} and {LANDMARKS}"
        )
    nearest = data.landmark_barycentrics.argmax(axis=1)
    keypoints = data.landmark_vertices[np.arange(landmarks), nearest]
    if _FRONT in data.regions:
        front = np.flatnonzero(data.regions[_FRONT])
    else:
        front = np.unique(data.front_triangles)
    card = json.dumps(asdict(data.card), ensure_ascii=False).encode()
    arrays = {
        "meanshape": data.mean_shape.reshape(1, -1),
        "meantex": 255 * data.mean_albedo.reshape(1, -1),
        **{key: basis.reshape(3 * vertices, -1) for key, basis in bases.items()},
        "tri": data.triangles + 1,
        "point_buf": point_buf(data.triangles, vertices),
        "tri_mask2": data.front_triangles + 1,
        "keypoints": keypoints[None] + 1,
        "frontmask2_idx": front[:, None] + 1,
        "skinmask": data.skin_mask[None],
        "card": np.frombuffer(card, np.uint8)[None],
        "alignment_points": data.alignment_points,
    }
    arrays["texBase"] = 255 * arrays["texBase"]
    types = {"i": np.int32, "f": np.float32, "u": np.uint8}
    arrays = {key: array.astype(types[array.dtype.kind]) for key, array in arrays.items()}
    with atomic_file(path) as file:
        savemat(file, arrays)


def point_buf(triangles: np.ndarray, vertices: int) -> np.ndarray:
    """The triangles at each vertex as the layout has them: (V, 8) int32 from 1, filled with F + 1.

    Raises:
        ValueError: more triangles meet at a vertex than there is room for.
    """
    table = adjacent_faces(torch.from_numpy(triangles), vertices).numpy()
    if table.shape[1] > DEGREE:
        raise ValueError(
            f"up to {table.shape[1]} triangles meet at a vertex; point_buf has room for {DEGREE}"
        )
    result = np.full((vertices, DEGREE), len(triangles) + 1, np.int32)
    result[:, : table.shape[1]] = table + 1
    return result


def _decode(arrays: dict[str, np.ndarray], alignment_points: np.ndarray) -> FaceModelData:
    mean_shape = arrays["meanshape"].astype(np.float32).reshape(-1, 3)
    vertices = len(mean_shape)
    mean_albedo = arrays["meantex"].astype(np.float32).reshape(vertices, 3)
    identity, expression, texture = (
        _basis(arrays[key], key, vertices, size) for key, size in BASIS_SIZES.items()
    )
    if "card" in arrays:
        card = IdentityCard(**json.loads(arrays["card"].astype(np.uint8).tobytes()))
    else:
        # Of the numbers in the file: how a mean is rounded must not change what they are.
        fingerprint = array_fingerprint(mean_shape, identity, expression, texture)
        card = IdentityCard(NAME, VERSION, LICENCE, fingerprint)
        mean_shape = mean_shape - mean_shape.mean(axis=0, keepdims=True)
    triangles = _indices(arrays, "tri", vertices).reshape(-1, 3)
    keypoints = _indices(arrays, "keypoints", vertices).reshape(LANDMARKS)
    front = np.zeros(vertices, bool)
    front[_indices(arrays, "frontmask2_idx", vertices).ravel()] = True
    return FaceModelData(
        name=str(card.name),
        version=str(card.version),
        licence=str(card.licence),
        mean_shape=mean_shape,
        identity_basis=identity,
        expression_basis=expression,
        mean_albedo=mean_albedo / 255,
        albedo_basis=texture / 255,
        # The bases are multiplied by the standard deviations already.
        identity_sigma=np.ones(identity.shape[2], np.float32),
        expression_sigma=np.ones(expression.shape[2], np.float32),
        albedo_sigma=np.ones(texture.shape[2], np.float32),
        triangles=triangles,
        landmark_vertices=np.repeat(keypoints[:, None], 3, axis=1),
        landmark_barycentrics=np.tile(np.array([1, 0, 0], np.float32), (LANDMARKS, 1)),
        skin_mask=arrays["skinmask"].astype(np.float32).reshape(vertices),
        front_triangles=_indices(arrays, "tri_mask2", vertices).reshape(-1, 3),
        alignment_points=alignment_points,
        regions={_FRONT: front},
        fingerprint=str(card.fingerprint),
    )


def _basis(array: np.ndarray, key: str, vertices: int, size: int) -> np.ndarray:
    """(3V, K) -> (V, 3, K) float32."""
    if array.shape != (3 * vertices, size):
        raise ValueError(f"{key} is {array.shape}, expected {(3 * vertices, size)}")
    return array.astype(np.float32).reshape(vertices, 3, size)


def _indices(arrays: dict[str, np.ndarray], key: str, limit: int) -> np.ndarray:
    """Indices from 1 of whatever type -> int32 from 0."""
    array = arrays[key]
    if array.size == 0 or not ((array >= 1) & (array <= limit)).all() or (array % 1 != 0).any():
        raise ValueError(f"{key} must hold whole numbers from 1 to {limit}")
    return array.astype(np.int32) - 1


def read_standard_points(folder: Path) -> np.ndarray | None:
    """The landmarks (68, 3) by which the public code aligns photos; None where they are not there.

    Raises:
        InputError: `similarity_Lm3D_all.mat` is something else.
    """
    path = folder / STANDARD_POINTS_FILE
    if not path.is_file():
        return None
    remedy = (
        "take it from the folder BFM of the public code, or remove it: then the model's own "
        "landmarks take its place"
    )
    points = read_mat(path, ["lm"], remedy)["lm"]
    if points.shape != (LANDMARKS, 3) or not np.isfinite(points).all():
        raise InputError(f"{path}: lm is no (68, 3) array of numbers; {remedy}")
    return points


def _alignment_points(arrays: dict[str, np.ndarray], folder: Path) -> tuple[np.ndarray, str]:
    """Five standard points (5, 3) float32 dm, and where they are from."""
    if "alignment_points" in arrays:
        return arrays["alignment_points"].astype(np.float32), "the same file"
    points = read_standard_points(folder)
    if points is not None:
        return five_from_68(points).astype(np.float32), str(folder / STANDARD_POINTS_FILE)
    mean = arrays["meanshape"].astype(np.float32).reshape(-1, 3)
    landmarks = mean[_indices(arrays, "keypoints", len(mean)).reshape(LANDMARKS)]
    centred = landmarks - mean.mean(axis=0, keepdims=True)
    return five_from_68(centred), f"its own landmarks (no {STANDARD_POINTS_FILE} beside it)"


def _differing_point_buf(given: np.ndarray, data: FaceModelData) -> int:
    """How many vertices have other triangles in point_buf than in tri."""
    table = adjacent_faces(torch.from_numpy(data.triangles), len(data.mean_shape)).numpy() + 1
    if given.ndim != 2 or len(given) != len(table):
        raise ValueError(f"point_buf is {given.shape}, expected {(len(table), DEGREE)}")
    width = max(table.shape[1], given.shape[1])

    def rows(buffer: np.ndarray) -> np.ndarray:
        filled = np.full((len(buffer), width), len(data.triangles) + 1, np.int64)
        filled[:, : buffer.shape[1]] = buffer
        return np.sort(filled, axis=1)

    return int((rows(table) != rows(given)).any(axis=1).sum())
