"""Small stand-ins of face models that users download: true names, keys and layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.conftest import grid_mesh, landmark_plan
from util.ict_file import IctLayout

EXPRESSIONS = ("browInnerUp_L", "browInnerUp_R", "eyeBlink_L", "eyeBlink_R", "jawOpen")
EYE_VERTICES = 8


def nearest_vertices(vertices: np.ndarray) -> np.ndarray:
    """(68,) vertices of the dome that are nearest to the landmarks."""
    return np.linalg.norm(vertices[:, None, :2] - landmark_plan(), axis=2).argmin(axis=0)


def smooth_basis(vertices: np.ndarray, columns: int, size: float, seed: int) -> np.ndarray:
    """(V, 3, K) waves over the face."""
    random = np.random.default_rng(seed)
    waves = random.normal(size=(columns, 3, 2)) * 2.5
    phases = random.uniform(0, 2 * np.pi, (columns, 3))
    return size * np.sin(np.einsum("kcd,vd->vck", waves, vertices[:, :2]) + phases.T)


def _obj(vertices: np.ndarray, faces: Sequence[Sequence[int]] = ()) -> str:
    lines = ["mtllib ICTFaceModelMaterial.mtl"]
    lines += [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices]
    lines += [f"vt {(x + 1) / 2:.6f} {(y + 1) / 2:.6f}" for x, y, _ in vertices / 10]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in face) for face in faces]
    return "\n".join(lines) + "\n"


def write_ict(folder: Path, identities: int = 3) -> IctLayout:
    """A FaceXModel folder: the dome, some vertices that are left out, and two eyeballs."""
    columns, rows = 14, 16
    dome = grid_mesh(columns, rows).vertices.numpy().astype(np.float64)
    spare = np.full((5, 3), 0.4)
    turn = np.linspace(0, 2 * np.pi, EYE_VERTICES // 2, endpoint=False)
    ring = np.stack([0.05 * np.cos(turn), 0.05 * np.sin(turn), 0 * turn], axis=1)
    eyes = [ring + (side * 0.32, 0.3, 0.45) for side in (-1, 1)]
    vertices = np.concatenate([dome, spare, *eyes])
    start = len(dome) + len(spare)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = [(c, c + columns, c + columns + 1, c + 1) for c in corner.tolist()]
    faces.append((0, 1, len(dome)))  # of the part that is left out
    faces += [tuple(range(start, start + 4)), tuple(range(start + 4, start + 8))]

    folder.mkdir(parents=True)
    centimetres = 10 * vertices
    (folder / "generic_neutral_mesh.obj").write_text(_obj(centimetres, faces))
    moves = smooth_basis(vertices, identities + len(EXPRESSIONS), 0.3, seed=5)
    names = [f"identity{k:03d}" for k in range(identities)] + list(EXPRESSIONS)
    for k, name in enumerate(names):
        (folder / f"{name}.obj").write_text(_obj(centimetres + moves[..., k], faces))
    index = {"expressions": list(EXPRESSIONS), "idx_to_fitting_verts": [1, 2, 3]}
    (folder / "vertex_indices.json").write_text(json.dumps(index))
    landmarks = tuple(int(vertex) for vertex in nearest_vertices(dome))
    return IctLayout(len(vertices), (0, len(dome)), (start, len(vertices)), landmarks, identities)
