"""`--save neutral world ply`: what other readers make of the files, in each unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from benchmarks.example_faces import report_face
from models.camera import Camera
from models.face_model import FaceModel
from options.output_options import OutputOptions, Unit
from util.outputs import create_outputs
from util.outputs.output import OutputSource
from util.photos.face_result import FaceResult
from util.photos.results import write_face

IN_A_DM = {"dm": 1.0, "m": 0.1, "mm": 100.0}


def written(
    folder: Path, face_model: FaceModel, face: FaceResult, kind: str, unit: Unit = "dm"
) -> Path:
    options = OutputOptions(save=(kind,), unit=unit)
    (named,) = create_outputs(OutputSource.of(face_model, Camera.rnet(), "torch", options))
    named.write(folder, face)
    (path,) = (folder / name for name in named.output.names(face.stem))
    return path


def loaded(path: Path) -> Any:
    return trimesh.load_mesh(path, process=False)


@pytest.mark.parametrize("unit", ["dm", "m", "mm"])
def test_the_mesh_at_rest_has_the_identity_alone(
    tiny_face_model: FaceModel, tmp_path: Path, unit: Unit
):
    face = report_face(tiny_face_model)
    path = written(tmp_path, tiny_face_model, face, "neutral", unit)
    rest = tiny_face_model.shape(face.coefficients.identity, torch.zeros(1, 2))[0]
    mesh = loaded(path)
    np.testing.assert_allclose(mesh.vertices / IN_A_DM[unit], rest, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, face.triangles)
    assert face.albedo is not None
    colours = mesh.visual.vertex_colors[:, :3] / 255
    np.testing.assert_allclose(colours, face.albedo.clip(0, 1), atol=1.1 / 255)


@pytest.mark.parametrize("unit", ["dm", "mm"])
def test_k_alone_projects_the_world_mesh_onto_the_photo(
    tiny_face_model: FaceModel, tmp_path: Path, unit: Unit
):
    face = report_face(tiny_face_model)
    mesh = loaded(written(tmp_path, tiny_face_model, face, "world", unit))
    pixels = mesh.vertices @ face.camera.K.T
    found = pixels[:, :2] / pixels[:, 2:]
    vertices = torch.from_numpy(face.vertices)[None]
    camera = Camera.rnet()
    crop = camera.project(camera.from_object(vertices))[0].double().numpy()
    matrix = face.alignment.inverse_matrix
    np.testing.assert_allclose(found, crop @ matrix[:, :2].T + matrix[:, 2], atol=2e-2)
    # The same side is outside.
    normals = mesh.face_normals
    assert ((normals * mesh.triangles_center).sum(axis=1) < 0).mean() > 0.9


def test_ply_has_colours_and_normals(tiny_face_model: FaceModel, tmp_path: Path):
    face = report_face(tiny_face_model)
    mesh = loaded(written(tmp_path, tiny_face_model, face, "ply", "m"))
    np.testing.assert_allclose(mesh.vertices, 0.1 * face.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, face.triangles)
    expected = np.rint(255 * face.colours.clip(0, 1))
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], expected)
    normals = tiny_face_model.normals(torch.from_numpy(face.vertices)[None])[0]
    content = (tmp_path / f"{face.stem}.ply").read_bytes().partition(b"end_header\n")[2]
    rows = np.frombuffer(content[: 27 * len(normals)], np.uint8).reshape(-1, 27)
    stored = np.ascontiguousarray(rows[:, 12:24]).view("<f4")
    np.testing.assert_allclose(stored, normals, atol=1e-5)


@pytest.mark.parametrize("kind", ["neutral", "world", "ply"])
def test_the_header_says_unit_and_model(tiny_face_model: FaceModel, tmp_path: Path, kind: str):
    face = report_face(tiny_face_model)
    head = written(tmp_path, tiny_face_model, face, kind, "mm").read_bytes()[:400]
    start = b"ply\nformat binary_little_endian 1.0\ncomment " if kind == "ply" else b"# "
    assert head.startswith(start + b"unit: millimetre\n")
    assert f"face model: {tiny_face_model.card}".encode() in head


def test_the_usual_mesh_follows_the_unit_and_keeps_its_bytes_in_dm(
    tiny_face_model: FaceModel, tmp_path: Path
):
    face = report_face(tiny_face_model)
    write_face(tmp_path, face)
    plain = (tmp_path / f"{face.stem}.obj").read_bytes()
    assert plain.startswith(b"v ")
    write_face(tmp_path, face, OutputOptions(unit="mm"))
    changed = (tmp_path / f"{face.stem}.obj").read_bytes()
    assert changed.startswith(b"# unit: millimetre\n# face model: tiny 1 (")
    first = [float(word) for word in plain.splitlines()[0].split()[1:4]]
    scaled = [float(word) for word in changed.splitlines()[2].split()[1:4]]
    np.testing.assert_allclose(scaled, 100 * np.array(first), rtol=1e-5)


@pytest.mark.parametrize("kind", ["neutral", "world", "ply", "usdz"])
@pytest.mark.parametrize("name", ["ann lee.jpg", "Zoë 顔.jpg"])
def test_names_with_spaces_and_other_letters(
    tiny_face_model: FaceModel, tmp_path: Path, kind: str, name: str
):
    face = report_face(tiny_face_model, photo=name)
    assert written(tmp_path, tiny_face_model, face, kind).stem.startswith(face.stem)


@pytest.mark.parametrize("kind", ["neutral", "world", "ply", "usdz"])
def test_non_finite_numbers_are_refused(tiny_face_model: FaceModel, tmp_path: Path, kind: str):
    face = report_face(tiny_face_model)
    broken = replace(face.coefficients, identity=face.coefficients.identity * float("nan"))
    face = replace(face, vertices=np.full_like(face.vertices, np.nan), coefficients=broken)
    with pytest.raises(ValueError, match=r"photo.*non-finite"):
        written(tmp_path, tiny_face_model, face, kind)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["neutral", "usdz"])
def test_without_a_known_light_colours_are_the_lit_ones(
    tiny_face_model: FaceModel, tmp_path: Path, kind: str
):
    face = report_face(tiny_face_model)
    files = [
        written(tmp_path, tiny_face_model, replace(face, albedo=albedo), kind).read_bytes()
        for albedo in (None, face.colours, face.albedo)
    ]
    assert files[0] == files[1] != files[2]
