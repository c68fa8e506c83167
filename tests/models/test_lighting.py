"""Spherical harmonics against SciPy's, and the constant light that zero coefficients mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from models.camera import rotation_matrix
from models.lighting import (
    AMBIENT,
    bounded_irradiance,
    harmonics_by_rotation,
    irradiance,
    light_coefficients,
    sh_basis,
    sh_basis_gradient,
    shade,
    turn_light,
    turned_harmonics,
)
from models.skeleton import rotation_from_axis_angle


def unit_vectors(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64), dim=-1)


def real_harmonic(degree: int, order: int, points: np.ndarray) -> np.ndarray:
    """Real spherical harmonic with the Condon-Shortley phase, from SciPy's complex ones."""
    x, y, z = points.T
    value = sph_harm_y(degree, abs(order), np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x))
    if order == 0:
        return value.real
    return math.sqrt(2) * (value.real if order > 0 else value.imag)


def test_basis_is_scipys_harmonics_times_the_documented_kernel():
    kernel = {0: math.pi, 1: 2 * math.pi / math.sqrt(3), 2: 2 * math.pi / math.sqrt(8)}
    normals = unit_vectors(200)
    expected = [
        kernel[degree] * real_harmonic(degree, order, normals.numpy())
        for degree in range(3)
        for order in range(-degree, degree + 1)
    ]
    np.testing.assert_allclose(sh_basis(normals).numpy(), np.stack(expected, axis=1), atol=1e-13)


def test_golden_values_towards_the_camera():
    basis = sh_basis(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).tolist()
    band0 = math.pi / math.sqrt(4 * math.pi)
    band1 = 2 * math.pi / math.sqrt(3) * math.sqrt(3 / (4 * math.pi))
    band2 = 2 * math.pi / math.sqrt(8) * math.sqrt(5 / (4 * math.pi))
    assert basis == pytest.approx([band0, 0, band1, 0, 0, 0, band2, 0, 0], abs=1e-12)
    assert basis[0] == pytest.approx(0.886226925452758)


def test_bands_are_orthogonal_on_the_sphere():
    """Gauss-Legendre in z times equal steps in longitude is exact for these products."""
    z, weight = np.polynomial.legendre.leggauss(8)
    phi = np.arange(16) * 2 * np.pi / 16
    radius = np.sqrt(1 - z**2)
    x, y = radius[:, None] * np.cos(phi), radius[:, None] * np.sin(phi)
    points = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1)
    basis = sh_basis(torch.from_numpy(points)).numpy()
    gram = np.einsum("ij,ijk,ijl->kl", np.outer(weight, np.full(16, np.pi / 8)), basis, basis)
    kernel = [math.pi] + [2 * math.pi / math.sqrt(3)] * 3 + [2 * math.pi / math.sqrt(8)] * 5
    np.testing.assert_allclose(gram, np.diag(np.square(kernel)), atol=1e-10)


def test_gamma_is_three_channels_of_nine():
    gamma = torch.arange(27.0)[None]
    light = light_coefficients(gamma)
    assert light.shape == (1, 9, 3)
    assert light[0, 0].tolist() == pytest.approx([0 + AMBIENT, 9 + AMBIENT, 18 + AMBIENT])
    assert light[0, 8].tolist() == [8, 17, 26]


def test_zero_gamma_is_the_same_light_from_everywhere():
    light = irradiance(unit_vectors(20)[None], torch.zeros(1, 27, dtype=torch.float64))
    expected = 0.8 * math.pi / math.sqrt(4 * math.pi)
    np.testing.assert_allclose(light.numpy(), expected, rtol=1e-12)


def test_light_from_above_brightens_what_looks_up():
    gamma = torch.zeros(1, 27, dtype=torch.float64)
    gamma[:, [1, 10, 19]] = -0.5  # the basis of the first-order y harmonic is -y
    normals = torch.tensor([[[0.0, 1, 0], [0.0, -1, 0]]], dtype=torch.float64)
    up, down = irradiance(normals, gamma)[0, :, 0]
    assert up > down


def test_shade_equals_a_plain_loop():
    albedo, normals = torch.rand(2, 3, 3).double(), unit_vectors(6).reshape(2, 3, 3)
    gamma = torch.randn(2, 27, dtype=torch.float64)
    expected = np.zeros((2, 3, 3))
    for b in range(2):
        for v in range(3):
            basis = sh_basis(normals[b, v]).numpy()
            for c in range(3):
                light = gamma[b, 9 * c : 9 * c + 9].numpy().copy()
                light[0] += 0.8
                expected[b, v, c] = float(albedo[b, v, c]) * float(basis @ light)
    np.testing.assert_allclose(shade(albedo, normals, gamma).numpy(), expected, rtol=1e-12)


