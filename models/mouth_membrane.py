"""Where a mouth's screen lies behind the lips: a membrane across their rim, pushed back."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from models.face_model import FaceModel
from models.mesh_graph import adjacency, unique_edges
from models.mouth import MouthScreen, behind_lips

DEPTH_DM = 0.02
"""Of the screen behind the rim, which is itself about as far behind the lips as front teeth are."""
_STEEPNESS = 40.0
"""How soon behind the rim it is as deep; larger is sooner."""


def mouth_screen(face_model: FaceModel) -> MouthScreen | None:
    """The screen of a face model; None if it has no inside of the mouth behind a rim."""
    is_inside = behind_lips(face_model).cpu().numpy()
    if not is_inside.any():
        return None
    edges = unique_edges(face_model.triangles.cpu().numpy().astype(np.int64))
    joined = adjacency(edges, face_model.vertex_count)
    # Loose parts, such as a tongue, have no rim to hang from, and stay.
    within = adjacency(edges[is_inside[edges].all(axis=1)], face_model.vertex_count)
    _, parts = connected_components(within)
    touching = is_inside & (joined @ ~is_inside > 0)
    inside = np.flatnonzero(is_inside & np.isin(parts, parts[touching]))
    if not len(inside):
        return None
    rim = np.flatnonzero(~is_inside & (joined @ is_inside > 0))
    degrees = sparse.diags(np.asarray(joined.sum(axis=1))[inside, 0])
    solve = splu((degrees - joined[inside][:, inside]).tocsc()).solve
    weights = solve(joined[inside][:, rim].toarray())
    away = solve(np.ones(len(inside)))
    depths = DEPTH_DM * (1 - np.exp(-_STEEPNESS * away / away.max()))
    like = face_model.mean_shape
    return MouthScreen(
        torch.from_numpy(inside).to(like.device),
        torch.from_numpy(rim).to(like.device),
        torch.from_numpy(weights).to(like),
        torch.from_numpy(depths).to(like),
    )
