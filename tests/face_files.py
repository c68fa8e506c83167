"""Small stand-ins of face models that users download: true names, keys and layouts."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix

from tests.conftest import barycentric_points, grid_mesh, landmark_plan
from util.model_files.ict_file import IctLayout

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
    eyes = [ring + np.array([side * 0.32, 0.3, 0.45]) for side in (-1, 1)]
    vertices = np.concatenate([dome, spare, *eyes])
    start = len(dome) + len(spare)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces: list[tuple[int, ...]] = [
        (c, c + columns, c + columns + 1, c + 1) for c in corner.tolist()
    ]
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


class Python2Pickle:
    """Writes the pickle that Python 2 would have written: its strings are arrays' bytes."""

    def __init__(self) -> None:
        self._out = bytearray(b"\x80\x02")

    def dumps(self, content: dict[str, Any]) -> bytes:
        """A dict of arrays, sparse matrices, `Chumpy` arrays and strings."""
        self._out += b"}("
        for key, value in content.items():
            self._value(key)
            self._value(value)
        return bytes(self._out + b"u.")

    def _value(self, value: Any) -> None:
        if isinstance(value, str):
            self._out += b"T" + struct.pack("<i", len(value)) + value.encode("latin1")
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, tuple):
            self._out += b"(" + b"".join(b"J" + struct.pack("<i", n) for n in value) + b"t"
        elif isinstance(value, csc_matrix):
            state = {"data": value.data, "indices": value.indices, "indptr": value.indptr}
            self._object(b"scipy.sparse.csc\ncsc_matrix", state | {"_shape": value.shape})
        elif isinstance(value, Chumpy):
            self._object(b"chumpy.ch\nCh", {"x": value.array, "_depends_on_deps": ()})
        else:
            raise TypeError(value)

    def _object(self, name: bytes, state: dict[str, Any]) -> None:
        """copy_reg._reconstructor(class, object, None), then its state."""
        self._out += b"ccopy_reg\n_reconstructor\n(c" + name + b"\nc__builtin__\nobject\nNtR}("
        for key, value in state.items():
            self._value(key)
            self._value(value)
        self._out += b"ub"

    def _array(self, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array)
        minus = b"J\xff\xff\xff\xff"
        self._out += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR("
        self._out += b"K\x01"
        self._value(tuple(array.shape))
        kind = array.dtype.str[1:].encode()
        self._out += b"cnumpy\ndtype\n(U" + bytes([len(kind)]) + kind + b"K\x00K\x01tR"
        self._out += b"(K\x03U\x01<NNN" + minus + minus + b"K\x00tbI00\n"
        content = array.tobytes()
        self._out += b"T" + struct.pack("<i", len(content)) + content + b"tb"


@dataclass(frozen=True)
class Chumpy:
    """Stands for chumpy.ch.Ch."""

    array: np.ndarray


def flame_arrays() -> dict[str, Any]:
    """FLAME in small: the dome and two eyeballs, 305 + 3 components, five joints."""
    dome = grid_mesh()
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    eyes = []
    for side in (1, -1):  # left, then right
        for height, radius in ((0.1, 0.04), (0.06, 0.1), (-0.06, 0.1)):
            ring = np.stack([radius * np.cos(turn), radius * np.sin(turn), 0 * turn + height], 1)
            eyes.append(ring + np.array([side * 0.32, 0.3, 0.3]))
    vertices = np.concatenate([dome.vertices.numpy(), *eyes]).astype(np.float64)
    start, n = len(dome.vertices), len(turn)
    triangles = [dome.triangles.numpy()]
    for first in range(start, len(vertices), 3 * n):
        k, after = np.arange(n), (np.arange(n) + 1) % n
        for ring in (first, first + n):
            low, high = ring + n, ring
            triangles.append(np.stack([low + k, low + after, high + after], axis=1))
            triangles.append(np.stack([low + k, high + after, high + k], axis=1))
    count = len(vertices)
    weights = np.zeros((count, 5))
    height = vertices[:start, 1]
    jaw = 1 / (1 + np.exp((height + 0.35) * 12))
    neck = 0.6 / (1 + np.exp((height + 0.8) * 12))
    weights[:start] = np.stack([0 * jaw, neck, jaw * (1 - neck), 0 * jaw, 0 * jaw], axis=1)
    weights[:start, 0] = 1 - weights[:start].sum(axis=1)
    weights[start : start + 3 * n, 3] = weights[start + 3 * n :, 4] = 1
    regressor = np.zeros((5, count))
    beside = (np.abs(height) < 0.2) & (np.abs(vertices[:start, 0]) > 0.7)  # where ears would be
    for joint, chosen in enumerate(
        (height < -0.9, height < -0.6, beside, slice(start, start + 3 * n))
    ):
        share = np.zeros(count)
        share[:start][chosen] = 1 if joint < 3 else 0
        if joint == 3:
            share[chosen] = 1
        regressor[joint] = share / share.sum()
    regressor[4, start + 3 * n :] = 1 / (3 * n)
    # Everything is metres in these files.
    return {
        "v_template": Chumpy(vertices / 10 + [0.001, -0.03, 0.02]),
        "f": np.concatenate(triangles).astype(np.uint32),
        "shapedirs": Chumpy(smooth_basis(vertices, 303, 0.002, seed=6)),
        "posedirs": smooth_basis(vertices, 36, 0.0005, seed=7),
        "J_regressor": csc_matrix(regressor),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "weights": weights,
        "bs_type": "lrotmin",
    }


def plain(arrays: dict[str, Any]) -> dict[str, Any]:
    """Without chumpy and scipy, as newer files have them."""
    kinds = {Chumpy: lambda v: v.array, csc_matrix: lambda v: v.toarray()}
    return {key: kinds.get(type(value), lambda v: v)(value) for key, value in arrays.items()}


def flame_embedding(arrays: dict[str, Any]) -> dict[str, Any]:
    """Landmarks of the dome, and a contour that slides outwards as a face turns away."""
    vertices = 10 * arrays["v_template"].array
    dome = arrays["f"][: 2 * 11 * 13].astype(np.int64)
    centre = [0.01, -0.3, 0.2]
    plan = landmark_plan()

    def points(plan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners, weights = barycentric_points(plan, vertices - centre, dome)
        faces = [int(np.flatnonzero((dome == corner).all(axis=1))[0]) for corner in corners]
        return np.array(faces), weights.astype(np.float64)

    static = points(plan[17:])
    degrees = np.concatenate([-np.arange(40), np.arange(1, 40)])
    moving = [points(plan[:17] + np.array([0.002 * d, 0])) for d in degrees]
    return {
        "static_lmk_faces_idx": static[0],
        "static_lmk_bary_coords": static[1],
        "dynamic_lmk_faces_idx": np.stack([faces for faces, _ in moving]),
        "dynamic_lmk_bary_coords": np.stack([weights for _, weights in moving]),
    }


def write_flame(folder: Path, name: str = "generic_model.pkl") -> dict[str, Any]:
    """FLAME 2020's file; returns what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = flame_arrays()
    (folder / name).write_bytes(Python2Pickle().dumps(arrays))
    return arrays


def write_embedding(folder: Path, content: dict[str, Any]) -> None:
    """DECA's landmark_embedding.npy, whose dynamic points are torch tensors."""
    tensors = {
        key: torch.from_numpy(value) if key.startswith("dynamic") else value
        for key, value in content.items()
    }
    np.save(folder / "landmark_embedding.npy", np.array(tensors, dtype=object))


NAMED_POINTS: dict[str, tuple[int, ...]] = {
    "center.chin.tip": (8,),
    "center.nose.tip": (30,),
    "right.eye.corner_outer": (36,),
    "right.eye.corner_inner": (39,),
    "left.eye.corner_inner": (42,),
    "left.eye.corner_outer": (45,),
    "right.eye.top": (37, 38),
    "left.eye.top": (43, 44),
    "right.lips.corner": (48,),
    "left.lips.corner": (54,),
    "center.lips.upper.outer": (51,),
    "center.lips.lower.outer": (57,),
}


def write_bfm_h5(path: Path, components: int = 83, colours: int = 81) -> dict[str, np.ndarray]:
    """A Basel Face Model in small: the dome in millimetres; returns its arrays."""
    import h5py

    mesh = grid_mesh(14, 16)
    vertices = mesh.vertices.numpy().astype(np.float64)
    plan = landmark_plan()
    corners, weights = barycentric_points(plan, vertices, mesh.triangles.numpy())
    points = (vertices[corners] * weights[..., None]).sum(axis=1)
    shift = np.array([0, -2.0, 90.0])
    random = np.random.default_rng(9)

    def part(count: int, size: float, seed: int, mean: np.ndarray) -> dict[str, np.ndarray]:
        basis, _ = np.linalg.qr(smooth_basis(vertices, count, 1.0, seed).reshape(-1, count))
        variance = np.sort(random.uniform(0.5, 1, count))[::-1] * size**2 * len(vertices)
        return {"mean": mean.ravel(), "pcaBasis": basis, "pcaVariance": variance}

    tone = np.full(vertices.shape, [0.6, 0.45, 0.4])
    parts = {
        "shape": part(components, 1.0, 10, 100 * vertices + shift),
        "expression": part(66, 0.8, 11, 0.1 * np.ones(vertices.shape)),
        "color": part(colours, 0.01, 12, tone),
    }
    named = [
        {"id": name, "coordinates": (100 * points[list(of)].mean(axis=0) + shift).tolist()}
        for name, of in NAMED_POINTS.items()
    ]
    arrays = {f"{p}/model/{key}": a for p, each in parts.items() for key, a in each.items()}
    arrays["shape/representer/points"] = (100 * vertices + shift).T
    arrays["shape/representer/cells"] = mesh.triangles.numpy().T
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
        for each in parts:
            file[f"{each}/model/noiseVariance"] = np.zeros(1, np.float32)
        text = json.dumps(named).encode()
        file["metadata/landmarks/json"] = np.frombuffer(text, np.int8)
    return arrays