def test_shade_does_not_clip():
    normals = torch.tensor([[[0.0, 0, 1]]])
    assert shade(torch.ones(1, 1, 3), normals, torch.full((1, 27), 5.0)).min() > 1
    assert shade(torch.ones(1, 1, 3), normals, torch.full((1, 27), -5.0)).max() < 0


def test_shading_gradient():
    albedo = torch.rand(1, 4, 3, dtype=torch.float64, requires_grad=True)
    normals = unit_vectors(4)[None].requires_grad_()
    gamma = torch.randn(1, 27, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shade, (albedo, normals, gamma))


def test_basis_gradient_is_that_of_the_polynomials():
    """Also away from the unit sphere, where mixed normals lie."""
    normals = unit_vectors(20) * torch.linspace(0.5, 1.5, 20, dtype=torch.float64)[:, None]
    expected = torch.func.vmap(torch.func.jacrev(sh_basis))(normals)
    torch.testing.assert_close(sh_basis_gradient(normals), expected)
    assert sh_basis_gradient(normals.reshape(4, 5, 3)).shape == (4, 5, 9, 3)


def test_turned_harmonics_are_those_of_turned_normals():
    turn = rotation_matrix(torch.tensor([[0.4, -1.1, 2.0], [0.0, 0.2, 0.0]], dtype=torch.float64))
    normals = unit_vectors(30)
    expected = sh_basis(normals @ turn.mT)
    torch.testing.assert_close(sh_basis(normals) @ turned_harmonics(turn), expected)


def test_turned_light_falls_on_turned_normals_alike():
    turn = rotation_matrix(torch.tensor([[0.4, -1.1, 2.0], [0.0, 0.2, 0.0]], dtype=torch.float64))
    gamma, normals = 0.2 * torch.randn(2, 27, dtype=torch.float64), unit_vectors(30)
    before = irradiance(normals.expand(2, -1, -1), gamma)
    after = irradiance(normals @ turn.mT, turn_light(gamma, turn))
    torch.testing.assert_close(after, before)


def test_harmonics_by_small_rotations():
    """By central differences of turned normals."""
    normals, size = unit_vectors(30), 1e-5
    found = sh_basis(normals) @ harmonics_by_rotation(torch.float64, normals.device)  # (3, 30, 9)
    for axis, by_axis in enumerate(found):
        step = torch.zeros(1, 3, dtype=torch.float64)
        step[0, axis] = size
        ahead, behind = (
            sh_basis(normals @ rotation_from_axis_angle(sign * step)[0].T) for sign in (1, -1)
        )
        torch.testing.assert_close(by_axis, (ahead - behind) / (2 * size), atol=1e-8, rtol=1e-6)


def from_the_left(red: float, others: float) -> torch.Tensor:
    """Light whose channels fall at different rates to the right, below 0 if they fall enough."""
    gamma = torch.zeros(1, 3, 9, dtype=torch.float64)
    gamma[:, 0, 3], gamma[:, 1:, 3] = red, others
    return gamma.reshape(1, 27)


def test_bounded_light_overshoots_in_no_channel():
    normals, gamma = unit_vectors(500)[None], from_the_left(0.9, 1.3)
    free, bounded = irradiance(normals, gamma), bounded_irradiance(normals, gamma)
    mixed = (free > 0).any(dim=-1) & (free < 0).any(dim=-1)
    assert mixed.any()
    assert (bounded >= 0.1 * free.max() - 1e-12).all()
    assert (bounded.amin(dim=-1) >= 0.249 * bounded.amax(dim=-1)).all()
    bright = (free.amin(dim=-1) > 0.3 * free.amax(dim=-1)) & (free.amin(dim=-1) > 0.2 * free.max())
    assert bright.sum() > 100 and torch.equal(bounded[bright], free[bright])


def test_bounds_follow_the_exposure_of_the_photo():
    """A photo taken in the dark stays dark."""
    normals, gamma = unit_vectors(200)[None], from_the_left(0.3, 0.5)
    total = light_coefficients(gamma) * 0.05
    total[:, 0] -= AMBIENT
    dim = total.transpose(1, 2).reshape(1, 27)
    torch.testing.assert_close(
        bounded_irradiance(normals, dim), 0.05 * bounded_irradiance(normals, gamma)
    )
