"""The files of 3DDFA and SynergyNet: the folder 3dmm_data, whitening, parameter labels.

    3dmm_data/u_shp.npy, u_exp.npy                  (3N, 1) mean shape and mean expression
              w_shp_sim.npy, w_exp_sim.npy          (3N, 40) and (3N, 10) bases, rows x y z x y z
              keypoints_sim.npy                     (3L,) rows of the 68 landmarks
              param_whitening.pkl                   param_mean, param_std, (102,)
              tri.mat                               tri (3, F), from 1
              BFM_UV.npy                            (N, 2) in [0, 1]
              train_aug_120x120.list.train, param_all_norm_v201.pkl

All in micrometres. Pickles are read without executing them (`util.model_files.safe_pickle`).
`face_model.json` beside them, which `make_synthetic.py` writes, says of which of our face models
the bases are the first ones.
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import savemat

from models.face_model import IdentityCard, array_fingerprint
from models.synergy.morphable import SynergyFaceArrays
from models.synergy.parameters import DDFA_LAYOUT, SynergyLayout, Whitening
from util.atomic import write_bytes, write_text
from util.errors import InputError
from util.model_files.mat_file import read_mat
from util.model_files.safe_pickle import read_npy, read_pickle
from util.synergy.ddfa_folder import REMEDY, check_morphable_folder
from util.text import decode_text

TEXTURE_PARAMETERS = 40
"""Numbers of a label behind the 62, of a texture that nothing here uses."""
LIST, PARAMETERS = "train_aug_120x120.list.train", "param_all_norm_v201.pkl"
WHITENING, CARD = "param_whitening.pkl", "face_model.json"


@dataclass(frozen=True)
class MorphableFolder:
    """What a folder 3dmm_data holds of the face model."""

    arrays: SynergyFaceArrays
    whitening: Whitening


def read_morphable_folder(
    folder: Path, layout: SynergyLayout = DDFA_LAYOUT, *, need_triangles: bool = False
) -> MorphableFolder:
    """Read the face model and the whitening of a folder 3dmm_data.

    Args:
        folder: the user's.
        layout: how many bases are wanted.
        need_triangles: refuse a folder without tri.mat, which only meshes need.

    Raises:
        InputError: a file is missing, or is not what its name says.
    """
    check_morphable_folder(folder)
    mean, mean_expression = _vector(folder / "u_shp.npy"), _vector(folder / "u_exp.npy")
    if mean.size % 3 or mean.size == 0 or mean.size != mean_expression.size:
        raise InputError(
            f"{folder}: u_shp.npy has {mean.size} numbers and u_exp.npy {mean_expression.size}, "
            f"both three a vertex of one model were expected; {REMEDY}"
        )
    mean = mean + mean_expression
    count = mean.size // 3
    shape = _basis(folder / "w_shp_sim.npy", count, layout.shape)
    expression = _basis(folder / "w_exp_sim.npy", count, layout.expression)
    landmarks = _landmark_vertices(folder / "keypoints_sim.npy", count)
    vertices = mean.reshape(-1, 3)
    triangles = _triangles(folder / "tri.mat", vertices, need_triangles)
    return MorphableFolder(
        SynergyFaceArrays(
            card=_card(folder / CARD, vertices, shape, expression),
            mean=vertices,
            shape_basis=shape,
            expression_basis=expression,
            landmark_vertices=landmarks[:, None],
            landmark_weights=np.ones((len(landmarks), 1), np.float32),
            triangles=triangles,
            uv=_texture_coordinates(folder / "BFM_UV.npy", count),
        ),
        read_whitening(folder / WHITENING, layout),
    )


def write_morphable_folder(
    folder: Path, arrays: SynergyFaceArrays, whitening: Whitening, u_tex: np.ndarray
) -> None:
    """Write a folder 3dmm_data with all public names.

    Meshes there have one texture coordinate a vertex, and landmarks that are vertices. So vertices
    on seams are written once for each of their coordinates, and the landmarks, which lie within
    triangles, as vertices of no triangle behind all others.

    Args:
        folder: made if missing.
        arrays: the face model; its card goes into face_model.json.
        whitening: of all parameters of a label, with those of the texture.
        u_tex: (N, 3) mean colours, 0 to 255.
    """
    count = len(arrays.mean)
    uv, corners = arrays.uv, arrays.uv_triangles
    vertex_of, triangles = np.arange(count), arrays.triangles
    if uv is not None and corners is not None:
        vertex_of, triangles = _split_at_seams(arrays.triangles, corners, len(uv))
    where, weights = arrays.landmark_vertices, arrays.landmark_weights

    def rows(array: np.ndarray) -> np.ndarray:
        """(N, 3, ...) as rows of vertices and landmarks, x y z x y z."""
        points = np.einsum("lc,lc...->l...", weights, array[where])
        both = np.concatenate([array[vertex_of], points]).astype(np.float32)
        return both.reshape(3 * len(both), -1)

    landmark_rows = 3 * len(vertex_of) + np.arange(3 * len(where))
    arrays_by_name = {
        "u_shp": rows(arrays.mean),
        "u_exp": np.zeros((3 * (len(vertex_of) + len(where)), 1), np.float32),
        "u_tex": rows(u_tex),
        "w_shp_sim": rows(arrays.shape_basis),
        "w_exp_sim": rows(arrays.expression_basis),
        "keypoints_sim": landmark_rows.astype(np.int64),
        **_kept_part(triangles, len(vertex_of)),
    }
    if uv is not None:
        # A landmark has the coordinates of the corner that it is nearest to.
        first = np.zeros(count, np.int64)
        first[vertex_of[::-1]] = np.arange(len(vertex_of))[::-1]
        nearest = np.take_along_axis(where, weights.argmax(axis=1)[:, None], axis=1)[:, 0]
        uv = np.concatenate([uv[: len(vertex_of)], uv[first[nearest]]])
        arrays_by_name["BFM_UV"] = uv.astype(np.float64)
    for name, array in arrays_by_name.items():
        write_npy(folder / f"{name}.npy", array)
    write_bytes(folder / "tri.mat", _tri_mat(triangles))
    record = {
        "param_mean": whitening.mean.double().numpy(),
        "param_std": whitening.std.double().numpy(),
    }
    write_bytes(folder / WHITENING, pickle.dumps(record, protocol=2))
    sizes = {"shape": arrays.shape_basis.shape[2], "expression": arrays.expression_basis.shape[2]}
    card = {**arrays.card.record, **sizes, "arrays": _fingerprint_of_folder(folder)}
    write_text(folder / CARD, json.dumps(card, indent=1) + "\n")


def read_whitening(path: Path, layout: SynergyLayout = DDFA_LAYOUT) -> Whitening:
    """Read mean and standard deviation of the parameters.

    3DDFA-V2 calls them `mean` and `std`. Numbers behind those of the layout, of the texture, are
    left out.

    Raises:
        InputError: not such a file, or too few numbers.
    """
    remedy = "take param_whitening.pkl of the same project as the labels or weights"
    record = read_pickle(path, remedy)
    found: list[torch.Tensor] = []
    for names in (("param_mean", "mean"), ("param_std", "std")):
        value = None
        if isinstance(record, dict):
            value = next((record[name] for name in names if name in record), None)
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise InputError(f"{path} has no numbers {names[0]}; {remedy}")
        if value.ndim != 1 or len(value) < layout.size:
            raise InputError(
                f"{path}: {names[0]} is {value.shape}, at least {layout.size} numbers were "
                f"expected ({layout}); {remedy}"
            )
        found.append(torch.from_numpy(value[: layout.size].astype(np.float32)))
    try:
        return Whitening(*found)
    except ValueError as error:
        raise InputError(f"{path}: {error}; {remedy}") from error


def read_labels(path: Path, layout: SynergyLayout = DDFA_LAYOUT) -> np.ndarray:
    """Read whitened parameters (n, P) float32 of n faces; a file may hold more columns.

    Raises:
        InputError: no array of numbers, too narrow, or not finite.
    """
    remedy = f"take {PARAMETERS} of 3DDFA, whose rows belong to the lines of the list"
    reader = read_npy if path.suffix.lower() == ".npy" else read_pickle
    labels = reader(path, remedy)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind != "f" or labels.ndim != 2:
        what = type(labels).__name__
        if isinstance(labels, np.ndarray):
            what = f"{labels.dtype} {labels.shape}"
        raise InputError(f"{path} holds {what}, a table (faces, parameters) was expected; {remedy}")
    if labels.shape[1] < layout.size:
        raise InputError(
            f"{path} has {labels.shape[1]} numbers a face, at least {layout.size} were expected "
            f"({layout}); {remedy}"
        )
    labels = np.ascontiguousarray(labels[:, : layout.size], dtype=np.float32)
    if not np.isfinite(labels).all():
        row = int((~np.isfinite(labels)).any(axis=1).argmax())
        raise InputError(f"{path}: row {row} has numbers that are not finite; {remedy}")
    return labels


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write whitened parameters (n, P) as the public pickle."""
    write_bytes(path, pickle.dumps(np.ascontiguousarray(labels, dtype=np.float32), protocol=2))


