"""Cameras of synthetic faces: the R-Net's at any size, and random ones."""

import numpy as np
import torch

from data.synthetic.cameras import extrinsics, fixed_camera, intrinsics, joined, random_view
from data.synthetic.sampling import CAMERA, generator
from models.camera import Camera, rotate, rotation_matrix


def test_the_fixed_camera_is_the_rnets() -> None:
    ours, rnet = fixed_camera(224), Camera.rnet()
    np.testing.assert_array_equal(intrinsics(ours), intrinsics(rnet))
    large = fixed_camera(896)
    assert (large.width, large.height) == (896, 896)
    points = torch.tensor([[[0.3, -0.2, 9.5]]])
    torch.testing.assert_close(large.project(points), 4 * rnet.project(points))


def test_random_views_show_the_head() -> None:
    views = [random_view(generator(0, index, CAMERA), 256) for index in range(300)]
    fields, distances, sizes, middles = [], [], set(), []
    for view in views:
        camera = view.camera
        head = torch.from_numpy(view.translation_dm).float().reshape(1, 1, 3)
        in_camera = camera.from_object(head)
        x, y = camera.project(in_camera)[0, 0].tolist()
        assert 0 < x < camera.width and 0 < y < camera.height
        distance = float(in_camera[0, 0, 2])
        assert camera.near_dm < distance - 2 and distance + 5 < camera.far_dm
        face = float(camera.focal_px[0, 0]) * 2 / distance
        assert face < 0.85 * min(camera.width, camera.height)
        fields.append(float(camera.focal_px[0, 0]) / camera.width)
        distances.append(distance)
        sizes.add((camera.width, camera.height))
        middles.append((camera.centre_px[0, 0] - camera.width / 2).item() / camera.width)
    assert min(fields) < 1.1 and max(fields) > 4
    assert min(distances) < 4 and max(distances) > 15
    assert len(sizes) > 100 and np.std(middles) > 0.02


def test_extrinsics_are_the_same_pose_in_other_words() -> None:
    """K (R x + t) against the project's own ladder of maps."""
    view = random_view(generator(0, 5, CAMERA), 256)
    angles = np.array([[0.2, -0.5, 0.1]], dtype=np.float32)
    shift = view.translation_dm[None].astype(np.float32)
    points = np.random.default_rng(0).normal(0, 0.7, (1, 20, 3)).astype(np.float32)
    posed = rotate(torch.from_numpy(points), rotation_matrix(torch.from_numpy(angles)))
    camera = view.camera
    expected = camera.project(camera.from_object(posed + torch.from_numpy(shift[:, None])))[0]
    rotation, translation = extrinsics(angles, shift, camera.distance_dm)
    homogeneous = (points[0] @ rotation[0].T + translation[0]) @ intrinsics(camera).T
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], expected, atol=1e-2)
    assert np.linalg.det(rotation[0]) > 0.999


def test_cameras_join_into_a_batch() -> None:
    one, two = (random_view(generator(0, k, CAMERA), 256).camera for k in range(2))
    both = joined([one, two])
    points = torch.tensor([[[0.1, 0.2, 9.0]]])
    projected = both.project(points.expand(2, -1, -1))
    torch.testing.assert_close(projected[1:], two.project(points))
