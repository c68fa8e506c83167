"""Read and write the native face model file (`.npz`, versioned keys, no pickles).

Bases are stored on a coarse control mesh; a sparse matrix S subdivides them to the mesh's vertices,
since subdivision is linear: basis = S @ control basis. The control mesh serves all levels of detail
(`util.model_files.level_of_detail`), and its arrays give the model its fingerprint. Where a file
holds a whole head, the face is the first part of every array.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from models.face_model import FaceModelData, NaturalExpression, array_fingerprint
from models.landmark_embedding import MovingContour
from options.face_options import FaceRegion
from util.atomic import atomic_file
from util.errors import InputError
from util.model_files.file_kind import foreign_to_npz
from util.model_files.level_of_detail import DetailMesh, at_level
from util.model_files.texture_file import TEXTURE_KEYS

FORMAT_VERSION = 2
_OLDEST_VERSION = 1
"""Which lacks heads, levels and contours."""

_SMALL_KEYS = (
    "alignment_points",
    "identity_sigma",
    "expression_sigma",
    "albedo_sigma",
    "unit_matrix",
)
_MESH_KEYS = (
    "triangles",
    "front_triangles",
    "landmark_vertices",
    "landmark_barycentrics",
    "skin_mask",
    "uv",
    "uv_triangles",
)
_OPTIONAL = ("uv", "uv_triangles")
_DETAIL_KEYS = (
    "quads",
    "kept_triangles",
    "coarse_triangles",
    "uv_quads",
    "kept_uv_triangles",
    "coarse_uv_triangles",
)
_CONTOUR_KEYS = ("landmarks", "yaws_rad", "vertices", "barycentrics")
_NATURAL_KEYS = ("mean", "covariance")
_FACE_COUNTS = ("vertices", "controls", "triangles", "quads", "coarse_triangles")
_PARITY_KEYS = {
    "identity": "identity_parity",
    "expression": "expression_parity",
    "texture": "albedo_parity",
}
_INTEGERS, _NUMBERS, _TEXT = "iu", "fiu", "U"
_FORMS = {
    "control_mean_shape": (2, _NUMBERS),
    "control_identity_basis": (3, _NUMBERS),
    "control_expression_basis": (3, _NUMBERS),
    "subdivision_data": (1, _NUMBERS),
    "subdivision_indices": (1, _INTEGERS),
    "subdivision_indptr": (1, _INTEGERS),
    "mean_albedo": (2, _NUMBERS),
    "albedo_basis_int8": (3, _INTEGERS),
    "albedo_scale": (1, _NUMBERS),
    "triangles": (2, _INTEGERS),
    "front_triangles": (2, _INTEGERS),
    "landmark_vertices": (2, _INTEGERS),
    "landmark_barycentrics": (2, _NUMBERS),
    "skin_mask": (1, _NUMBERS),
    "uv": (2, _NUMBERS),
    "uv_triangles": (2, _INTEGERS),
    "contour_landmarks": (1, _INTEGERS),
    "contour_yaws_rad": (1, _NUMBERS),
    "contour_vertices": (3, _INTEGERS),
    "contour_barycentrics": (3, _NUMBERS),
    "natural_expression_mean": (1, _NUMBERS),
    "natural_expression_covariance": (2, _NUMBERS),
    **dict.fromkeys(_DETAIL_KEYS, (2, _INTEGERS)),
    **{f"face_{count}": (0, _INTEGERS) for count in _FACE_COUNTS},
    "alignment_points": (2, _NUMBERS),
    "identity_sigma": (1, _NUMBERS),
    "expression_sigma": (1, _NUMBERS),
    "albedo_sigma": (1, _NUMBERS),
    "unit_matrix": (2, _NUMBERS),
    "unit_names": (1, _TEXT),
    "name": (0, _TEXT),
    "version": (0, _TEXT),
    "licence": (0, _TEXT),
    "fingerprint": (0, _TEXT),
    "made_of": (0, _TEXT),
    **dict.fromkeys(_PARITY_KEYS.values(), (1, _INTEGERS)),
}
"""Dimensions and kinds of the arrays, before any is computed with; sizes are checked after."""
_REMEDY = "restore it from the repository or build it again as BFM/README.md says"
_CONTROL_KEYS = ("control_mean_shape", "control_identity_basis", "control_expression_basis")


def read_face_model(path: Path, level: int = 1, region: FaceRegion = "face") -> FaceModelData:
    """Read a native face model file.

    Args:
        path: the file.
        level: of detail, 0 to 2; files that hold one mesh have level 1.
        region: face, or head where the file has one.

    Raises:
        InputError: the file is missing, not such a file, of a newer format, or lacks the level or
            region.
    """
    if not path.is_file():
        raise InputError(f"face model file {path} does not exist; give --face_model another path")
    arrays = _read_arrays(path)
    try:
        version = int(arrays["format_version"])
        if not _OLDEST_VERSION <= version <= FORMAT_VERSION:
            raise InputError(
                f"face model file {path} has format {version}, this program reads "
                f"{_OLDEST_VERSION} to {FORMAT_VERSION}; update the program or take a matching file"
            )
        if region == "head" and "face_vertices" not in arrays:
            raise InputError(
                f"--face_region head: {path} holds a face without a head; give --face_region face"
            )
        if level != 1 and "quads" not in arrays:
            raise InputError(
                f"--face_model @{level}: {path} has one level of detail; leave @{level} away"
            )
        _check_forms(arrays)
        fingerprint = _fingerprint(arrays)
        if region == "face" and "face_vertices" in arrays:
            arrays = _face_alone(arrays)
        data = _decode(arrays, fingerprint)
        if level == 1:
            return data
        return at_level(data, DetailMesh(*(arrays[key] for key in _DETAIL_KEYS)), level)
    except KeyError as error:
        raise InputError(
            f"face model file {path} lacks the array {error}; it is not a native face model "
            "(BFM/README.md lists the formats)"
        ) from error
    except InputError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"face model file {path} contradicts itself ({error}); {_REMEDY}"
        ) from error


def read_made_of(path: Path) -> str | None:
    """What `write_face_model` was told that a file is made of.

    Returns:
        That; empty where nothing is said; None where the file cannot be read.
    """
    try:
        return str(_read_arrays(path, ("made_of",)).get("made_of", ""))
    except InputError:
        return None


def write_face_model(path: Path, data: FaceModelData, made_of: str = "") -> None:
    """Write a face model as a native file; its own mesh is the control mesh.

    Bases are rounded to float16 and albedo components to 255 steps, so that what is read back
    differs by that, and has a fingerprint of its own.

    Args:
        path: the file.
        data: the model.
        made_of: what a converted file depends on, by which a stale one is known. Such a file keeps
            the fingerprint of `data`, which is that of the files it is made of.

    Raises:
        ValueError: the model has joints, for which there is no place.
    """
    if data.skeleton is not None:
        raise ValueError(f"face model {data.name} has joints, for which {path} has no place")
    vertices = len(data.mean_shape)
    scale = np.abs(data.albedo_basis).max(axis=(0, 1)) / 127
    steps = np.round(data.albedo_basis / np.where(scale > 0, scale, 1)).astype(np.int8)
    arrays = {
        "format_version": np.int32(FORMAT_VERSION),
        "name": data.name,
        "version": data.version,
        "licence": data.licence,
        "control_mean_shape": data.mean_shape.astype(np.float32),
        "control_identity_basis": data.identity_basis.astype(np.float16),
        "control_expression_basis": data.expression_basis.astype(np.float16),
        "subdivision_data": np.ones(vertices, np.float32),
        "subdivision_indices": np.arange(vertices, dtype=np.int32),
        "subdivision_indptr": np.arange(vertices + 1, dtype=np.int32),
        "mean_albedo": data.mean_albedo.astype(np.float32),
        "albedo_basis_int8": steps,
        "albedo_scale": scale.astype(np.float32),
        "unit_names": np.array(data.unit_names, dtype=str),
        **{
            key: array
            for key in (*_MESH_KEYS, *_SMALL_KEYS)
            if (array := getattr(data, key)) is not None
        },
        **{_PARITY_KEYS[block]: signs.astype(np.int8) for block, signs in data.parities.items()},
        **{f"region_{name}": mask for name, mask in data.regions.items()},
    }
    if (contour := data.contour) is not None:
        arrays |= {f"contour_{key}": getattr(contour, key) for key in _CONTOUR_KEYS}
    if (natural := data.natural_expression) is not None:
        arrays |= {f"natural_expression_{key}": getattr(natural, key) for key in _NATURAL_KEYS}
    if made_of:
        arrays |= {"made_of": made_of, "fingerprint": data.card.fingerprint}
    with atomic_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _read_arrays(path: Path, wanted: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The wanted arrays that a file has; without names all but textures."""
    if kind := foreign_to_npz(path):
        raise InputError(f"face model file {path} is {kind}; {_REMEDY}")
    try:
        # Opened here, since np.load leaves a damaged archive open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            # Textures are large, and wanted by few: util.model_files.texture_file reads them.
            keys = [key for key in archive.files if not key.startswith(TEXTURE_KEYS)]
            keys = [key for key in keys if key in wanted or not wanted]
            return {key: archive[key] for key in keys}
    except Exception as error:
        # Garbage reaches every part of the readers (zip, zlib, header of each array), and each
        # raises what it happens to raise.
        raise InputError(f"face model file {path} cannot be read ({error}); {_REMEDY}") from error


