"""Read ICT-FaceKit (the light ICT face model) and make a native face model file of it.

What its folder FaceXModel holds, all meshes with the same 26,719 vertices in centimetres:

    generic_neutral_mesh.obj           the mean face: vertices, quads, texture coordinates
    identity000.obj ... 099.obj        the mean face moved by one standard deviation of each mode
    browDown_L.obj ... noseSneer_R.obj the mean face with one of 53 expressions, ARKit's names
    vertex_indices.json                "expressions": their names, in order

Kept are the narrow face area (vertices 0 to 6705) and the eyeballs: what the open face model has
too, whose albedo is laid over this mesh, since ICT-FaceKit brings none. Its wide face area adds
ears, cranium and part of the neck, for which no albedo is there and which photographs hide
under hair. 80 of the 100 modes remain; they hold 99.5 % of the variance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.landmarks import five_from_68
from models.face_model import FaceModelData
from util.errors import InputError
from util.model_files.face_model_file import read_made_of, write_face_model
from util.model_files.face_transfer import (
    origin_fingerprint,
    paper_size,
    place_like,
    transfer_appearance,
)
from util.model_files.file_kind import foreign_kind
from util.model_files.ict_folder import INDEX, NEUTRAL, REMEDY
from util.text import decode_text

NAME = "ict"
LICENCE = "MIT (ICT-FaceKit); albedo CC0-1.0 (open face model)"
CONVERTER_VERSION = 3
"""Raised whenever the same meshes become another model."""

_DM_PER_CM = 0.1
_EYE_CORNER = 0.1
"""Part of the texture below and left of the face."""
_UNIT_RMS = 0.3
"""Strength of an expression that counts as its standard deviation; full strength is 1."""
_LARGE = 0.9
"""Part of an eigenvector's largest entry."""
_BOTH_SIDES = ("browInnerUp", "cheekPuff")
"""What ARKit has as one unit and ICT-FaceKit has for each side."""

# iBUG order, image left first; for the jaw the substitutes that its authors give (0 to 7, 9 to 16),
# since their Multi-PIE points lie inside the cheek.
_JAW = (
    *(1278, 1272, 12, 1834, 243, 781, 2199, 1447, 966),
    *(3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496),
)
_INNER = (
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509),
    *(978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),
    *(1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732),
    *(5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841),
    *(5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),
)


@dataclass(frozen=True)
class IctLayout:
    """Where things lie in the published meshes."""

    vertices: int = 26719
    face: tuple[int, int] = (0, 6706)
    """First vertex of the part, and the one after its last."""
    eyeballs: tuple[int, int] = (21451, 24591)
    landmarks: tuple[int, ...] = (*_JAW, *_INNER)
    identities: int = 80
    """Modes that are read; there are 100."""


PUBLISHED = IctLayout()


def convert_ict(
    folder: Path, target: Path, donor: FaceModelData, layout: IctLayout = PUBLISHED
) -> None:
    """Convert a FaceXModel folder, with a progress bar; takes seconds to a minute.

    Args:
        folder: holds the meshes.
        target: the native `.npz` to write; appears only when it is complete.
        donor: the open face model, which gives the albedo.
        layout: of the meshes.

    Raises:
        InputError: a file is missing, something else, cut short, or of another version.
    """
    write_face_model(target, read_ict(folder, donor, layout), _made_of(donor))


def is_stale(path: Path, donor: FaceModelData) -> bool:
    """Whether a converted file is of another donor, or of another version of this converter.

    A file that cannot be read is not stale: what is wrong with it, its reader says.
    """
    return read_made_of(path) not in (_made_of(donor), None)


def _made_of(donor: FaceModelData) -> str:
    """What a converted file depends on beside the meshes."""
    regions = (mask for _, mask in sorted(donor.regions.items()))
    surface = (donor.triangles, donor.front_triangles, donor.landmark_vertices)
    numbers = (donor.landmark_barycentrics, donor.alignment_points)
    colours = (donor.mean_albedo, donor.skin_mask, donor.albedo_sigma)
    parts = origin_fingerprint(donor, *surface, *numbers, *colours, *regions)
    return f"{NAME} {CONVERTER_VERSION}, {donor.name} {parts}"


def check_ict(folder: Path, layout: IctLayout = PUBLISHED) -> str:
    """See that a FaceXModel folder has all files, and that one mesh is as it should be.

    Returns:
        What it holds.

    Raises:
        InputError: as `convert_ict`.
    """
    names = _expression_names(folder)
    _find_meshes(folder, (*_identity_names(layout), *names))
    _read_vertices(folder / NEUTRAL, layout)
    return f"ICT-FaceKit with {len(names)} expressions"


