"""Constructed scans with known errors, in the layouts of the benchmarks; a face-like dome in mm."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import trimesh

from tests.conftest import barycentric_points, grid_mesh, landmark_plan
from util.evaluation.predicted_meshes import MM_PER_DM, write_plain_obj
from util.evaluation.shape_methods import SEVEN
from util.mesh_files.mesh_reader import TriangleMesh


def dome(columns: int = 56, rows: int = 62) -> TriangleMesh:
    """The dome of `grid_mesh`, 160 mm x 200 mm."""
    mesh = grid_mesh(columns, rows)
    return TriangleMesh(
        MM_PER_DM * mesh.vertices.numpy().astype(np.float64), mesh.triangles.numpy().astype(int)
    )


@lru_cache
def sphere_mesh(radius_mm: float) -> TriangleMesh:
    """About the origin; triangles of about a fifteenth of the radius, turned outwards."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius_mm)
    return TriangleMesh(np.array(ball.vertices), np.array(ball.faces))


@lru_cache
def dome_landmarks(numbers: tuple[int, ...] = SEVEN) -> np.ndarray:
    """iBUG landmarks on the finest dome, mm."""
    mesh = dome(120, 130)
    plan = MM_PER_DM * landmark_plan()[list(numbers)]
    corners, weights = barycentric_points(plan, mesh.vertices, mesh.triangles)
    return (mesh.vertices[corners] * weights[..., None]).sum(axis=1)


def vertex_normals(mesh: TriangleMesh) -> np.ndarray:
    """(V, 3) unit."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.triangles], 1, 0)
    normals = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(normals, mesh.triangles[:, corner], np.cross(b - a, c - a))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def rough(mesh: TriangleMesh, by_mm: float, seed: int = 0) -> TriangleMesh:
    """Every vertex moved out or in along its normal: no rigid motion takes that back."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], len(mesh.vertices))
    moved = mesh.vertices + by_mm * signs[:, None] * vertex_normals(mesh)
    return TriangleMesh(moved, mesh.triangles)


def write_picked_points(path: Path, points: np.ndarray) -> None:
    """A `.pp` of MeshLab, whose points begin in line 9."""
    head = [
        *("<!DOCTYPE PickedPoints>", "<PickedPoints>", " <DocumentData>"),
        *('  <DateTime time="10:00:00" date="2019-01-01"/>', '  <User name="x"/>'),
        *('  <DataFileName name="scan.obj"/>', '  <templateName name=""/>', " </DocumentData>"),
    ]
    rows = [
        f' <point x="{x:.6f}" y="{y:.6f}" z="{z:.6f}" active="1" name="{k}"/>'
        for k, (x, y, z) in enumerate(points)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*head, *rows, "</PickedPoints>"]) + "\n", encoding="utf-8")


def write_mesh(path: Path, mesh: TriangleMesh) -> None:
    """A plain OBJ."""
    write_plain_obj(path, mesh.vertices, mesh.triangles)


def write_predicted(
    stem: Path, mesh: TriangleMesh, landmarks: np.ndarray, *, text: bool = False
) -> None:
    """`<stem>.obj` with seven landmarks."""
    write_mesh(stem.parent / f"{stem.name}.obj", mesh)
    if text:
        np.savetxt(stem.parent / f"{stem.name}.txt", landmarks)
    else:
        np.save(stem.parent / f"{stem.name}.npy", landmarks)


NOW_NAMES = (
    "A_1/multiview_neutral/IMG_1",
    "A_1/selfie/IMG_2",
    "B_2/multiview_occlusions/IMG_3",
)


def write_now(root: Path, scan: TriangleMesh, points: np.ndarray) -> None:
    """A validation set of three images of two people with the same scan."""
    root.mkdir(parents=True)
    lines = "".join(f"{name}.jpg\n" for name in NOW_NAMES)
    (root / "imagepathsvalidation.txt").write_text(lines)
    (root / "imagepathstest.txt").write_text(lines)
    for subject in ("A_1", "B_2"):
        write_mesh(root / "scans" / subject / "scan.obj", scan)
        write_picked_points(root / "scans_lmks_onlypp" / subject / "points.pp", points)