def _check_forms(arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays that are something else than their names say."""
    for key, (dimensions, kinds) in _FORMS.items():
        if key not in arrays:
            continue  # named where it is used
        array = arrays[key]
        # An array without elements, such as no unit names, has any kind.
        if array.ndim != dimensions or (array.size and array.dtype.kind not in kinds):
            raise ValueError(f"{key} is an array {array.shape} of {array.dtype}")


def _fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """Hash of what gives coefficients their meaning, the same for all levels and regions."""
    if "fingerprint" in arrays:
        return str(arrays["fingerprint"])
    keys = (*_CONTROL_KEYS, "albedo_basis_int8", "albedo_scale")
    return array_fingerprint(*(arrays[key] for key in keys))


def _face_alone(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut the head away from a file's arrays, in all of which the face comes first."""
    vertices, controls, triangles, quads, coarse = (
        int(arrays[f"face_{count}"]) for count in _FACE_COUNTS
    )
    lengths = {
        **dict.fromkeys(_CONTROL_KEYS, controls),
        **dict.fromkeys(("mean_albedo", "albedo_basis_int8", "skin_mask"), vertices),
        **dict.fromkeys(("triangles", "uv_triangles"), triangles),
        **dict.fromkeys(("quads", "uv_quads"), quads),
        **dict.fromkeys(("coarse_triangles", "coarse_uv_triangles"), coarse),
        **{key: vertices for key in arrays if key.startswith("region_")},
    }
    face = dict(arrays)
    for key in lengths.keys() & arrays.keys():
        face[key] = arrays[key][: lengths[key]]
    indptr = arrays["subdivision_indptr"][: vertices + 1]
    face["subdivision_indptr"] = indptr
    for key in ("subdivision_data", "subdivision_indices"):
        face[key] = arrays[key][: indptr[-1]]
    return face


def _decode(arrays: dict[str, np.ndarray], fingerprint: str) -> FaceModelData:
    control = [arrays[key].astype(np.float32) for key in _CONTROL_KEYS]
    vertices = len(arrays["subdivision_indptr"]) - 1
    subdivision = csr_matrix(
        (
            arrays["subdivision_data"].astype(np.float32),
            arrays["subdivision_indices"],
            arrays["subdivision_indptr"],
        ),
        shape=(vertices, control[0].shape[0]),
    )
    # SciPy trusts the indices of a product, and would read outside the arrays.
    subdivision.check_format(full_check=True)
    mean_shape, identity, expression = (
        np.asarray(subdivision @ part.reshape(part.shape[0], -1)).reshape(vertices, *part.shape[1:])
        for part in control
    )
    regions = {
        key.removeprefix("region_"): arrays[key].astype(bool)
        for key in sorted(arrays)
        if key.startswith("region_")
    }
    if wrong := [name for name, region in regions.items() if region.shape != (vertices,)]:
        raise ValueError(f"region_{wrong[0]} is not one value for each of {vertices} vertices")
    unchanged: dict[str, Any] = {
        key: arrays[key]
        for key in (*_MESH_KEYS, *_SMALL_KEYS)
        if key in arrays or key not in _OPTIONAL
    }
    albedo_basis = arrays["albedo_basis_int8"] * arrays["albedo_scale"].astype(np.float32)
    return FaceModelData(
        name=str(arrays["name"]),
        version=str(arrays["version"]),
        licence=str(arrays["licence"]),
        mean_shape=mean_shape,
        identity_basis=identity,
        expression_basis=expression,
        mean_albedo=arrays["mean_albedo"].astype(np.float32),
        albedo_basis=albedo_basis.astype(np.float32),
        unit_names=tuple(str(name) for name in arrays["unit_names"]),
        regions=regions,
        parities={
            block: arrays[key].astype(np.int64)
            for block, key in _PARITY_KEYS.items()
            if key in arrays
        },
        contour=_contour(arrays),
        natural_expression=_natural_expression(arrays),
        fingerprint=fingerprint,
        **unchanged,
    )


def _contour(arrays: dict[str, np.ndarray]) -> MovingContour | None:
    if "contour_vertices" not in arrays:
        return None
    return MovingContour(*(arrays[f"contour_{key}"] for key in _CONTOUR_KEYS))


def _natural_expression(arrays: dict[str, np.ndarray]) -> NaturalExpression | None:
    if "natural_expression_mean" not in arrays:
        return None
    return NaturalExpression(*(arrays[f"natural_expression_{key}"] for key in _NATURAL_KEYS))