def read_ict(folder: Path, donor: FaceModelData, layout: IctLayout = PUBLISHED) -> FaceModelData:
    """Read a FaceXModel folder; see `convert_ict`."""
    names = _expression_names(folder)
    identities = _identity_names(layout)
    _find_meshes(folder, (*identities, *names))
    kept = np.r_[slice(*layout.face), slice(*layout.eyeballs)]
    neutral, triangles, uv = _read_mesh(folder / NEUTRAL, layout)
    meshes = {}
    for name in tqdm((*identities, *names), unit="mesh", desc=f"ICT-FaceKit from {folder}"):
        moved = _read_vertices(folder / f"{name}.obj", layout)
        meshes[name] = _DM_PER_CM * (moved - neutral)[kept]
    number = np.full(layout.vertices, -1)
    number[kept] = np.arange(len(kept))
    triangles = number[triangles]
    triangles = triangles[(triangles >= 0).all(axis=1)].astype(np.int32)
    if not len(triangles):
        raise InputError(f"{folder / NEUTRAL} has no faces on the face itself; {REMEDY}")
    landmarks = number[list(layout.landmarks)].astype(np.int32)
    eyeballs = kept >= layout.eyeballs[0]

    data = assemble_ict(
        _DM_PER_CM * neutral[kept],
        np.stack([meshes[name] for name in identities], axis=-1),
        {name: meshes[name] for name in names},
        triangles,
        landmarks,
        eyeballs,
        donor,
    )
    return replace(data, uv=None if uv is None else _one_picture(uv[kept], eyeballs))


def assemble_ict(
    mean: np.ndarray,
    identity: np.ndarray,
    units: dict[str, np.ndarray],
    triangles: np.ndarray,
    landmarks: np.ndarray,
    eyeballs: np.ndarray,
    donor: FaceModelData,
) -> FaceModelData:
    """Put the parts of ICT-FaceKit together and add the donor's albedo.

    Args:
        mean: (V, 3) decimetres.
        identity: (V, 3, K) decimetres a standard deviation.
        units: displacement (V, 3) of each expression at full strength, by its name in the files.
        triangles: (F, 3)
        landmarks: (68,) vertices.
        eyeballs: (V,) bool.
        donor: the open face model.
    """
    moves = np.stack(list(units.values()))
    fingerprint = origin_fingerprint(donor, mean, identity, moves)
    points = mean[landmarks]
    mean = mean + place_like(donor, points)
    points = mean[landmarks]
    appearance = transfer_appearance(donor, mean, points, eyeballs)
    basis, coefficients = expression_components(moves)
    names, matrix = _arkit_units(list(units), coefficients)
    front = appearance.front | eyeballs
    return FaceModelData(
        name=NAME,
        version=f"light 2020, albedo of {donor.name} {donor.version}",
        licence=LICENCE,
        mean_shape=mean.astype(np.float32),
        identity_basis=paper_size(identity, "identity"),
        expression_basis=paper_size(basis, "expression"),
        mean_albedo=appearance.mean_albedo,
        albedo_basis=appearance.albedo_basis,
        identity_sigma=np.ones(80, np.float32),
        expression_sigma=np.ones(64, np.float32),
        albedo_sigma=donor.albedo_sigma,
        triangles=triangles,
        landmark_vertices=np.repeat(landmarks[:, None], 3, axis=1),
        landmark_barycentrics=np.tile(np.array([1, 0, 0], np.float32), (len(landmarks), 1)),
        skin_mask=appearance.skin_mask,
        front_triangles=triangles[front[triangles].all(axis=1)],
        alignment_points=five_from_68(points).astype(np.float32),
        unit_names=names,
        unit_matrix=matrix,
        regions={"eyeballs": eyeballs},
        fingerprint=fingerprint,
    )