def read_list(path: Path) -> list[str]:
    """Lines of an image list.

    Raises:
        InputError: missing or empty.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; it lists one image a line")
    try:
        names = [line.strip() for line in decode_text(path.read_bytes()).splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; it lists one image a line") from error
    names = [name for name in names if name]
    if not names:
        raise InputError(f"{path} is empty; it lists one image a line")
    return names


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    content = io.BytesIO()
    np.save(content, array)
    write_bytes(path, content.getvalue())


def _array(path: Path, kinds: str = "f") -> np.ndarray:
    array: Any = read_npy(path, REMEDY)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        raise InputError(f"{path} holds no {'numbers' if 'f' in kinds else 'indices'}; {REMEDY}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path} has numbers that are not finite; {REMEDY}")
    return array


def _vector(path: Path) -> np.ndarray:
    array = _array(path)
    if array.size != max(array.shape, default=0):
        raise InputError(f"{path} is {array.shape}, one column was expected; {REMEDY}")
    return array.reshape(-1).astype(np.float32)


def _basis(path: Path, vertices: int, wanted: int) -> np.ndarray:
    array = _array(path)
    if array.ndim != 2 or array.shape[0] != 3 * vertices or array.shape[1] < wanted:
        raise InputError(
            f"{path} is {array.shape}, ({3 * vertices}, {wanted}) was expected, of the same model "
            f"as u_shp.npy; {REMEDY}"
        )
    return array[:, :wanted].astype(np.float32).reshape(vertices, 3, wanted)


def _landmark_vertices(path: Path, vertices: int) -> np.ndarray:
    """(L,) vertices of rows 3i, 3i + 1, 3i + 2."""
    rows = _array(path, "iu").reshape(-1).astype(np.int64)
    if rows.size == 0 or rows.size % 3 or rows.min() < 0 or rows.max() >= 3 * vertices:
        raise InputError(
            f"{path} has {rows.size} numbers from {rows.min(initial=0)} to "
            f"{rows.max(initial=0)}; rows of {3 * vertices} were expected, three a landmark; "
            f"{REMEDY}"
        )
    triples = rows.reshape(-1, 3)
    if (triples[:, :1] % 3 != 0).any() or (np.diff(triples, axis=1) != 1).any():
        raise InputError(f"{path}: its rows are not x, y, z of one vertex each; {REMEDY}")
    return triples[:, 0] // 3


def _triangles(path: Path, vertices: np.ndarray, needed: bool) -> np.ndarray:
    """(F, 3) from 0, counter-clockwise seen from outside; empty without a file."""
    if not path.is_file() and not needed:
        return np.zeros((0, 3), np.int32)
    remedy = "take tri.mat of 3DDFA (visualize/tri.mat) or SynergyNet"
    if not path.is_file():
        raise InputError(f"{path} does not exist, and meshes need it; {remedy}")
    corners = read_mat(path, ["tri"], remedy)["tri"]
    if corners.ndim == 2 and corners.shape[0] == 3:
        corners = corners.T
    corners = corners.astype(np.int64) - 1
    if corners.ndim != 2 or corners.shape[1] != 3 or corners.size == 0:
        raise InputError(f"{path}: tri is {corners.shape}, (3, triangles) was expected; {remedy}")
    if corners.min() < 0 or corners.max() >= len(vertices):
        raise InputError(
            f"{path} names vertices {corners.min() + 1} to {corners.max() + 1} of "
            f"{len(vertices)}; it is of another face model: {remedy}"
        )
    a, b, c = (vertices[corners[:, k]].astype(np.float64) for k in range(3))
    # A face looks to the camera: most of its area does, whichever way the file goes around.
    if np.cross(b - a, c - a)[:, 2].sum() < 0:
        corners = corners[:, ::-1]
    return np.ascontiguousarray(corners, dtype=np.int32)


def _texture_coordinates(path: Path, vertices: int) -> np.ndarray | None:
    if not path.is_file():
        return None
    uv = _array(path)
    if uv.shape != (vertices, 2):
        raise InputError(f"{path} is {uv.shape}, ({vertices}, 2) was expected; {REMEDY}")
    return uv.astype(np.float32)


def _card(path: Path, mean: np.ndarray, shape: np.ndarray, expression: np.ndarray) -> IdentityCard:
    """Which face model this is: ours that the folder was made of, or one by its arrays."""
    if path.is_file():
        try:
            record = json.loads(decode_text(path.read_bytes()))
            if record["arrays"] == _fingerprint_of_folder(path.parent):
                keys = ("name", "version", "licence", "fingerprint")
                return IdentityCard(*(str(record[key]) for key in keys))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is malformed ({error}); remove it, or {REMEDY}") from error
    return IdentityCard("3dmm_data", "unnamed", "", array_fingerprint(mean, shape, expression))


def _fingerprint_of_folder(folder: Path) -> str:
    """Hash of the bases as they lie in the files."""
    names = ("u_shp", "u_exp", "w_shp_sim", "w_exp_sim")
    return array_fingerprint(*(_array(folder / f"{name}.npy") for name in names))


def _split_at_seams(
    triangles: np.ndarray, uv_triangles: np.ndarray, coordinates: int
) -> tuple[np.ndarray, np.ndarray]:
    """One vertex for each texture coordinate.

    Returns:
        (U,) the vertex that each was, and the triangles (F, 3) of the new ones.
    """
    vertex_of = np.zeros(coordinates, np.int64)
    vertex_of[uv_triangles.reshape(-1)] = triangles.reshape(-1)
    return vertex_of, uv_triangles


def _kept_part(triangles: np.ndarray, vertices: int) -> dict[str, np.ndarray]:
    """The part that the public textured meshes show: here all vertices that triangles have."""
    kept = np.unique(triangles)
    number = np.zeros(vertices, np.int64)
    number[kept] = np.arange(len(kept))
    return {"keptInd": kept.astype(np.int64), "deletedTri": number[triangles].T + 1}


def _tri_mat(triangles: np.ndarray) -> bytes:
    content = io.BytesIO()
    kind = np.uint16 if triangles.max() < 2**16 - 1 else np.int32
    savemat(content, {"tri": (triangles.T + 1).astype(kind)})
    return content.getvalue()
