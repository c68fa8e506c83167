"""`--save glb`: what a viewer makes of the file is the photo's face, where the photo has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.camera import Camera
from models.face_model import FaceModel
from options.output_options import OutputOptions
from tests.glb_reader import Glb
from tests.util.report_faces import report_face
from util.face_result import FaceResult
from util.gltf_file import glb_bytes
from util.outputs.glb import GlbOutput
from util.outputs.output import OutputSource


def parsed(face_model: FaceModel, face: FaceResult) -> Glb:
    output = GlbOutput(OutputSource.of(face_model, Camera.rnet(), "torch", OutputOptions()))
    return Glb.parse(glb_bytes(output.scene(face)))


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


def test_a_face_without_albedo_is_refused(tiny_face_model: FaceModel):
    with pytest.raises(ValueError, match="albedo"):
        parsed(tiny_face_model, replace(report_face(tiny_face_model), albedo=None))
