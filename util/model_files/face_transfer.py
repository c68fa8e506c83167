"""Give a face model what its files lack: albedo, masks and landmarks of the open face model.

Models that people download often hold geometry alone. Their mean face is laid over the mean face
of a donor, which has everything:

1. a similarity carries the landmarks that both have as near as it can;
2. a smooth warp (thin-plate spline) closes what is left, so that lips meet lips;
3. eyeballs are laid sphere on sphere, or lids that differ would make ellipses of irises;
4. every vertex takes the values of the donor's nearest surface point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RBFInterpolator

from data.landmarks import five_from_68
from models.face_model import FaceModelData, array_fingerprint
from models.landmarks import INNER, NOSE_TIP
from util.point_fits import fit_similarity, fit_sphere
from util.surface import SurfacePoints, nearest_on_surface

PAPER_SIZES = {"identity": 80, "expression": 64, "texture": 80}
"""Basis sizes of the published R-Net."""

_COVERED_DM = 0.12
"""A vertex further from the donor's surface has no counterpart there: neck, ears, scalp."""
_CAVITIES = ("mouth_cavity", "lid_cavity", "mouth_ring")
_EYEBALLS = "eyeballs"
_ICP_POINTS, _ICP_ROUNDS = 1000, 15


@dataclass(frozen=True)
class Appearance:
    """What a mesh takes from a donor. V vertices."""

    mean_albedo: np.ndarray
    """(V, 3) float32."""
    albedo_basis: np.ndarray
    """(V, 3, Kt) float32."""
    skin_mask: np.ndarray
    """(V,) float32."""
    front: np.ndarray
    """(V,) bool: in the region that the photometric term looks at."""


def paper_size(basis: np.ndarray, block: str) -> np.ndarray:
    """Cut or fill up a basis (V, 3, K) to the size of the published R-Net.

    For models whose files hold more than photos show (ICT-FaceKit, FLAME). Components come in the
    order of their variance, so the last ones are left out; where there are too few, components of
    zeros follow, which move nothing. So these models have the published 257 coefficients, at their
    places.
    """
    size = PAPER_SIZES[block]
    result = np.zeros((*basis.shape[:2], size), np.float32)
    kept = min(size, basis.shape[2])
    result[..., :kept] = basis[..., :kept]
    return result


def origin_fingerprint(donor: FaceModelData, *arrays: np.ndarray) -> str:
    """Hash of the numbers of a user's own files, and of the donor that gives the rest.

    What is computed of them (where landmarks are laid, the albedo that is carried over,
    eigenvectors) differs between processors in the last digits, which must not change what a model
    is. Nor must landmark files that come and go (`models.face_model.IdentityCard`).
    """
    given = np.frombuffer(donor.card.fingerprint.encode(), np.uint8)
    return array_fingerprint(*(array.astype(np.float32) for array in arrays), given)


def mean_landmarks(data: FaceModelData) -> np.ndarray:
    """Landmarks (L, 3) of a model's mean face."""
    return shape_landmarks(data, data.mean_shape)


def shape_landmarks(data: FaceModelData, shapes: np.ndarray) -> np.ndarray:
    """Landmarks (..., L, 3) of shapes (..., V, 3) of a model."""
    corners = shapes[..., data.landmark_vertices, :]
    return (corners * data.landmark_barycentrics[..., None]).sum(axis=-2)


def place_like(donor: FaceModelData, landmarks: np.ndarray) -> np.ndarray:
    """The shift (3,) that brings the mean of the five alignment points to the donor's.

    Poses and translations then mean the same for both models.
    """
    return donor.alignment_points.mean(axis=0) - five_from_68(landmarks).mean(axis=0)


def transfer_appearance(
    donor: FaceModelData,
    vertices: np.ndarray,
    landmarks: np.ndarray,
    eyeballs: np.ndarray | None = None,
) -> Appearance:
    """Albedo, skin mask and front region for a mesh.

    Args:
        donor: the open face model.
        vertices: (V, 3) mean face in decimetres, looking along +z.
        landmarks: (68, 3) of it.
        eyeballs: (V,) bool; they take from the donor's eyeballs, all else from its skin. None for
            a mesh whose eyes are part of its skin: it takes what is nearest.
    """
    laid = lay_over(vertices, landmarks[INNER], mean_landmarks(donor)[INNER])
    if eyeballs is not None and _EYEBALLS in donor.regions:
        laid = _with_eyes_laid(donor, vertices, laid, eyeballs, landmarks[NOSE_TIP, 0])
    on_donor = _nearest_of_kind(donor, laid, eyeballs)
    front = np.zeros(len(donor.mean_shape), bool)
    front[donor.front_triangles] = True
    covered = on_donor.distances < _COVERED_DM
    bare = covered if eyeballs is None else covered & ~eyeballs
    return Appearance(
        mean_albedo=on_donor.mix(donor.mean_albedo).clip(0, 1).astype(np.float32),
        albedo_basis=on_donor.mix(donor.albedo_basis).astype(np.float32),
        skin_mask=(on_donor.mix(donor.skin_mask) * bare).astype(np.float32),
        front=front[on_donor.corners].all(axis=1) & covered,
    )


