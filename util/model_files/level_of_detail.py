"""A face model's mesh finer or coarser: the same face, the same coefficients, other vertices.

Level 1 is what a file holds. Level 2 subdivides it once more; level 0 keeps only the vertices that
level 1 has from its control mesh.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from models.face_model import CoarserMesh, FaceModelData
from models.landmark_embedding import MovingContour
from util.model_files.subdivision import QuadMesh, bilinear, catmull_clark, cut_refined
from util.surface import nearest_on_surface


@dataclass(frozen=True)
class DetailMesh:
    """What other levels are made of, beside the mesh of level 1. Vertices outside quads stay."""

    quads: np.ndarray
    """(Q, 4) whose triangles are those of level 1, but for `kept_triangles`."""
    kept_triangles: np.ndarray
    """(E, 3) on every finer level the same: eyeballs."""
    coarse_triangles: np.ndarray
    """(F0, 3) of level 0."""
    uv_quads: np.ndarray
    """As `quads`, of texture coordinates."""
    kept_uv_triangles: np.ndarray
    """As `kept_triangles`."""
    coarse_uv_triangles: np.ndarray
    """As `coarse_triangles`."""


def at_level(data: FaceModelData, mesh: DetailMesh, level: int) -> FaceModelData:
    """The model at another level of detail.

    Args:
        data: at level 1.
        mesh: its further meshes.
        level: 0, 1 or 2.
    """
    if level == 1:
        return data
    count = len(data.mean_shape)
    uv, coarser = data.uv, None
    if level == 0:
        used = np.unique(mesh.coarse_triangles)
        number = np.zeros(count, np.int64)
        number[used] = np.arange(len(used))
        moved = mixed = sp.csr_matrix(sp.identity(count))[used]
        triangles = number[mesh.coarse_triangles]
        uv_triangles = mesh.coarse_uv_triangles
    else:
        skin = QuadMesh(mesh.quads, count)
        finer, between = catmull_clark(skin), bilinear(skin)
        moved, mixed = finer.matrix, between.matrix
        triangles = np.concatenate([cut_refined(finer.mesh.quads), mesh.kept_triangles])
        assert uv is not None
        picture = bilinear(QuadMesh(mesh.uv_quads, len(uv)))
        uv = (picture.matrix @ uv).astype(np.float32)
        uv_triangles = np.concatenate([cut_refined(picture.mesh.quads), mesh.kept_uv_triangles])
        # Refining leaves the old vertices and texture coordinates first.
        coarser = CoarserMesh(
            count,
            data.triangles,
            data.landmark_vertices,
            data.landmark_barycentrics,
            data.uv,
            data.uv_triangles,
        )
    in_front = np.zeros(count)
    in_front[np.unique(data.front_triangles)] = 1
    front = mixed @ in_front > 0.99
    refined = replace(
        data,
        mean_shape=_times(moved, data.mean_shape),
        identity_basis=_times(moved, data.identity_basis),
        expression_basis=_times(moved, data.expression_basis),
        mean_albedo=_times(mixed, data.mean_albedo),
        albedo_basis=_times(mixed, data.albedo_basis),
        skin_mask=_times(mixed, data.skin_mask),
        regions={name: mixed @ mask.astype(float) > 0.5 for name, mask in data.regions.items()},
        triangles=triangles.astype(np.int32),
        front_triangles=triangles[front[triangles].all(axis=1)].astype(np.int32),
        uv=uv,
        uv_triangles=uv_triangles.astype(np.int32),
        coarser=coarser,
    )
    return _with_landmarks_of(data, refined)


def _times(matrix: Any, values: np.ndarray) -> np.ndarray:
    flat = matrix.astype(np.float32) @ values.reshape(len(values), -1)
    return np.asarray(flat, np.float32).reshape(-1, *values.shape[1:])


def _with_landmarks_of(data: FaceModelData, refined: FaceModelData) -> FaceModelData:
    """Attach the landmarks where the skin of the other level's mean face comes nearest to them.

    Those between two lids, on no triangle of the mesh, keep their vertices where the other level
    has them all, and go to the nearest lid where it has not.
    """
    skin = refined.triangles
    if "eyeballs" in refined.regions:
        # Eyeballs do not move with the lids.
        skin = skin[~refined.regions["eyeballs"][skin].any(axis=1)]

    def attach(vertices: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.einsum("...k,...kd->...d", weights, data.mean_shape[vertices])
        found = nearest_on_surface(points.reshape(-1, 3), refined.mean_shape, skin)
        corners = found.corners.reshape(vertices.shape).astype(np.int32)
        return corners, found.barycentrics.reshape(weights.shape).astype(np.float32)

    corners, weights = attach(data.landmark_vertices, data.landmark_barycentrics)
    if len(refined.mean_shape) >= len(data.mean_shape):
        between = ~_on_triangles(data.landmark_vertices, data.triangles)
        corners[between] = data.landmark_vertices[between]
        weights[between] = data.landmark_barycentrics[between]
    contour = data.contour
    if contour is not None:
        moved = attach(contour.vertices, contour.barycentrics)
        contour = MovingContour(contour.landmarks, contour.yaws_rad, *moved)
    return replace(
        refined, landmark_vertices=corners, landmark_barycentrics=weights, contour=contour
    )


def _on_triangles(corners: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which of (L, 3) vertices are a triangle of (F, 3), or one vertex three times: (L,) bool."""
    one = (corners == corners[:, :1]).all(axis=1)
    same = np.sort(corners)[:, None] == np.sort(triangles)
    return one | same.all(axis=2).any(axis=1)
