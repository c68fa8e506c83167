"""A pose refined to points, and poses of whole frames: landmarks stay where they were."""

from __future__ import annotations

import numpy as np
import torch

from models.camera import Camera, rotation_angles, rotation_matrix
from models.face_model import FaceModel
from models.pose import refine_pose
from models.whole_frame import whole_frame_pose


def test_a_pose_that_is_off_is_found(tiny_face_model: FaceModel):
    camera = Camera.rnet().to(torch.float64)
    points = tiny_face_model.landmarks(tiny_face_model.mean_shape.reshape(1, -1, 3)).double()
    points = points.expand(5, -1, -1)
    angles = 0.4 * torch.randn(5, 3, dtype=torch.float64)
    shift = torch.randn(5, 3, dtype=torch.float64) * torch.tensor([0.1, 0.1, 1.0])
    truth = rotation_matrix(angles)
    pixels = camera.project(camera.from_object(points @ truth.transpose(1, 2) + shift[:, None]))
    start = rotation_matrix(angles + 0.1)
    found, moved = refine_pose(pixels, points, start, shift + 0.1, camera)
    torch.testing.assert_close(found, truth, atol=1e-9, rtol=0)
    torch.testing.assert_close(moved, shift, atol=1e-8, rtol=0)


def test_landmarks_stay_where_the_crop_showed_them(tiny_face_model: FaceModel):
    """Of a crop left above the middle of a frame of 512, in a fifth of its area."""
    layout, side = tiny_face_model.layout, 512
    flat = 0.1 * torch.randn(3, layout.size)
    faces = layout.split(flat)
    zoom = 0.9  # pixels of the frame for one of the crop
    K = np.array([[1015 * zoom, 0, 200.0], [0, 1015 * zoom, 180.0], [0, 0, 1]])
    usual = Camera.rnet()
    angles, shift = whole_frame_pose(tiny_face_model, faces, np.stack([K] * 3), side, usual)
    shapes = tiny_face_model.shape(faces.identity, faces.expression)
    points = tiny_face_model.landmarks(shapes).double().numpy()

    def project(R: np.ndarray, t: np.ndarray, focal: float, centre: tuple[float, float]):
        x, y, z = np.moveaxis(points @ R.swapaxes(1, 2) + t[:, None], -1, 0)
        return np.stack([x, -y], axis=-1) * focal / (10 - z)[..., None] + centre

    own = rotation_matrix(faces.angles_rad.double()).numpy()
    expected = project(own, faces.translation_dm.double().numpy(), K[0, 0], (200, 180))
    scale = side / 224
    found = project(
        rotation_matrix(torch.from_numpy(angles)).numpy(), shift, 1015 * scale, (256, 256)
    )
    assert np.abs(found - expected).max() < 1  # another perspective of the same face
    assert np.linalg.norm(found - expected, axis=-1).mean() < 0.3
    # It is farther away, and turned against the ray that it moved to.
    assert (shift[:, 2] < -10).all()
    yaw = rotation_angles(torch.from_numpy(own))[:, 1].numpy()
    assert ((angles[:, 1] - yaw) > 0).all() or ((angles[:, 1] - yaw) < 0).all()


def test_a_crop_that_is_the_frame_changes_nothing(tiny_face_model: FaceModel):
    layout = tiny_face_model.layout
    faces = layout.split(0.1 * torch.randn(2, layout.size))
    K = np.array([[1015.0 * 2, 0, 224], [0, 1015.0 * 2, 224], [0, 0, 1]])
    angles, shift = whole_frame_pose(tiny_face_model, faces, np.stack([K, K]), 448, Camera.rnet())
    np.testing.assert_allclose(angles, faces.angles_rad, atol=1e-7)
    np.testing.assert_allclose(shift, faces.translation_dm, atol=1e-6)
