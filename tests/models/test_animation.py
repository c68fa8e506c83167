"""Taking over motion: exact where it is absolute, changes alone where it is relative."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.animation import (
    FaceMotion,
    Transfer,
    animate,
    calmed,
    calmest_frame,
    plain_light,
)
from models.camera import rotation_matrix
from models.face_model import FaceModel
from models.lighting import irradiance
from models.parameters import Coefficients
from models.stages import shape_face
from options.fitting_weights import SmoothingOptions

COUNT = 7


def random_faces(face_model: FaceModel, count: int, seed: int) -> Coefficients:
    generator = torch.Generator().manual_seed(seed)
    return face_model.layout.split(
        0.4 * torch.randn(count, face_model.layout.size, generator=generator)
    )


def motion_of(faces: Coefficients) -> FaceMotion:
    return FaceMotion(
        np.arange(len(faces)) / 25, faces.expression, faces.angles_rad, faces.translation_dm
    )


def test_frame_k_is_as_identity_with_bs_expression_and_pose(tiny_face_model: FaceModel):
    person = random_faces(tiny_face_model, 1, 1)
    other = random_faces(tiny_face_model, COUNT, 2)
    moved = animate(tiny_face_model, person, motion_of(other), Transfer())
    shaped = shape_face(tiny_face_model, moved)
    for k in range(COUNT):
        alone = tiny_face_model.shape(person.identity, other.expression[k : k + 1])
        np.testing.assert_allclose(shaped.vertices_object[k], alone[0], atol=1e-6)
    assert torch.equal(moved.angles_rad, other.angles_rad)
    assert torch.equal(moved.translation_dm, other.translation_dm)
    for name in ("identity", "texture", "gamma"):
        block = getattr(moved, name)
        assert torch.equal(block, getattr(person, name).expand_as(block))


@pytest.mark.parametrize("expression", [True, False])
@pytest.mark.parametrize("pose", [True, False])
def test_what_is_not_taken_stays(tiny_face_model: FaceModel, expression: bool, pose: bool):
    person, other = (random_faces(tiny_face_model, n, n) for n in (1, COUNT))
    moved = animate(tiny_face_model, person, motion_of(other), Transfer(expression, pose))
    assert torch.equal(moved.expression, other.expression) is expression
    assert torch.equal(moved.angles_rad, other.angles_rad) is pose
    assert torch.equal(moved.translation_dm, other.translation_dm) is pose


def test_a_motion_without_pose_leaves_the_head_where_it_is(tiny_face_model: FaceModel):
    person, other = (random_faces(tiny_face_model, n, n) for n in (1, COUNT))
    motion = replace(motion_of(other), angles_rad=None, translation_dm=None)
    moved = animate(tiny_face_model, person, motion, Transfer())
    assert torch.equal(moved.angles_rad, person.angles_rad.expand(COUNT, -1))
    turned = replace(motion, angles_rad=other.angles_rad)
    moved = animate(tiny_face_model, person, turned, Transfer())
    assert torch.equal(moved.angles_rad, other.angles_rad)
    assert torch.equal(moved.translation_dm, person.translation_dm.expand(COUNT, -1))


def test_relative_is_bs_change_upon_as_own(tiny_face_model: FaceModel):
    person, other = (random_faces(tiny_face_model, n, n) for n in (1, COUNT))
    rule = Transfer(relative=True, neutral=3)
    moved = animate(tiny_face_model, person, motion_of(other), rule)
    for name in ("expression", "angles_rad", "translation_dm"):
        np.testing.assert_allclose(
            getattr(moved, name)[3], getattr(person, name)[0], atol=1e-6, err_msg=name
        )
    wanted = person.expression + other.expression - other.expression[3]
    np.testing.assert_allclose(moved.expression, wanted, atol=1e-6)
    since = rotation_matrix(other.angles_rad) @ rotation_matrix(other.angles_rad[3:4]).mT
    found = rotation_matrix(moved.angles_rad)
    np.testing.assert_allclose(found, since @ rotation_matrix(person.angles_rad), atol=1e-6)


def test_the_calmest_frame_is_the_neutral_one(tiny_face_model: FaceModel):
    other = random_faces(tiny_face_model, COUNT, 5)
    other.expression[4] *= 0.01
    assert calmest_frame(tiny_face_model, motion_of(other)) == 4
    person = random_faces(tiny_face_model, 1, 1)
    moved = animate(tiny_face_model, person, motion_of(other), Transfer(relative=True))
    np.testing.assert_allclose(moved.expression[4], person.expression[0], atol=1e-6)


def test_the_arguments_stay_as_they_are(tiny_face_model: FaceModel):
    person, other = (random_faces(tiny_face_model, n, n) for n in (1, COUNT))
    before = person.expression.clone(), other.expression.clone()
    moved = animate(tiny_face_model, person, motion_of(other), Transfer())
    moved.expression.add_(1)
    moved.identity.add_(1)
    assert torch.equal(person.expression, before[0]) and torch.equal(other.expression, before[1])


def test_calm_motion_jitters_less_and_cuts_stay_sharp(tiny_face_model: FaceModel):
    generator = torch.Generator().manual_seed(0)
    size = tiny_face_model.expression_sigma.shape[0]
    noise = 0.1 * torch.randn(80, size + 6, generator=generator)
    noise[40:] += 2
    motion = FaceMotion(
        np.arange(80) / 25,
        noise[:, :size],
        noise[:, size : size + 3],
        noise[:, size + 3 :],
        starts=np.arange(80) == 40,
    )
    calm = calmed(motion, tiny_face_model, SmoothingOptions())
    assert calm.angles_rad is not None and motion.angles_rad is not None
    for quiet, loud in ((calm.expression, motion.expression), (calm.angles_rad, motion.angles_rad)):
        assert quiet[:40].diff(dim=0).std() < 0.5 * loud[:40].diff(dim=0).std()
        assert (quiet[40] - quiet[39]).mean() > 1.8
    still = calmed(motion, tiny_face_model, SmoothingOptions(smooth_min_hz=0.0))
    np.testing.assert_allclose(still.expression, motion.expression, atol=1e-6)


def test_units_are_smoothed_as_units(tiny_face_model: FaceModel):
    """And the expression is what they make."""
    numbers = np.random.default_rng(0)
    strengths = numbers.uniform(0, 1, (30, len(tiny_face_model.unit_names)))
    expression = torch.from_numpy(strengths).float() @ tiny_face_model.unit_matrix
    motion = FaceMotion(np.arange(30) / 25, expression, strengths=strengths)
    calm = calmed(motion, tiny_face_model, SmoothingOptions())
    assert calm.strengths is not None and calm.angles_rad is None
    assert calm.strengths.min() >= 0 and calm.strengths.max() <= 1
    made = torch.from_numpy(calm.strengths).float() @ tiny_face_model.unit_matrix
    np.testing.assert_allclose(calm.expression, made, atol=1e-6)


def test_the_plain_light_is_white_and_comes_from_the_lamp():
    lamp = torch.tensor([0.3, 0.4, 0.85])
    across = torch.linalg.cross(lamp, torch.tensor([0.0, 1.0, 0.0]))
    normals = torch.stack([lamp / lamp.norm(), across / across.norm()])[None]
    found = irradiance(normals, plain_light(torch.zeros(1)))
    np.testing.assert_allclose(found[0, :, 0], [1.25, 0.75], atol=1e-3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
