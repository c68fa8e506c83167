"""Read the Basel Face Models of 2017 and 2019 as their `.h5` files have them.

The files are HDF5 in the layout of statismo, version 0.9. For each of shape, expression, color:

    <part>/model/mean (3V)           millimetres; colours in [0, 1]
    <part>/model/pcaBasis (3V, K)    orthonormal components
    <part>/model/pcaVariance (K)     their variances
    shape/representer/points (3, V), cells (3, F)    the mesh
    metadata/landmarks/json          named points of the mean face: [{"id", "coordinates"}, ...]

All components are read, 199 of shape, 100 of expression and 199 of colour in the published files:
the R-Net gets heads of these sizes. Read are the files of the face alone, "face12". As with bfm09
the mean of the expressions is left out, so that zero is the neutral face. There are no 68
landmarks: 23 of the named points fix the open face model's over this mean face, which gives the
others (see `util.model_files.face_transfer`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.landmarks import five_from_68
from models.face_model import FaceModelData, array_fingerprint
from util.errors import InputError
from util.model_files.bfm_releases import RELEASES, BfmRelease
from util.model_files.face_transfer import place_like, transfer_appearance, transfer_landmarks
from util.model_files.file_kind import foreign_kind

_MM_PER_DM = 100.0
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LICENCE = "Basel Face Model {year}, non-commercial, given by the University of Basel on request"


NAMED_POINTS: dict[tuple[int, ...], tuple[str, ...]] = {
    (8,): ("center.chin.tip",),
    (21,): ("right.eyebrow.inner_lower", "right.eyebrow.inner_upper"),
    (22,): ("left.eyebrow.inner_lower", "left.eyebrow.inner_upper"),
    (30,): ("center.nose.tip",),
    (31,): ("right.nose.wing.tip",),
    (33,): ("center.nose.attachement_to_philtrum",),
    (35,): ("left.nose.wing.tip",),
    (36,): ("right.eye.corner_outer",),
    (39,): ("right.eye.corner_inner",),
    (42,): ("left.eye.corner_inner",),
    (45,): ("left.eye.corner_outer",),
    (37, 38): ("right.eye.top",),
    (40, 41): ("right.eye.bottom",),
    (43, 44): ("left.eye.top",),
    (46, 47): ("left.eye.bottom",),
    (48,): ("right.lips.corner",),
    (50,): ("right.lips.philtrum_ridge",),
    (51,): ("center.lips.upper.outer",),
    (52,): ("left.lips.philtrum_ridge",),
    (54,): ("left.lips.corner",),
    (57,): ("center.lips.lower.outer",),
    (62,): ("center.lips.upper.inner",),
    (66,): ("center.lips.lower.inner",),
}
"""iBUG landmarks (the middle of several) -> the named points in whose middle they lie; right is the
person's right, so the image's left."""
_NEEDED = ((30,), (36,), (39,), (42,), (45,), (48,), (54,))
"""Without these the others cannot be laid."""


def read_bfm_h5(
    path: Path,
    donor: FaceModelData,
    releases: tuple[BfmRelease, ...] = RELEASES,
    relatives: tuple[BfmRelease, ...] = RELEASES,
) -> tuple[FaceModelData, str]:
    """Read a Basel Face Model of 2017 or 2019.

    Args:
        path: the `.h5`.
        donor: the open face model, whose landmarks, skin and front region are laid over it.
        releases: which it may be.
        relatives: which else it is named as.

    Returns:
        The model; and a clause that says where it is from.

    Raises:
        InputError: the file is missing, something else, damaged, or of another mask or year; or
            h5py is not installed.
    """
    remedy = releases[0].remedy if len(releases) == 1 else " or ".join(r.remedy for r in releases)
    arrays, landmarks = _read_arrays(path, remedy)
    try:
        release = _release(path, arrays, releases, relatives)
        known = _known_points(landmarks)
        # Numbers that are not finite are no warning here: a face model refuses them by name.
        with np.errstate(all="ignore"):
            data = _decode(arrays, known, release, donor)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise InputError(
            f"{path} is no Basel Face Model of 2017 or 2019 ({error}); {remedy}"
        ) from error
    return data, (f"from {path} with landmarks laid over it by {len(known)} of its named points")


def _release(
    path: Path,
    arrays: dict[str, np.ndarray],
    releases: tuple[BfmRelease, ...],
    relatives: tuple[BfmRelease, ...],
) -> BfmRelease:
    vertices = arrays["shape/model/mean"].size // 3
    for release in releases:
        if vertices == release.vertices:
            return release
    for release in relatives:
        if vertices in release.others:
            raise InputError(
                f"{path} has {vertices} vertices, as {release.others[vertices]} has, which shows "
                f"more than the face; take the file of the same page that is cut to it: "
                f"{release.remedy}"
            )
        if vertices == release.vertices:
            raise InputError(
                f"{path} is the model of {release.year}; give --face_model {release.name}"
            )
    expected = " or ".join(str(release.vertices) for release in releases)
    raise ValueError(f"it has {vertices} vertices, expected {expected}")


def _decode(
    arrays: dict[str, np.ndarray],
    known: dict[tuple[int, ...], np.ndarray],
    release: BfmRelease,
    donor: FaceModelData,
) -> FaceModelData:
    mean = arrays["shape/model/mean"].astype(np.float64).reshape(-1, 3) / _MM_PER_DM
    vertices = len(mean)
    triangles = arrays["shape/representer/cells"].astype(np.int64)
    if triangles.ndim == 2 and triangles.shape[0] == 3:
        triangles = triangles.T
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not triangles.size:
        raise ValueError(f"shape/representer/cells is {triangles.shape}, expected (3, F)")
    if not 0 <= triangles.min() <= triangles.max() < vertices:
        raise ValueError(f"shape/representer/cells must index its {vertices} vertices")
    triangles = np.ascontiguousarray(triangles, np.int32)
    identity = _basis(arrays, "shape", vertices) / np.float32(_MM_PER_DM)
    expression = _basis(arrays, "expression", vertices) / np.float32(_MM_PER_DM)
    colours = _basis(arrays, "color", vertices)
    mean_albedo = arrays["color/model/mean"].astype(np.float32)
    if mean_albedo.size != 3 * vertices:
        raise ValueError(f"color/model/mean holds {mean_albedo.size} numbers for {vertices} points")
    if not np.isfinite(mean).all():
        raise ValueError("shape/model/mean holds numbers that are not finite")

    found = transfer_landmarks(donor, mean, triangles, known)
    points = found.mix(mean)
    shift = place_like(donor, points)
    mean, points = mean + shift, points + shift
    appearance = transfer_appearance(donor, mean, points)
    return FaceModelData(
        name=release.name,
        version=release.year,
        licence=_LICENCE.format(year=release.year),
        mean_shape=mean.astype(np.float32),
        identity_basis=identity,
        expression_basis=expression,
        mean_albedo=mean_albedo.reshape(-1, 3),
        albedo_basis=colours,
        # The bases are multiplied by the standard deviations already.
        identity_sigma=np.ones(identity.shape[2], np.float32),
        expression_sigma=np.ones(expression.shape[2], np.float32),
        albedo_sigma=np.ones(colours.shape[2], np.float32),
        triangles=triangles,
        landmark_vertices=found.corners.astype(np.int32),
        landmark_barycentrics=found.barycentrics.astype(np.float32),
        skin_mask=appearance.skin_mask,
        front_triangles=triangles[appearance.front[triangles].all(axis=1)],
        alignment_points=five_from_68(points).astype(np.float32),
        # Of the numbers in the file: where the open model puts it must not change what it is.
        fingerprint=array_fingerprint(
            arrays["shape/model/mean"].astype(np.float32),
            *(identity, expression, colours),
        ),
    )


def _basis(arrays: dict[str, np.ndarray], part: str, vertices: int) -> np.ndarray:
    """Components (V, 3, K) float32 of one standard deviation."""
    basis, variance = arrays[f"{part}/model/pcaBasis"], arrays[f"{part}/model/pcaVariance"].ravel()
    if basis.shape != (3 * vertices, len(variance)):
        raise ValueError(
            f"{part}/model/pcaBasis is {basis.shape}, expected {(3 * vertices, len(variance))}"
        )
    if not (variance >= 0).all():
        raise ValueError(f"{part}/model/pcaVariance holds numbers that are no variances")
    scaled = basis.astype(np.float32) * np.sqrt(variance).astype(np.float32)
    return scaled.reshape(vertices, 3, -1)


def _known_points(landmarks: Any) -> dict[tuple[int, ...], np.ndarray]:
    """Landmarks (or middles of several) -> point (3,) in decimetres."""
    points = {
        str(entry["id"]): np.array(entry["coordinates"], np.float64) / _MM_PER_DM
        for entry in landmarks
    }
    known = {
        numbers: np.mean([points[name] for name in names], axis=0)
        for numbers, names in NAMED_POINTS.items()
        if all(name in points for name in names)
    }
    if missing := [numbers for numbers in _NEEDED if numbers not in known]:
        names = ", ".join(NAMED_POINTS[numbers][0] for numbers in missing)
        raise ValueError(f"metadata/landmarks/json lacks {names}")
    if any(point.shape != (3,) or not np.isfinite(point).all() for point in known.values()):
        raise ValueError("metadata/landmarks/json has a point that is not three numbers")
    return known


def _read_arrays(path: Path, remedy: str) -> tuple[dict[str, np.ndarray], Any]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    with path.open("rb") as file:
        is_hdf5 = file.read(len(_HDF5)) == _HDF5
    if not is_hdf5:
        kind = foreign_kind(path) or "no HDF5 file, as .h5 files are"
        raise InputError(f"{path} is {kind}; {remedy}")
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path} needs the package h5py, which is not installed; install it with: "
            "pip install .[bfm]"
        ) from error
    names = ["shape/model/mean", "color/model/mean", "shape/representer/cells"]
    for part in ("shape", "expression", "color"):
        names += [f"{part}/model/pcaBasis", f"{part}/model/pcaVariance"]
    try:
        with h5py.File(path, "r") as file:
            if missing := [name for name in (*names, _LANDMARKS) if name not in file]:
                found = ", ".join(sorted(file)[:6]) or "nothing"
                raise InputError(f"{path} lacks {missing[0]} and holds {found}; {remedy}")
            arrays = {name: np.asarray(file[name]) for name in names}
            landmarks = json.loads(_text(np.asarray(file[_LANDMARKS])))
    except InputError:
        raise
    except Exception as error:
        # A damaged file fails anywhere in the HDF5 library, with what that part raises.
        raise InputError(f"{path} is damaged or cut short ({error}); {remedy}") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise InputError(f"{path}: {name} is no array of numbers; {remedy}")
    return arrays, landmarks


_LANDMARKS = "metadata/landmarks/json"


def _text(array: np.ndarray) -> str:
    """The text of a dataset: one string, or its bytes one by one."""
    value = array.tobytes() if array.dtype.kind in "Siu" else array.ravel()[0]
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.rstrip("\0")  # by which a string of fixed length is filled up
