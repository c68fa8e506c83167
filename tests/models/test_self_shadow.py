"""The light that a face keeps from itself, against integrals over all directions."""

import numpy as np
import pytest
import torch
import trimesh

from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel, FaceModelData
from models.lighting import irradiance, sh_basis
from models.parameters import Coefficients
from models.self_shadow import (
    MOST_BLOCKED,
    LightPaths,
    SelfShadow,
    sphere,
    visible_directions,
)
from models.stages import pose_face, shape_face
from tests.models.fitting.faces import random_face
from tests.random_directions import directions

TURN = rotation_matrix(torch.tensor([[0.3, -0.7, 0.2]]))


@pytest.fixture(scope="module")
def model(open_face_data: FaceModelData) -> FaceModel:
    return FaceModel(open_face_data)


@pytest.fixture(scope="module")
def paths(model: FaceModel) -> LightPaths:
    return model.light_paths()


def test_points_on_the_sphere_are_even() -> None:
    """Means of harmonics other than the first vanish; all are unit vectors."""
    points = sphere(500)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    means = sh_basis(torch.from_numpy(points)).mean(dim=0)[1:]
    assert means.abs().max() < 0.01


def test_a_ceiling_hides_the_sky_above_the_floor() -> None:
    """Analytic: from the floor's middle all directions through the ceiling above are blocked."""
    square = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], dtype=np.float32)
    floor = np.concatenate([square, np.zeros((1, 3), np.float32)])
    ceiling = 0.6 * square + np.array([0, 0.5, 0], dtype=np.float32)
    vertices = np.concatenate([floor, ceiling])
    triangles = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [5, 6, 7], [5, 7, 8]]
    normals = np.tile(np.array([0, 1, 0], dtype=np.float32), (len(vertices), 1))
    rays = directions(400)
    rays = rays[rays[:, 1] > 0.15]
    lit = visible_directions(vertices, normals, torch.tensor(triangles, dtype=torch.int32), rays)
    at_ceiling = np.abs(rays[:, [0, 2]] / rays[:, 1:2] * 0.5).max(axis=1)
    clear = np.abs(at_ceiling - 0.6) > 0.06
    np.testing.assert_array_equal(lit[4, clear], at_ceiling[clear] > 0.6)
    assert lit[5:, :].mean() > 0.95


def test_a_ball_shades_nothing() -> None:
    """A convex body: whatever lights a point's side of it reaches the point."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    points = np.asarray(ball.vertices, dtype=np.float32)
    triangles = torch.from_numpy(np.asarray(ball.faces, dtype=np.int32))
    shadow = SelfShadow.of(LightPaths.of(points, points, triangles))
    assert shadow.blocked.abs().max() < 0.05
    assert shadow.blocked.abs().mean() < 0.005


def test_open_and_blocked_light_add_up_to_the_basis(model: FaceModel, paths: LightPaths) -> None:
    """If a fifth of all light is in the way, a fifth is lost: the units of the bands are right."""
    normals = model.normals(model.mean_shape.reshape(1, -1, 3))[0]
    fifth = LightPaths(paths.directions, paths.open, 0.2 * paths.open)
    torch.testing.assert_close(
        SelfShadow.of(fifth).blocked, 0.2 * sh_basis(normals), atol=0.004, rtol=0.01
    )


def test_even_light_loses_the_share_of_the_sky_that_is_hidden(paths: LightPaths) -> None:
    """Oracle: cosine-weighted shares of directions, without harmonics; and never all of it."""
    shadow = SelfShadow.of(paths)
    constant = sh_basis(torch.tensor([0.0, 0.0, 1.0]))[0]
    share = paths.blocked.sum(axis=1) / paths.open.sum(axis=1)
    expected = np.minimum(share, MOST_BLOCKED)
    np.testing.assert_allclose(shadow.blocked[:, 0] / constant, expected, atol=0.01)
    assert share.min() == 0 and share.max() > 0.8


def test_shadows_turn_with_the_head_and_the_light_does_not(paths: LightPaths) -> None:
    """Oracle: the sum over directions that are turned themselves, under light of the world."""
    light = torch.randn(9, generator=torch.Generator().manual_seed(3))
    turned = paths.directions @ TURN[0].numpy().T
    bands = np.repeat([4.0, 6.0, 16.0], [1, 3, 5])
    radiance = sh_basis(torch.from_numpy(turned)).numpy() * bands @ light.numpy()
    expected = (paths.blocked @ radiance) / len(turned)
    found = SelfShadow.of(paths).at(TURN)[0] @ light
    whole = paths.blocked.sum(axis=1) < MOST_BLOCKED * paths.open.sum(axis=1)
    assert whole.mean() > 0.6
    np.testing.assert_allclose(found.numpy()[whole], expected[whole], atol=1e-4)


def test_faces_are_shaded_when_asked(model: FaceModel) -> None:
    """The public formula stays what it is; shadows darken what lies deep, and nothing in front."""
    at = Coefficients(**{**dict(random_face(model).items()), "gamma": torch.zeros(1, 27)})
    shaped = shape_face(model, at)
    plain = pose_face(model, shaped, at, Camera.rnet())
    shaded = pose_face(model, shaped, at, Camera.rnet(), model.self_shadow)
    assert plain.shadow is None
    assert torch.equal(plain.colours, shaped.albedo * irradiance(plain.normals, at.gamma))
    share = ((shaded.harmonics / plain.harmonics)[0, :, 0]).double()
    torch.testing.assert_close(
        shaded.colours, plain.colours * share[None, :, None].float(), atol=1e-5, rtol=1e-4
    )
    assert share.min() > 0.58 and share.max() < 1.02
    points = model.mean_shape.reshape(-1, 3)
    landmarks = model.landmarks(model.mean_shape.reshape(1, -1, 3))[0]
    nearest = (points[None] - landmarks[[30, 39, 42], None]).norm(dim=2).argmin(dim=1)
    tip, *corners = share[nearest].tolist()
    assert tip > 0.9 and max(corners) < 0.85


def test_shadows_first_seen_in_inference_have_gradients_later(
    open_face_data: FaceModelData,
) -> None:
    """Programs draw before they fit: what is kept of that must not forbid gradients."""
    model = FaceModel(open_face_data)
    with torch.inference_mode():
        assert model.self_shadow.blocked.shape == (model.vertex_count, 9)
    angles = torch.zeros(1, 3, requires_grad=True)
    model.self_shadow.at(rotation_matrix(angles)).square().sum().backward()
    assert angles.grad is not None and angles.grad.isfinite().all()
    assert model.self_shadow is model.self_shadow
