"""Rotation against SciPy; projection and clip space against the public matrix and each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.camera import Camera, angle_rates, rotate, rotation_angles, rotation_matrix
from options.face_options import CameraOptions

ANGLES = torch.tensor(
    [[0.3, -0.7, 1.1], [0.0, 0.0, 0.0], [-2.0, 0.4, 3.0], [1e-4, 1.5, -0.2]], dtype=torch.float64
)


def test_rotation_is_scipys_extrinsic_xyz():
    expected = Rotation.from_euler("xyz", ANGLES.numpy()).as_matrix()
    np.testing.assert_allclose(rotation_matrix(ANGLES).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("angles", "vector", "expected"),
    [
        ([math.pi / 2, 0, 0], [0, 1, 0], [0, 0, 1]),  # positive pitch: the forehead comes nearer
        ([0, math.pi / 2, 0], [0, 0, 1], [1, 0, 0]),  # positive yaw: the nose turns to +x
        ([0, 0, math.pi / 2], [1, 0, 0], [0, 1, 0]),  # positive roll: counter-clockwise
    ],
)
def test_sense_of_each_angle(angles: list[float], vector: list[float], expected: list[float]):
    rotation = rotation_matrix(torch.tensor([angles], dtype=torch.float64))
    turned = rotate(torch.tensor([[vector]], dtype=torch.float64), rotation)
    assert turned[0, 0].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotations_are_proper(dtype: torch.dtype):
    rotation = rotation_matrix(ANGLES.to(dtype))
    identity = torch.eye(3, dtype=dtype).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4, dtype=dtype))


def test_rotate_turns_row_vectors():
    vectors = torch.randn(4, 5, 3, dtype=torch.float64)
    rotation = rotation_matrix(ANGLES)
    torch.testing.assert_close(rotate(vectors, rotation), vectors @ rotation.transpose(1, 2))


def test_rotation_gradient():
    vectors = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    angles = ANGLES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, a: rotate(v, rotation_matrix(a)), (vectors, angles))


def test_rnet_camera_golden_numbers():
    camera = Camera.rnet()
    assert (camera.width, camera.height, camera.distance_dm) == (224, 224, 10.0)
    objects = torch.tensor([[[0.0, 0, 0], [1.0, 1.0, 0], [-0.5, 0.25, 2.0], [1.0, 0, -5.0]]])
    pixels = camera.project(camera.from_object(objects))[0]
    expected = [
        [112, 112],
        [112 + 101.5, 112 - 101.5],
        [112 - 1015 * 0.5 / 8, 112 - 1015 * 0.25 / 8],
        [112 + 1015 / 15, 112],
    ]
    np.testing.assert_allclose(pixels.numpy(), expected, rtol=1e-6)


def test_options_make_the_camera():
    options = CameraOptions(focal=800.0, center=64.0, camera_d=8.0, z_near=2.0, z_far=20.0)
    camera = Camera.rnet(options)
    # The crop keeps its size: center only moves the principal point.
    assert (camera.width, camera.height) == (224, 224)
    assert (camera.distance_dm, camera.near_dm, camera.far_dm) == (8.0, 2.0, 20.0)
    one = camera.project(torch.tensor([[[1.0, 1.0, 8.0]]]))
    assert one[0, 0].tolist() == pytest.approx([164.0, -36.0])


@pytest.mark.parametrize(
    "wrong", [{"focal": 0.0}, {"camera_d": -1.0}, {"z_near": 0.0}, {"z_near": 9.0, "z_far": 8.0}]
)
def test_cameras_that_see_nothing_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="--" + next(iter(wrong))):
        CameraOptions(**wrong)


def test_from_object_and_to_object_are_inverse():
    camera = Camera.rnet()
    points = torch.randn(2, 7, 3, dtype=torch.float64)
    camera_points = camera.from_object(points)
    torch.testing.assert_close(camera_points[..., 2], 10 - points[..., 2])
    torch.testing.assert_close(camera.to_object(camera_points), points)


def test_maps_leave_their_arguments_as_they_are():
    camera = Camera.rnet()
    points = torch.randn(2, 7, 3) + torch.tensor([0.0, 0.0, 10.0])
    before = points.clone()
    for apply in (camera.from_object, camera.to_object, camera.project, camera.clip):
        apply(points)
        assert torch.equal(points, before)


def test_regrid_is_a_crop_or_an_enlargement():
    camera = Camera.rnet().to(torch.float64)
    points = torch.randn(2, 7, 3, dtype=torch.float64) + torch.tensor([0.0, 0.0, 10.0])
    scale = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    shift = torch.tensor([[-30.0, 7.0]], dtype=torch.float64)
    moved = camera.regrid(scale, shift, (90, 120))
    assert (moved.width, moved.height) == (90, 120)
    torch.testing.assert_close(moved.project(points), camera.project(points) * scale + shift)
    # The rasteriser's coordinates follow: -1 and 1 are the new edges.
    clip = moved.clip(points)
    pixels = (clip[..., :2] / clip[..., 3:] + 1) / 2 * torch.tensor([90.0, 120.0])
    torch.testing.assert_close(pixels, moved.project(points))


def public_clip(vertices: np.ndarray, focal: float, centre: float, near: float, far: float):
    """The published renderer's projection: matrix times a homogeneous point whose y is negated."""
    x = near * math.tan(math.atan(centre / focal))
    matrix = np.array(
        [
            [near / x, 0, 0, 0],
            [0, near / x, 0, 0],
            [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )
    points = vertices * np.array([1.0, -1.0, 1.0])
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ matrix.T


@pytest.mark.parametrize("options", [CameraOptions(), CameraOptions(900.0, 112.0, 9.0, 4.0, 30.0)])
def test_clip_is_the_public_projection(options: CameraOptions):
    camera = Camera.rnet(options).to(torch.float64)
    vertices = torch.randn(2, 50, 3, dtype=torch.float64) + torch.tensor([0.0, 0.0, 10.0])
    expected = public_clip(
        vertices.numpy(), options.focal, options.center, options.z_near, options.z_far
    )
    np.testing.assert_allclose(camera.clip(vertices).numpy(), expected, rtol=1e-12, atol=1e-12)


def uneven_camera(kind: str) -> Camera:
    """Not square, off-centre, other focal lengths for each axis and item."""
    return Camera(
        focal_px=torch.tensor([[500.0, 700.0], [900.0, 800.0]], dtype=torch.float64),
        centre_px=torch.tensor([[30.0, 80.0], [50.5, 61.25]], dtype=torch.float64),
        height=120,
        width=90,
        distance_dm=9.0,
        near_dm=4.0,
        far_dm=14.0,
        kind=kind,  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_clip_and_project_agree(kind: str):
    """x/w = -1 is the left edge (pixel 0), 1 the right one; y/w = -1 is the top."""
    camera = uneven_camera(kind)
    vertices = torch.randn(2, 50, 3, dtype=torch.float64) + torch.tensor([0.0, 0.0, 9.0])
    clip = camera.clip(vertices)
    size = torch.tensor([90.0, 120.0], dtype=torch.float64)
    pixels = (clip[..., :2] / clip[..., 3:] + 1) / 2 * size
    torch.testing.assert_close(pixels, camera.project(vertices))


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_depth_runs_from_near_to_far(kind: str):
    camera = uneven_camera(kind)
    depths = torch.tensor([4.0, 6.0, 9.0, 12.0, 14.0], dtype=torch.float64)
    vertices = torch.stack([torch.zeros(5), torch.zeros(5), depths], dim=1).expand(2, -1, -1)
    clip = camera.clip(vertices.to(torch.float64))
    ndc = clip[0, :, 2] / clip[0, :, 3]
    assert float(ndc[0]) == pytest.approx(-1)
    assert float(ndc[-1]) == pytest.approx(1)
    assert (ndc.diff() > 0).all()


def test_weak_perspective_ignores_depth_and_agrees_at_the_origin():
    weak = uneven_camera("weak")
    near, far = torch.tensor([0.3, -0.2, 7.0]), torch.tensor([0.3, -0.2, 12.0])
    points = torch.stack([near, far]).expand(2, -1, -1).double()
    pixels = weak.project(points)
    torch.testing.assert_close(pixels[:, 0], pixels[:, 1])
    at_origin = torch.tensor([[[0.3, -0.2, 9.0]]] * 2, dtype=torch.float64)
    perspective = replace(weak, kind="perspective")
    torch.testing.assert_close(weak.project(at_origin), perspective.project(at_origin))


def test_up_in_the_object_is_up_in_the_image():
    camera = Camera.rnet()
    points = camera.from_object(torch.tensor([[[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]]]))
    high, low = camera.project(points)[0, :, 1]
    assert high < 112 < low


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_camera_gradients(kind: str):
    camera = uneven_camera(kind)
    offset = torch.tensor([0.0, 0.0, 9.0], dtype=torch.float64)
    vertices = (torch.randn(2, 4, 3, dtype=torch.float64) + offset).requires_grad_()
    assert torch.autograd.gradcheck(camera.project, (vertices,))
    assert torch.autograd.gradcheck(camera.clip, (vertices,))
    assert torch.autograd.gradcheck(camera.from_object, (vertices,))


def test_angles_undo_the_rotation():
    angles = torch.tensor([[0.3, -0.7, 0.2], [-0.4, 1.2, -1.0], [0.0, 0.0, 0.0]])
    assert rotation_angles(rotation_matrix(angles)) == pytest.approx(angles, abs=1e-6)


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_projection_derivatives_are_those_of_the_projection(kind: str):
    camera = uneven_camera(kind)
    objects = torch.randn(2, 6, 3, dtype=torch.float64)

    def pixels(points: torch.Tensor) -> torch.Tensor:
        return camera.project(camera.from_object(points)).sum(dim=(0, 1))

    # Each point moves its own pixel alone, so that the sum keeps their derivatives apart.
    expected = torch.autograd.functional.jacobian(pixels, objects)
    found = camera.projection_derivatives(camera.from_object(objects))
    torch.testing.assert_close(found, expected.permute(1, 2, 0, 3))  # pyright: ignore


def test_angle_rates_are_those_of_a_turning_head():
    angles = torch.tensor([[0.3, -0.7, 0.2], [-0.4, 1.2, -1.0], [0.0, 0.0, 0.0]]).double()
    before, size = Rotation.from_matrix(rotation_matrix(angles).numpy()), 1e-6
    for axis in range(3):
        turn = size * np.eye(3)[axis]
        ahead, behind = (
            rotation_angles(
                torch.from_numpy((Rotation.from_rotvec(sign * turn) * before).as_matrix())
            )
            for sign in (1, -1)
        )
        torch.testing.assert_close(
            angle_rates(angles)[:, :, axis], (ahead - behind) / (2 * size), rtol=1e-6, atol=1e-8
        )
    # A head in profile has no such rates; they stay finite.
    assert angle_rates(torch.tensor([[0.0, math.pi / 2, 0.0]])).isfinite().all()


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_zooming_changes_nothing_but_the_perspective(kind: str):
    """Its derivative against central differences; faces at the origin keep their size."""
    camera = replace(Camera.rnet().to(torch.float64), kind=kind)  # pyright: ignore
    points = torch.randn(2, 20, 3, dtype=torch.float64)

    def seen(log_focal: float) -> torch.Tensor:
        zoomed = camera.zoomed(log_focal)
        return zoomed.project(zoomed.from_object(points))

    size = 1e-5
    expected = (seen(0.3 + size) - seen(0.3 - size)) / (2 * size)
    zoomed = camera.zoomed(0.3)
    found = zoomed.zoom_derivatives(zoomed.from_object(points))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    flat = points.clone()
    flat[..., 2] = 0
    one, other = (c.project(c.from_object(flat)) for c in (camera, zoomed))
    torch.testing.assert_close(one, other)
