"""Each convention's own formula puts the points where the textbook's pinhole camera does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.camera_conventions import (
    focal_35mm,
    opencv_intrinsics,
    opengl_projection,
    opengl_view,
    pytorch3d_view,
)

SIZE = (640, 417)
K = np.array([[900.0, 0, 333.3], [0, 905.0, 201.7], [0, 0, 1]])
R = Rotation.from_euler("xyz", [0.2, -0.5, 2.9]).as_matrix()
T = np.array([0.3, -0.2, 9.0])


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture
def pixels(points: np.ndarray) -> np.ndarray:
    """Continuous, y down: p ~ K (R X + t)."""
    image = (points @ R.T + T) @ K.T
    return image[:, :2] / image[:, 2:]


def test_opencv_counts_from_the_centre_of_the_first_pixel(points: np.ndarray, pixels: np.ndarray):
    image = (points @ R.T + T) @ opencv_intrinsics(K).T
    np.testing.assert_allclose(image[:, :2] / image[:, 2:], pixels - 0.5, atol=1e-10)
    assert K[0, 2] == 333.3  # the argument stays


def test_opengl_s_window(points: np.ndarray, pixels: np.ndarray):
    """By glViewport's formula, from the lower left corner of the picture."""
    view = opengl_view(R, T)
    clip = np.c_[points, np.ones(50)] @ view.T @ opengl_projection(K, SIZE, 5.0, 15.0).T
    ndc = clip[:, :3] / clip[:, 3:]
    across, upwards = ((ndc[:, :2] + 1) / 2 * SIZE).T
    np.testing.assert_allclose(np.c_[across, SIZE[1] - upwards], pixels, atol=1e-10)
    eye = np.c_[points, np.ones(50)] @ view.T
    assert (eye[:, 2] < 0).all() and np.linalg.det(view) == pytest.approx(1)


def test_opengl_s_planes():
    for depth, expected in ((5.0, -1.0), (15.0, 1.0)):
        clip = opengl_projection(K, SIZE, 5.0, 15.0) @ [0, 0, -depth, 1]
        assert clip[2] / clip[3] == pytest.approx(expected)


def test_pytorch3d_s_screen_camera(points: np.ndarray, pixels: np.ndarray):
    """As its PerspectiveCameras(in_ndc=False).transform_points_screen does.

    X R + T, x left and y up; f X / Z - p; divided by half the shorter side, from the middle, to
    NDC; and back to the screen with both axes turned.
    """
    rows, shift = pytorch3d_view(R, T)
    x, y, z = (points @ rows + shift).T
    assert (z > 0).all() and np.linalg.det(rows) == pytest.approx(1)
    width, height = SIZE
    half = min(SIZE) / 2
    ndc_x = (K[0, 0] * x / z - K[0, 2] + width / 2) / half
    ndc_y = (K[1, 1] * y / z - K[1, 2] + height / 2) / half
    screen = np.c_[width / 2 - half * ndc_x, height / 2 - half * ndc_y]
    np.testing.assert_allclose(screen, pixels, atol=1e-10)


def test_pytorch3d_s_axes():
    """In a camera before the origin, what is right in the picture lies at negative x."""
    rows, shift = pytorch3d_view(np.eye(3), np.array([0, 0, 9.0]))
    np.testing.assert_array_equal(np.array([[1.0, 0, 0]]) @ rows + shift, [[-1, 0, 9]])


def test_a_full_frame_camera_has_its_own_focal_length():
    intrinsics = np.diag([5000.0, 5000.0, 1.0])  # 6000 pixels for 36 mm
    assert focal_35mm(intrinsics, (6000, 4000)) == pytest.approx(5000 * 36 / 6000)