def expression_components(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Components of expression units, so that units come back exactly and zero is neutral.

    For units D (U, 3V) with independent strengths of rms s, the covariance is s^2 D' D. With the
    eigenvectors of D D' = W S^2 W', components of one standard deviation are B = s W' D, and
    D = (W / s) B.

    Args:
        units: (U, V, 3) displacements at full strength.

    Returns:
        Basis (V, 3, U), strongest first; coefficients (U, U) of each unit.
    """
    flat = units.reshape(len(units), -1).astype(np.float64)
    _, vectors = np.linalg.eigh(flat @ flat.T)
    vectors = vectors[:, ::-1]
    # Eigenvectors have no sign of their own. The first of the large entries gives it, since those
    # of left and right are equally large, up to rounding.
    sizes = np.abs(vectors)
    first = (sizes > _LARGE * sizes.max(axis=0)).argmax(axis=0)
    vectors = vectors * np.sign(vectors[first, np.arange(len(units))])
    basis = _UNIT_RMS * vectors.T @ flat
    return np.moveaxis(basis.reshape(units.shape), 0, -1), vectors / _UNIT_RMS


def _arkit_units(names: list[str], coefficients: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """ARKit's 52 names with their coefficients (units, 64), and the two that come in halves.

    `eyeBlink_L` is ARKit's eyeBlinkLeft. browInnerUp and cheekPuff are the sums of their halves,
    which keep ICT-FaceKit's names. There is no tongue: tongueOut moves nothing.
    """
    rows = {}
    for name, row in zip(names, coefficients, strict=True):
        whole = name.removesuffix("_L").removesuffix("_R")
        if whole in _BOTH_SIDES:
            rows[whole] = rows.get(whole, 0) + row
            rows[name] = row
        else:
            side = {"_L": "Left", "_R": "Right"}.get(name[-2:], "")
            rows[whole + side] = row
    rows.setdefault("tongueOut", np.zeros(coefficients.shape[1]))
    matrix = np.zeros((len(rows), 64), np.float32)
    matrix[:, : coefficients.shape[1]] = np.stack(list(rows.values()))
    return tuple(rows), matrix


def _expression_names(folder: Path) -> list[str]:
    path = folder / INDEX
    if not path.is_file():
        raise InputError(f"{path} does not exist; {REMEDY}")
    if kind := foreign_kind(path):
        raise InputError(f"{path} is {kind}; {REMEDY}")
    try:
        names = json.loads(decode_text(path.read_bytes()))["expressions"]
        # Eyelids and pupils that later versions add would not fit.
        if not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("expressions is no list of names")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} does not name the expressions ({error}); {REMEDY}") from error
    if not 1 <= len(names) <= 64:
        raise InputError(
            f"{path} names {len(names)} expressions, where the light model has 53; {REMEDY}"
        )
    return names


def _identity_names(layout: IctLayout) -> list[str]:
    return [f"identity{number:03d}" for number in range(layout.identities)]


def _find_meshes(folder: Path, names: Sequence[str]) -> None:
    """See that meshes are there, before the first of them, which are read for seconds, is."""
    missing = [name for name in names if not (folder / f"{name}.obj").is_file()]
    if missing:
        count = f"{len(missing)} of {len(names)} meshes are missing"
        raise InputError(f"{folder / missing[0]}.obj does not exist ({count}); {REMEDY}")


def _one_picture(uv: np.ndarray, eyeballs: np.ndarray) -> np.ndarray:
    """Texture coordinates (V, 2) without overlap.

    Those of an eyeball cover the whole picture, as they are meant for one of their own; they are
    shrunk into a corner that the face leaves free.
    """
    uv = uv.copy()
    uv[eyeballs] *= _EYE_CORNER
    return uv.clip(0, 1).astype(np.float32)


def _read_mesh(path: Path, layout: IctLayout) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Vertices (V, 3), triangles (F, 3) and texture coordinates (V, 2) of an OBJ file of quads.

    A vertex at a seam has several coordinates and keeps the first; the face has no seam, and the
    eyeballs have theirs out of sight.
    """
    vertices = _read_vertices(path, layout)
    triangles, of_vertex, coordinates = [], np.full(layout.vertices, -1), []
    try:
        for line in path.read_bytes().splitlines():
            kind, *words = line.split() or [b""]
            if kind == b"vt":
                coordinates.append((float(words[0]), float(words[1])))
            elif kind == b"f":
                corners = [word.split(b"/") for word in words]
                first, *others = (int(corner[0]) - 1 for corner in corners)
                triangles += [(first, *edge) for edge in pairwise(others)]
                for corner in corners:
                    vertex = int(corner[0]) - 1
                    if not 0 <= vertex < layout.vertices:
                        raise ValueError(f"there is no vertex {corner[0].decode()}")
                    if len(corner) > 1 and corner[1] and of_vertex[vertex] < 0:
                        of_vertex[vertex] = int(corner[1]) - 1
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} has a face that is none ({error}); {REMEDY}") from error
    faces = np.array(triangles, np.int64).reshape(-1, 3)
    if not coordinates or of_vertex.max() >= len(coordinates):
        return vertices, faces, None
    return vertices, faces, np.array(coordinates)[of_vertex.clip(0)]


def _read_vertices(path: Path, layout: IctLayout) -> np.ndarray:
    """Vertices (V, 3) float64 of an OBJ file, in its unit."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; {REMEDY}")
    if kind := foreign_kind(path):
        raise InputError(f"{path} is {kind}; {REMEDY}")
    lines = [line[2:] for line in path.read_bytes().splitlines() if line.startswith(b"v ")]
    try:
        vertices = np.array(b" ".join(lines).split(), np.float64).reshape(len(lines), 3)
    except ValueError as error:
        raise InputError(
            f"{path} has a vertex that is not three numbers ({error}): damaged or cut short; "
            f"{REMEDY}"
        ) from error
    if len(vertices) != layout.vertices or not np.isfinite(vertices).all():
        raise InputError(
            f"{path} holds {len(vertices)} vertices, expected {layout.vertices} finite ones: cut "
            f"short, or of another model; {REMEDY}"
        )
    return vertices
