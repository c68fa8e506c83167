"""Pose numbers against SciPy's rotations, and against the common camera."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.camera import rotate
from models.synergy.pose import (
    MICROMETRES_PER_DM,
    head_pose,
    label_rotation,
    pose_numbers,
    to_continuous,
)


def random_pose(count: int = 20) -> tuple[torch.Tensor, ...]:
    limits = torch.tensor([1.0, 1.4, 1.0], dtype=torch.float64)
    angles = (2 * torch.rand(count, 3, dtype=torch.float64) - 1) * limits
    scale = torch.rand(count, dtype=torch.float64) * 1e-4 + 4e-4
    shift = torch.randn(count, 3, dtype=torch.float64) * 10 + 60
    return angles, scale, shift


def test_rotation_is_scipys():
    """R = Rx(-pitch) Ry(-yaw) Rz(-roll) in the usual sense of turning."""
    angles, *_ = random_pose()
    expected = Rotation.from_euler("XYZ", -angles.numpy()).as_matrix()
    np.testing.assert_allclose(label_rotation(angles).numpy(), expected, atol=1e-14)


def test_numbers_and_back():
    angles, scale, shift = random_pose()
    found = head_pose(pose_numbers(scale, label_rotation(angles), shift))
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.rotation, label_rotation(angles))
    torch.testing.assert_close(found.translation_px, shift)
    torch.testing.assert_close(found.angles_rad(), angles)


def test_numbers_are_a_matrix_row_by_row():
    pose = torch.arange(12.0)[None] + 1
    found = head_pose(pose)
    assert found.translation_px.tolist() == [[4.0, 8.0, 12.0]]
    first, second = np.array([1.0, 2, 3]), np.array([5.0, 6, 7])
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    np.testing.assert_allclose(found.scale[0], np.mean(lengths), rtol=1e-6)
    np.testing.assert_allclose(found.rotation[0, 0], first / lengths[0], rtol=1e-6)
    third = np.cross(first / lengths[0], second / lengths[1])
    np.testing.assert_allclose(found.rotation[0, 2], third, atol=1e-6)


def test_the_public_yaw_is_right_for_upright_heads_only():
    angles, scale, shift = random_pose()
    tilted = head_pose(pose_numbers(scale, label_rotation(angles), shift))
    assert (tilted.angles_rad(public=True) - angles)[:, 1].abs().max() > 0.1
    torch.testing.assert_close(tilted.angles_rad(public=True)[:, [0, 2]], angles[:, [0, 2]])
    angles[:, [0, 2]] = 0
    upright = head_pose(pose_numbers(scale, label_rotation(angles), shift))
    torch.testing.assert_close(upright.angles_rad(public=True), angles)


def test_seven_numbers_say_the_same():
    angles, scale, shift = random_pose()
    found = head_pose(torch.cat([angles, shift, scale[:, None]], dim=1))
    torch.testing.assert_close(found.angles_rad(), angles)
    torch.testing.assert_close(found.translation_px, shift)


def test_the_common_camera_sees_points_where_the_numbers_put_them():
    angles, scale, shift = random_pose(4)
    pose = head_pose(pose_numbers(scale, label_rotation(angles), shift))
    points = torch.randn(4, 9, 3, dtype=torch.float64) * 8e4
    label = scale[:, None, None] * points @ label_rotation(angles).transpose(1, 2)
    label = (label + shift[:, None]).transpose(1, 2)
    label = torch.stack([label[:, 0], 121 - label[:, 1], label[:, 2]], dim=1)
    camera = pose.camera(120)
    seen = camera.from_object(rotate(points / MICROMETRES_PER_DM, pose.rotation))
    pixels = camera.project(seen)
    torch.testing.assert_close(pixels, to_continuous(label)[:, :2].transpose(1, 2))
    # The centre of the first pixel: 1 in labels, half a pixel from the edge.
    assert to_continuous(torch.ones(1, 3, 1))[0, :, 0].tolist() == [0.5, 0.5, 1.0]
