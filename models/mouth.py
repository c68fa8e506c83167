"""The inside of mouths, and a shallow screen in its place that bears a photo's teeth.

No face model here has teeth. A photo paints them on whatever the mesh has there, and on the walls
of a deep mouth they lie centimetres behind where they are: from another side a smile then has gaps.
On a screen as far behind the lips as teeth are, it turns as a smile does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

from models.face_model import FaceModel
from models.stages import ShapedFace

DEPTH_DM = 0.02
"""Of the screen behind the rim, which is itself about as far behind the lips as front teeth are."""
_STEEPNESS = 40.0
"""How soon behind the rim it is as deep; larger is sooner."""


def behind_lips(face_model: FaceModel) -> Bool[Tensor, " vertices"]:
    """Which vertices line the inside of an open mouth, in models that have one.

    They have no teeth and no tongue: laid over a photo, they would hide the photo's.
    """
    regions = face_model.regions
    if "mouth_cavity" not in regions:
        return torch.zeros(face_model.vertex_count, dtype=torch.bool)
    ring = regions.get("mouth_ring", torch.zeros_like(regions["mouth_cavity"]))
    return regions["mouth_cavity"] & ~ring


@dataclass(frozen=True)
class MouthScreen:
    """Carries the inside of a mouth onto a membrane across the rim of its lips, pushed back."""

    inside: Int[Tensor, " inside"]
    """Vertices that move."""
    rim: Int[Tensor, " rim"]
    """Vertices beside them, which stay."""
    weights: Float[Tensor, "inside rim"]
    """Of the rim for each of the inside, harmonic: positive with the sum 1, so that the membrane
    stays between the lips. Where these are not convex, at the corners of a smile, it may fold."""
    depths_dm: Float[Tensor, " inside"]

    @classmethod
    def of(cls, face_model: FaceModel) -> MouthScreen | None:
        """That of a face model; None if it has no inside of the mouth behind a rim."""
        is_inside = behind_lips(face_model).cpu().numpy()
        if not is_inside.any():
            return None
        triangles = face_model.triangles.cpu().numpy().astype(np.int64)
        edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        edges = np.unique(np.sort(edges, axis=1), axis=0)
        edges = np.concatenate([edges, edges[:, ::-1]])
        shape = (face_model.vertex_count,) * 2

        def joined(edges: np.ndarray) -> sparse.csr_matrix:
            return sparse.csr_matrix((np.ones(len(edges)), edges.T), shape)

        adjacency = joined(edges)
        # Loose parts, such as a tongue, have no rim to hang from, and stay.
        _, parts = connected_components(joined(edges[is_inside[edges].all(axis=1)]))
        touching = is_inside & (adjacency @ ~is_inside > 0)
        inside = np.flatnonzero(is_inside & np.isin(parts, parts[touching]))
        if not len(inside):
            return None
        rim = np.flatnonzero(~is_inside & (adjacency @ is_inside > 0))
        degrees = sparse.diags(np.asarray(adjacency.sum(axis=1))[inside, 0])
        solve = splu((degrees - adjacency[inside][:, inside]).tocsc()).solve
        weights = solve(adjacency[inside][:, rim].toarray())
        away = solve(np.ones(len(inside)))
        depths = DEPTH_DM * (1 - np.exp(-_STEEPNESS * away / away.max()))
        like = face_model.mean_shape
        return cls(
            torch.from_numpy(inside).to(like.device),
            torch.from_numpy(rim).to(like.device),
            torch.from_numpy(weights).to(like),
            torch.from_numpy(depths).to(like),
        )

    def __call__(self, shaped: ShapedFace) -> ShapedFace:
        """The same faces before such screens; normals and albedo stay."""
        vertices = shaped.vertices_object.clone()
        screen = self.weights @ vertices[:, self.rim]
        screen[..., 2] -= self.depths_dm
        vertices[:, self.inside] = screen
        return replace(shaped, vertices_object=vertices)
