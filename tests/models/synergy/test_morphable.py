"""Decoding against plain loops over the public formula, and against our own face models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.synergy.morphable import SynergyFace, face_arrays
from models.synergy.parameters import SynergyLayout
from models.synergy.pose import pose_numbers, to_continuous
from tests.ddfa_folder import made_up_arrays, made_up_parameters, make_ddfa_folder
from util.synergy.ddfa_files import read_morphable_folder


@pytest.fixture
def face(tmp_path: Path) -> SynergyFace:
    folder = make_ddfa_folder(tmp_path / "data", count=1) / "3dmm_data"
    return SynergyFace(read_morphable_folder(folder).arrays)


def by_loops(arrays: dict[str, np.ndarray], q: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(3, points) of the public formula, one coordinate after the other."""
    matrix = q[:12].reshape(3, 4)
    points = np.zeros((3, len(rows) // 3))
    for point in range(len(rows) // 3):
        v = np.zeros(3)
        for axis in range(3):
            row = rows[3 * point + axis]
            v[axis] = arrays["u_shp"][row, 0] + arrays["u_exp"][row, 0]
            v[axis] += arrays["w_shp_sim"][row].astype(np.float64) @ q[12:52]
            v[axis] += arrays["w_exp_sim"][row].astype(np.float64) @ q[52:62]
        points[:, point] = matrix[:, :3] @ v + matrix[:, 3]
    points[1] = 120 + 1 - points[1]
    return points


def test_landmarks_and_vertices_are_the_public_formula(face: SynergyFace):
    arrays, parameters = made_up_arrays(), made_up_parameters(3)[:, :62]
    q = torch.from_numpy(parameters).float()
    landmarks, vertices = face.landmarks(q), face.vertices(q)
    assert landmarks.shape == (3, 3, 68) and vertices.shape == (3, 3, 224)
    for item in range(3):
        rows = arrays["keypoints_sim"]
        expected = by_loops(arrays, parameters[item], rows)
        np.testing.assert_allclose(landmarks[item], expected, atol=2e-4)
        expected = by_loops(arrays, parameters[item], np.arange(3 * 224))
        np.testing.assert_allclose(vertices[item], expected, atol=2e-4)


def test_buffers_are_never_in_checkpoints(face: SynergyFace):
    assert not face.state_dict() and not list(face.parameters())


def test_one_of_our_face_models_projects_alike(tiny_face_model: FaceModel):
    layout = SynergyLayout(shape=2, expression=1)
    face = SynergyFace(face_arrays(tiny_face_model, layout), layout)
    identity, expression = torch.randn(4, 3), torch.randn(4, 2)
    identity[:, 2] = expression[:, 1] = 0  # beyond the layout
    rotation = rotation_matrix(torch.randn(4, 3) * 0.4)
    vertices = tiny_face_model.shape(identity, expression)
    focal, centre = torch.full((1, 2), 450.0), torch.full((1, 2), 60.0)
    camera = Camera(focal, centre, 120, 120, 10.0, 5.0, 15.0, kind="weak")
    posed = camera.from_object(vertices @ rotation.transpose(1, 2))
    expected = camera.project(tiny_face_model.landmarks(posed))
    # The same camera in numbers: 45 px a decimetre; label coordinates are half a pixel more.
    scale, shift = torch.full((4,), 45e-5), torch.tensor([60.5, 60.5, 0]).expand(4, 3)
    pose = pose_numbers(scale, rotation, shift)
    q = torch.cat([pose, identity[:, :2], expression[:, :1]], dim=1)
    found = to_continuous(face.landmarks(q))[:, :2].transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    found = to_continuous(face.vertices(q))[:, :2].transpose(1, 2)
    torch.testing.assert_close(found, camera.project(posed), atol=1e-3, rtol=0)


def test_too_few_bases_are_refused(tiny_face_model: FaceModel):
    with pytest.raises(ValueError, match="3 identity and 2 expression parameters, wanted are 40"):
        face_arrays(tiny_face_model, SynergyLayout())


def test_gradients_of_the_pose(face: SynergyFace):
    face.double()
    q = torch.from_numpy(made_up_parameters(1)[:, :62]).requires_grad_()
    unit = torch.tensor([1e-3] * 3 + [1.0], dtype=torch.float64).repeat(3)
    unit = torch.cat([unit, torch.full((40,), 1e5), torch.ones(10)]).double()
    whitened = (q / unit).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: face.landmarks(w * unit)[..., :5], whitened)
