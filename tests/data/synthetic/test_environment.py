"""Light around a face, and the shadows that the face casts on itself."""

import numpy as np
import pytest
import torch

from data.synthetic.environment import Environment, sample_environment, to_gamma
from data.synthetic.sampling import LIGHT, generator
from data.synthetic.shadowing import fit_light, remaining_light
from models.face_model import FaceModel
from models.lighting import light_coefficients, sh_basis
from models.self_shadow import sphere
from tests.random_directions import directions


@pytest.fixture(scope="module")
def environments() -> list[Environment]:
    return [sample_environment(generator(0, index, LIGHT)) for index in range(200)]


def even(brightness: float = 1.0) -> Environment:
    grey = np.full(3, brightness)
    return Environment(grey, grey, np.array([[0.0, 0.0, 1.0]]), np.zeros((1, 3)), np.ones(1))


def test_even_light_lights_evenly() -> None:
    irradiance = sh_basis(torch.from_numpy(directions(50))).numpy() @ even(0.7).harmonics().T
    np.testing.assert_allclose(irradiance, 0.7, atol=0.01)


def test_harmonics_are_the_integral_of_the_light(environments) -> None:
    """Oracle: a Monte Carlo integral of the clamped cosine; nine harmonics leave a few per cent."""
    rays, normals = directions(200_000), directions(30)
    cosine = np.maximum(normals @ rays.T, 0)
    for environment in environments[:6]:
        exact = 4 * cosine @ environment.radiance(rays) / len(rays)
        ours = sh_basis(torch.from_numpy(normals)).numpy() @ environment.harmonics().T
        assert np.abs(ours - exact).mean() < 0.04 * exact.max()


def test_a_lobe_lights_what_faces_it_with_its_colour() -> None:
    towards, colour = np.array([[0.0, 0.6, 0.8]]), np.array([[0.9, 0.7, 0.5]])
    for sharpness in (5.0, 60.0):
        lobe = Environment(np.zeros(3), np.zeros(3), towards, colour, np.array([sharpness]))
        rays = sphere(100_000)
        irradiance = 4 / len(rays) * np.maximum(rays @ towards[0], 0) @ lobe.radiance(rays)
        # What a wide lobe sends from aside counts less.
        np.testing.assert_allclose(irradiance, colour[0] * (1 - 1 / sharpness), rtol=0.02)


def test_environments_are_exposed_and_varied(environments) -> None:
    basis = sh_basis(torch.from_numpy(directions(500))).float()
    gammas = torch.from_numpy(np.stack([e.gamma() for e in environments])).float()
    front = torch.from_numpy(directions(500)[:, 2] > 0.3)
    seen = (basis[front] @ light_coefficients(gammas)).mean(dim=1).numpy()
    assert 0.6 < seen.mean(axis=1).min() < seen.mean(axis=1).max() < 1.2
    # Coloured, but a camera balances white.
    tint = seen / seen.mean(axis=1, keepdims=True)
    assert 0.01 < tint.std(axis=0).max() < 0.15
    # From all sides: strong side light, light from above, hardly any light from below.
    harmonics = gammas.reshape(-1, 3, 9)[:, 0]
    assert harmonics[:, 3].std() > 0.05
    assert -harmonics[:, 1].mean() > 0.02


def test_brighter_environments_scale() -> None:
    environment = sample_environment(generator(1, 1, LIGHT))
    factor = np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(
        environment.times(factor).harmonics(), environment.harmonics() * factor[:, None]
    )
    np.testing.assert_allclose(to_gamma(environment.harmonics()), environment.gamma())


# --- shadows -------------------------------------------------------------------------------------


def test_corners_of_a_face_are_darker_than_its_forehead(open_face_data) -> None:
    model = FaceModel(open_face_data)
    share = remaining_light(model.light_paths(), [even()], np.eye(3)[None])[0]
    assert share.shape == (model.vertex_count, 3)
    assert share.min() >= -1e-5 and share.max() <= 1 + 1e-5
    points = model.mean_shape.reshape(-1, 3).numpy()
    landmarks = model.landmarks(model.mean_shape.reshape(1, -1, 3))[0].numpy()

    def around(place: np.ndarray) -> float:
        return float(share[np.linalg.norm(points - place, axis=1) < 0.08].mean())

    forehead = (landmarks[19] + landmarks[24]) / 2 + np.array([0, 0.25, 0])
    assert around(forehead) > 0.95
    assert around(landmarks[30]) > 0.9  # the nose's tip
    assert around(landmarks[33]) < around(landmarks[30]) - 0.1  # below it
    assert around(landmarks[39]) < 0.85  # inner corner of an eye


def test_a_nose_shades_the_side_away_from_the_light(open_face_data) -> None:
    """And turns its shadow with the head: light is the world's, not the head's."""
    model = FaceModel(open_face_data)
    paths = model.light_paths()
    landmarks = model.landmarks(model.mean_shape.reshape(1, -1, 3))[0].numpy()
    points = model.mean_shape.reshape(-1, 3).numpy()
    beside = landmarks[30] + np.array([[-0.26, 0.0, -0.2], [0.26, 0.0, -0.2]])
    near = np.linalg.norm(points[None] - beside[:, None], axis=2).argmin(axis=1)

    def lamp(*towards: float) -> Environment:
        dark = np.full(3, 0.05)
        unit = np.array([towards]) / np.linalg.norm(towards)
        return Environment(dark, dark, unit, np.ones((1, 3)), np.array([40.0]))

    right = remaining_light(paths, [lamp(1.2, 0.0, 0.6)], np.eye(3)[None])[0][near, 0]
    assert right[0] < right[1] - 0.3
    left = remaining_light(paths, [lamp(-1.2, 0.0, 0.6)], np.eye(3)[None])[0][near, 0]
    assert left[1] < left[0] - 0.3
    # A head that looks to the right by as much as the lamp is there sees it in front.
    angle = np.arctan2(1.2, 0.6)
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    front = remaining_light(paths, [lamp(1.2, 0.0, 0.6)], turn[None])[0][near, 0]
    assert abs(front[0] - front[1]) < 0.15


def test_light_without_shadows_is_found_again() -> None:
    normals = directions(300)
    normals[:, 2] = np.abs(normals[:, 2])
    true = np.random.default_rng(2).normal(0, 0.3, (3, 9))
    light = sh_basis(torch.from_numpy(normals)).numpy() @ true.T
    prior = true + 0.05
    found = fit_light(normals, light, np.ones(300), prior)
    fitted = sh_basis(torch.from_numpy(normals)).numpy() @ found.T
    assert np.abs(fitted - light).max() < 0.02
    # Nothing seen: nothing changed.
    np.testing.assert_allclose(fit_light(normals, light, np.zeros(300), prior), prior)
