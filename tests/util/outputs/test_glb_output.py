"""`--save glb`: what a viewer makes of the file is the photo's face, where the photo has it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from benchmarks.example_faces import report_face
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from options.output_options import OutputOptions
from tests.glb_reader import Glb
from tests.gltf_validator import validation_problems
from util.mesh_files.face_gltf import unit_deltas
from util.mesh_files.gltf_file import MorphTargets, glb_bytes
from util.outputs.glb import GlbOutput
from util.outputs.output import OutputSource
from util.photos.face_result import FaceResult


def writer(face_model: FaceModel) -> GlbOutput:
    return GlbOutput(OutputSource.of(face_model, Camera.rnet(), "torch", OutputOptions()))


def parsed(face_model: FaceModel, face: FaceResult) -> Glb:
    return Glb.parse(glb_bytes(writer(face_model).scene(face)))


def test_the_first_target_at_full_weight_is_the_photo(open_face_model: FaceModel):
    """In world coordinates of the file, through node and target: the posed mesh in metres."""
    face = report_face(open_face_model)
    glb = parsed(open_face_model, face)
    assert glb.json["meshes"][0]["weights"][:2] == [1, 0]
    names = glb.json["meshes"][0]["extras"]["targetNames"]
    assert names == ["photo", *open_face_model.unit_names]
    # Targets leave out what moves less than a hundredth of a millimetre.
    np.testing.assert_allclose(glb.vertices(), 0.1 * face.vertices, atol=1.1e-5)
    glb.check()


def test_named_units_move_the_head_at_rest(open_face_model: FaceModel):
    face = report_face(open_face_model)
    glb = parsed(open_face_model, face)
    number = 1 + open_face_model.unit_names.index("jawOpen")
    expression = open_face_model.units({"jawOpen": 1.0})
    opened = open_face_model.shape(face.coefficients.identity, expression)[0].numpy()
    found = glb.attribute("POSITION") + glb.targets[number]
    np.testing.assert_allclose(found, 0.1 * opened, atol=1.1e-5)


def test_the_camera_sees_the_face_where_the_photo_shows_it(open_face_model: FaceModel):
    face = report_face(open_face_model)
    glb = parsed(open_face_model, face)
    camera = glb.json["cameras"][0]
    view, (left, top, _, _) = camera["perspective"], camera["extras"]["picture"]
    x, y, z = (0.1 * face.vertices - glb.json["nodes"][1]["translation"]).T
    K = face.camera.K
    height = 2 * K[1, 1] * np.tan(view["yfov"] / 2)
    width = height * view["aspectRatio"] * K[0, 0] / K[1, 1]
    up = 1 / np.tan(view["yfov"] / 2)
    across, upwards = up / view["aspectRatio"] * x / -z, up * y / -z
    found = np.stack([(across + 1) / 2 * width - left, (1 - upwards) / 2 * height - top], axis=1)
    opencv = face.vertices @ face.camera.mesh_R.T + face.camera.mesh_t
    pixels = opencv @ K.T
    np.testing.assert_allclose(found, pixels[:, :2] / pixels[:, 2:], atol=1e-2)


def test_without_a_known_light_colours_are_the_lit_ones(tiny_face_model: FaceModel):
    face = report_face(tiny_face_model)
    assert face.albedo is not None
    lit = parsed(tiny_face_model, replace(face, albedo=None))
    same = parsed(tiny_face_model, replace(face, albedo=face.colours))
    albedo = parsed(tiny_face_model, face)
    np.testing.assert_array_equal(lit.attribute("COLOR_0"), same.attribute("COLOR_0"))
    assert not np.array_equal(lit.attribute("COLOR_0"), albedo.attribute("COLOR_0"))


def test_units_that_are_encoded_once_are_those_encoded_anew(open_face_model: FaceModel):
    output, face = writer(open_face_model), report_face(open_face_model)
    scene = output.scene(face)
    assert scene.targets is not None and scene.common_targets is not None
    units = MorphTargets(open_face_model.unit_names, unit_deltas(open_face_model))
    anew = MorphTargets(
        (*scene.targets.names, *units.names),
        np.concatenate([scene.targets.deltas_dm, units.deltas_dm]),
        np.eye(1, 1 + len(units.names))[0],
    )
    content = glb_bytes(scene)
    assert content == glb_bytes(replace(scene, targets=anew, common_targets=None))
    assert content == glb_bytes(output.scene(face)), "the second face is as the first"
    assert len(content) <= 3.5e6


def test_models_without_units_have_the_photo_alone(tiny_face_data: FaceModelData):
    bare = replace(tiny_face_data, unit_names=(), unit_matrix=np.zeros((0, 0), np.float32))
    face_model = FaceModel(bare)
    glb = parsed(face_model, report_face(face_model))
    assert glb.target_names == ["photo"]
    glb.check()


def test_a_texture_takes_the_place_of_the_colours(open_face_model: FaceModel):
    """Every corner of every triangle keeps its place, its targets and its texture coordinate."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(file, "PNG")
    face = report_face(open_face_model)
    plain = parsed(open_face_model, face)
    textured = Glb.parse(glb_bytes(writer(open_face_model).scene(face, file.getvalue())))
    textured.check()
    assert set(textured.primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert textured.target_names == plain.target_names
    corners, known = textured.triangles, plain.triangles
    np.testing.assert_array_equal(textured.vertices()[corners], plain.vertices()[known])
    jaw = plain.target_names.index("jawOpen")
    np.testing.assert_array_equal(textured.targets[jaw][corners], plain.targets[jaw][known])
    assert open_face_model.uv is not None and open_face_model.uv_triangles is not None
    wanted = open_face_model.uv[open_face_model.uv_triangles].numpy()
    found = textured.attribute("TEXCOORD_0")[corners] * [1, -1] + [0, 1]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_texture_needs_coordinates(tiny_face_data: FaceModelData):
    face_model = FaceModel(replace(tiny_face_data, uv=None, uv_triangles=None))
    with pytest.raises(ValueError, match="no texture coordinates"):
        writer(face_model).scene(report_face(face_model), b"")


def test_the_official_validator_finds_nothing(open_face_model: FaceModel, tmp_path: Path):
    """Neither errors nor warnings, infos or hints."""
    writer(open_face_model).write(tmp_path, report_face(open_face_model))
    assert validation_problems(tmp_path / "photo.glb") == []


def test_other_readers_see_the_same(open_face_model: FaceModel, tmp_path: Path):
    """trimesh the mesh, pygltflib the structure; trimesh 5 knows no targets."""
    pygltflib = pytest.importorskip("pygltflib", reason="pip install pygltflib")
    face, path = report_face(open_face_model), tmp_path / "photo.glb"
    writer(open_face_model).write(tmp_path, face)
    read: Any = trimesh.load(path, process=False)
    (mesh,) = read.geometry.values()
    ours = Glb.parse(path.read_bytes())
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), ours.attribute("POSITION"))
    np.testing.assert_array_equal(mesh.faces, open_face_model.triangles.numpy())
    document = pygltflib.GLTF2().load(str(path))
    (mesh,) = document.meshes
    assert mesh.extras["targetNames"] == ["photo", *open_face_model.unit_names]
    assert len(mesh.primitives[0].targets) == len(mesh.weights) == 1 + 52
    sparse = [document.accessors[t["POSITION"]].sparse for t in mesh.primitives[0].targets]
    assert sum(target is not None for target in sparse) > 40
    assert document.cameras[0].extras["K"] == face.camera.K.tolist()