def transfer_landmarks(
    donor: FaceModelData,
    vertices: np.ndarray,
    triangles: np.ndarray,
    known: Mapping[tuple[int, ...], np.ndarray],
) -> SurfacePoints:
    """The 68 landmarks of a mesh that names only some points of the face.

    The donor's landmarks are laid over the mesh by the points that it names; each one that is not
    named itself becomes the nearest point of the surface.

    Args:
        donor: the open face model.
        vertices: (V, 3) mean face in decimetres.
        triangles: (F, 3)
        known: iBUG numbers of landmarks -> the point (3,) in their middle.
    """
    landmarks = mean_landmarks(donor)
    anchors = np.stack([landmarks[list(numbers)].mean(axis=0) for numbers in known])
    laid = lay_over(landmarks, anchors, np.stack(list(known.values())))
    for numbers, point in known.items():
        if len(numbers) == 1:
            laid[numbers[0]] = point
    return nearest_on_surface(laid, vertices, triangles)


def lay_by_eyes_and_nose(
    donor: FaceModelData, vertices: np.ndarray, triangles: np.ndarray, eyes: np.ndarray
) -> np.ndarray:
    """The donor's landmarks (68, 3) over a head of which no landmark is known.

    The centres of the eyeballs and the foremost vertex, which is the tip of the nose, give a first
    similarity; then the donor's skin is brought onto the surface, each of its points to the nearest
    one (iterative closest points, Besl and McKay 1992).

    Args:
        donor: the open face model.
        vertices: (V, 3) mean head that looks along +z.
        triangles: (F, 3)
        eyes: (2, 3) centres of its eyeballs, the image's left one first.
    """
    landmarks, eyeballs = mean_landmarks(donor), donor.regions[_EYEBALLS]
    of_donor = [
        fit_sphere(donor.mean_shape[eyeballs & (side * donor.mean_shape[:, 0] > 0)]).centre
        for side in (-1, 1)
    ]
    source = np.stack([*of_donor, landmarks[NOSE_TIP]]).astype(np.float64)
    target = np.stack([*eyes, vertices[vertices[:, 2].argmax()]])
    skin = donor.mean_shape[donor.skin_mask > 0.5].astype(np.float64)
    skin = skin[:: max(1, len(skin) // _ICP_POINTS)]
    similarity = fit_similarity(source, target)
    for _ in range(_ICP_ROUNDS):
        found = nearest_on_surface(similarity(skin), vertices, triangles)
        near = found.distances <= 2 * np.median(found.distances)
        # The first three points stay in, or a face could glide over a smooth forehead.
        weight = max(1, int(near.sum()) // 30)
        similarity = fit_similarity(
            np.concatenate([skin[near], *[source] * weight]),
            np.concatenate([found.mix(vertices)[near], *[target] * weight]),
        )
    return similarity(landmarks)


def lay_over(points: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Steps 1 and 2: carry points along with source -> target, both (N, 3)."""
    similarity = fit_similarity(source.astype(np.float64), target.astype(np.float64))
    moved = similarity(source)
    warp = RBFInterpolator(moved, target - moved, kernel="thin_plate_spline", smoothing=1e-4)
    laid = similarity(points)
    return laid + warp(laid)


def _with_eyes_laid(
    donor: FaceModelData,
    vertices: np.ndarray,
    laid: np.ndarray,
    eyeballs: np.ndarray,
    middle: float,
) -> np.ndarray:
    """Step 3: eyeballs (V,) beside x = `middle` brought onto the donor's by centre and radius.

    Vertices that make no sphere stay where they are `laid` (V, 3).
    """
    moved = laid.copy()
    of_donor, shape = donor.regions[_EYEBALLS], donor.mean_shape
    for side in (-1, 1):
        own = eyeballs & (side * (vertices[:, 0] - middle) > 0)
        others = shape[of_donor & (side * shape[:, 0] > 0)]
        if all(np.linalg.matrix_rank(p - p[:1], tol=1e-3) == 3 for p in (vertices[own], others)):
            source, target = fit_sphere(vertices[own]), fit_sphere(others)
            scale = target.radius / source.radius
            moved[own] = target.centre + scale * (vertices[own] - source.centre)
    return moved


def _nearest_of_kind(
    donor: FaceModelData, points: np.ndarray, eyeballs: np.ndarray | None
) -> SurfacePoints:
    """Step 4: eyeballs look at eyeballs, skin at skin, never into a cavity."""
    nothing = np.zeros(len(donor.mean_shape), bool)
    of_eyes = np.asarray(donor.regions.get(_EYEBALLS, nothing))[donor.triangles]
    inside = np.any([donor.regions.get(name, nothing) for name in _CAVITIES], axis=0)
    outside = ~inside[donor.triangles].any(axis=1)
    if eyeballs is None or not of_eyes.any():
        kinds = [(np.ones(len(points), bool), outside)]
    else:
        kinds = [(eyeballs, of_eyes.all(axis=1)), (~eyeballs, outside & ~of_eyes.any(axis=1))]
    triangles = np.zeros(len(points), np.int64)
    barycentrics, distances = np.zeros((len(points), 3)), np.zeros(len(points))
    for chosen, usable in kinds:
        numbers = np.flatnonzero(usable)
        found = nearest_on_surface(points[chosen], donor.mean_shape, donor.triangles[numbers])
        triangles[chosen] = numbers[found.triangles]
        barycentrics[chosen], distances[chosen] = found.barycentrics, found.distances
    return SurfacePoints(triangles, donor.triangles[triangles], barycentrics, distances)
