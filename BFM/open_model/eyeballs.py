"""The open head's eyeballs: dense caps that follow MakeHuman's coarse ones.

Each has four control points, its centre and the centre moved by the radius along each axis, so
that rotations, translations and scale of MakeHuman's helper vertices are reproduced exactly.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.spatial.transform import Rotation

from util.point_fits import fit_sphere

from .source import LEFT_EYE_HELPER, RIGHT_EYE_HELPER

# MakeHuman's eyeballs have a radius of 15.4 mm; pupil and iris keep their anatomical radii of
# 2.2 and 5.9 mm, and a ring on either side keeps their edges sharp. The cap reaches so far back
# that a sideways look shows no hole.
PUPIL_DEG, LIMBUS_DEG = 8.2, 22.5
EYE_RINGS_DEG = [7.0, 9.6, 13.5, 18.0, 21.4, 24.0, 28.5, 37.0, 50.0, 70.0, 100.0]
EYE_SECTORS = [8, 16, 16, 32, 32, 32, 32, 32, 32, 32, 32]
# The sphere is larger than an eye, of 12 mm, and lies so near below the skin that cheeks which rise
# in a smile would sink into it, below the eye and towards its outer corner. There, behind the lower
# lid, the cap is drawn in: shares of the radius at these angles.
DRAWN_IN_DEG = [24.0, 28.5, 37.0, 50.0, 70.0, 100.0]
DRAWN_IN = [1.0, 0.965, 0.91, 0.86, 0.82, 0.80]
DRAWN_IN_TOWARDS = np.array([-0.5, -0.87])  # +x is the nose's side, +y up
# Rings, and of these every how manieth vertex, that the coarse mesh keeps.
COARSE_EYE_RINGS = {0: 1, 2: 2, 4: 2, 6: 2, 8: 2, 10: 2, 11: 2}
# MakeHuman's eyes look straight ahead while its lids hang low: pupils would touch the upper lid,
# 2 mm above the middle of the opening. So they are 1 mm above it, as those of people.
LOOK_DOWN_DEG = 4.0
CONTROLS = 4  # control points of an eyeball


@dataclass(frozen=True)
class EyeballPatch:
    """A dense cap on a unit sphere that looks along +z, with an edge that may lie deeper.

    Attributes:
        points: (N, 3) on the unit sphere, or inside; row 0 is the pole.
        rings: the points of each ring, from the pole outwards; point 0 of a ring lies on +x.
        triangles: (T, 3) counter-clockwise seen from outside.
        polar_rad: (N,) angle from the pole.
    """

    points: np.ndarray
    rings: list[np.ndarray]
    triangles: np.ndarray
    polar_rad: np.ndarray


def eyeball_patch(rings_rad: list[float], sectors: list[int]) -> EyeballPatch:
    """Builds the cap from rings at the given polar angles; the pole has ``sectors[0]`` triangles.

    A ring has as many sectors as the one inside it, or twice as many. Doubling towards the outside
    keeps the valence at 8 or below everywhere.
    """
    points = [np.array([[0.0, 0.0, 1.0]])]
    polar, rings = [np.zeros(1)], [np.array([0])]
    for angle, count in zip(rings_rad, sectors, strict=True):
        turn = 2 * np.pi * np.arange(count) / count
        radius, height = np.sin(angle), np.full(count, np.cos(angle))
        rings.append(rings[-1][-1] + 1 + np.arange(count))
        points.append(np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1))
        polar.append(np.full(count, angle))
    return EyeballPatch(np.concatenate(points), rings, cap_triangles(rings), np.concatenate(polar))


def cap_triangles(rings: list[np.ndarray]) -> np.ndarray:
    """Triangles (T, 3) between rings of vertices, the first of which is a single one, the pole.

    Each ring has as many vertices as the one inside it or twice as many, and starts beside it.
    """
    triangles: list[tuple[int, int, int]] = []
    for inner, outer in itertools.pairwise(rings):
        ratio = len(outer) // len(inner)
        for i, here in enumerate(outer):
            after = outer[(i + 1) % len(outer)]
            inside = inner[i // ratio]
            triangles.append((inside, here, after))
            if len(inner) > 1 and i % ratio == ratio - 1:
                triangles.append((inside, after, inner[(i // ratio + 1) % len(inner)]))
    return np.array(triangles)


def open_model_patch() -> EyeballPatch:
    """The cap of the open model, with edges along pupil and iris."""
    patch = eyeball_patch(list(np.radians(EYE_RINGS_DEG)), EYE_SECTORS)
    share = np.interp(np.degrees(patch.polar_rad), DRAWN_IN_DEG, DRAWN_IN)
    aside = patch.points[:, :2] @ DRAWN_IN_TOWARDS / np.sin(patch.polar_rad).clip(1e-9)
    there = np.interp(aside, [0.5, 0.85], [0.0, 1.0])
    return replace(patch, points=(1 - there * (1 - share))[:, None] * patch.points)


def coarse_cap_triangles(patch: EyeballPatch) -> np.ndarray:
    """Triangles (T, 3) of the cap of the coarse mesh, over some of the points of the fine one."""
    return cap_triangles([patch.rings[ring][::step] for ring, step in COARSE_EYE_RINGS.items()])


def both_eyes(triangles: np.ndarray, patch: EyeballPatch, first: int) -> np.ndarray:
    """Triangles of the right eyeball, whose vertices start at ``first``, and of the left one.

    The left one is the mirror image, so that it is wound the other way round.
    """
    return np.concatenate([triangles, triangles[:, ::-1] + len(patch.points)]) + first


def helper_vertices(positions: np.ndarray) -> np.ndarray:
    """The helper vertices of both eyeballs, right first: (..., 19158, 3) -> (..., 144, 3)."""
    eyes = [positions[..., RIGHT_EYE_HELPER, :], positions[..., LEFT_EYE_HELPER, :]]
    return np.concatenate(eyes, axis=-2)


def eye_frames(reference: np.ndarray) -> np.ndarray:
    """Weights (8, 144) of the helper vertices that give the control points, right eye first.

    On the reference (19158, 3) they are a sphere's centre and its points along the axes; else they
    follow the least-squares affine map of each eye's 72 helper vertices.
    """
    weights = np.zeros((2 * CONTROLS, 144))
    for eye, helpers in enumerate((RIGHT_EYE_HELPER, LEFT_EYE_HELPER)):
        points = reference[helpers]
        sphere = fit_sphere(points)
        frame = np.concatenate([sphere.centre[None], sphere.centre + sphere.radius * np.eye(3)])
        homogeneous = np.concatenate([np.ones((len(points), 1)), points], axis=1)
        targets = np.concatenate([np.ones((CONTROLS, 1)), frame], axis=1)
        rows = slice(CONTROLS * eye, CONTROLS * (eye + 1))
        columns = slice(len(points) * eye, len(points) * (eye + 1))
        weights[rows, columns] = targets @ np.linalg.pinv(homogeneous)
    return weights


def cap_rows(patch: EyeballPatch) -> np.ndarray:
    """Weights (2 N, 8) of the control points that give the caps, the right one first.

    Both look down a little.
    """
    turned = Rotation.from_euler("x", LOOK_DOWN_DEG, degrees=True).apply(patch.points)
    blocks = []
    for side in (1.0, -1.0):
        axes = turned * np.array([side, 1, 1])
        blocks.append(np.concatenate([1 - axes.sum(axis=1, keepdims=True), axes], axis=1))
    return sp.block_diag(blocks).toarray()
