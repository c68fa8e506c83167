"""Distant light as nine real spherical harmonics a colour channel, and Lambertian shading with it.

Bands 0 to 2, with the Lambertian (cosine) kernel folded into the basis: irradiance at a surface is
linear in the coefficients (Ramamoorthi and Hanrahan, SIGGRAPH 2001, eq. 5 and 9; Deng et al. 2019,
section 3.1, model of equation 1).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

# The light that zero coefficients mean: 0.8 in the constant band of every channel, so that an
# untrained network already renders a plainly lit face.
AMBIENT = 0.8

# Of the brightest light on a face, and of the brightest channel: what `bounded_irradiance` leaves.
_LEAST_LIGHT, _LEAST_SHARE = 0.1, 0.25

# Cosine-kernel factors of the bands 0, 1, 2 in the paper's normalisation. They differ from
# Ramamoorthi's pi, 2 pi / 3, pi / 4 by sqrt(2 l + 1) and a constant, which trained coefficients
# have absorbed; they must stay.
_KERNEL = (math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8))
# Normalisation of the real harmonics of each band.
_NORM = (
    1 / math.sqrt(4 * math.pi),
    math.sqrt(3) / math.sqrt(4 * math.pi),
    3 * math.sqrt(5) / math.sqrt(12 * math.pi),
)


def sh_basis(normals: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 9"]:
    """Evaluate the nine harmonics, times the cosine kernel, at unit normals.

    Order and signs: 1; -y, z, -x; xy, -yz, (3 z^2 - 1) / (2 sqrt 3), -xz, (x^2 - y^2) / 2.

    Args:
        normals: unit vectors in the frame that the light lives in (posed object frame:
            x right in the image, y up, z towards the camera).

    Returns:
        Basis values; their product with nine coefficients is the irradiance.
    """
    x, y, z = normals.unbind(-1)
    band0, band1, band2 = (kernel * norm for kernel, norm in zip(_KERNEL, _NORM, strict=True))
    return torch.stack(
        [
            torch.full_like(x, band0),
            -band1 * y,
            band1 * z,
            -band1 * x,
            band2 * x * y,
            -band2 * y * z,
            band2 * (0.5 / math.sqrt(3)) * (3 * z * z - 1),
            -band2 * x * z,
            0.5 * band2 * (x * x - y * y),
        ],
        dim=-1,
    )


def sh_basis_gradient(normals: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 9 3"]:
    """Derivatives of `sh_basis` by x, y and z, as if its polynomials held off the unit sphere."""
    x, y, z = normals.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    _, band1, band2 = (kernel * norm for kernel, norm in zip(_KERNEL, _NORM, strict=True))
    rows = [
        (zero, zero, zero),
        (zero, -band1 * one, zero),
        (zero, zero, band1 * one),
        (-band1 * one, zero, zero),
        (band2 * y, band2 * x, zero),
        (zero, -band2 * z, -band2 * y),
        (zero, zero, band2 * math.sqrt(3) * z),
        (-band2 * z, zero, -band2 * x),
        (band2 * x, -band2 * y, zero),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def turned_harmonics(rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 9 9"]:
    """D with sh_basis(R n) = sh_basis(n) D for every n: a rotation mixes harmonics of a band."""
    directions, inverse = _probes(rotation.dtype, rotation.device)
    return inverse @ sh_basis(directions @ rotation.mT)


def turn_light(
    gamma: Float[Tensor, "batch 27"], rotation: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch 27"]:
    """Light turned with the scene: what shone on normal n shines on R n.

    B(n) light' = B(R^-1 n) light for every n. The constant light, which gamma leaves out, looks the
    same from everywhere.
    """
    turned = gamma.unflatten(1, (3, 9)) @ turned_harmonics(rotation.mT).mT
    return turned.flatten(1)


@cache
@torch.inference_mode(False)
def harmonics_by_rotation(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "3 9 9"]:
    """G with d sh_basis(R n) / dw = sh_basis(R n) G for small rotations R -> exp([w]x) R."""
    directions, inverse = _probes(torch.float64, torch.device("cpu"))
    axes = torch.eye(3, dtype=torch.float64)[:, None]
    moved = torch.linalg.cross(axes, directions[None])  # e x n
    change = (sh_basis_gradient(directions) @ moved[..., None])[..., 0]
    return (inverse @ change).to(device, dtype)


@cache
@torch.inference_mode(False)
def _probes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Directions (24, 3) all over the sphere, and the inverse (9, 24) of the harmonics at them.

    More than there are harmonics, so that functions of them are found exactly from values there.
    """
    normal = torch.Generator().manual_seed(0)
    points = torch.randn(24, 3, generator=normal, dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True)
    inverse = torch.linalg.pinv(sh_basis(points))
    return points.to(device, dtype), inverse.to(device, dtype)


def light_coefficients(gamma: Float[Tensor, "batch 27"]) -> Float[Tensor, "batch 9 3"]:
    """Unpack network lighting into harmonics by channels, with the constant light added."""
    light = gamma.reshape(-1, 3, 9).transpose(1, 2)
    ambient = torch.zeros(9, 1, dtype=gamma.dtype, device=gamma.device)
    ambient[0] = AMBIENT
    return light + ambient


def lit_harmonics(
    normals: Float[Tensor, "*points 3"], shadow: Float[Tensor, "*points 9"] | None
) -> Float[Tensor, "*points 9"]:
    """What each coefficient of the light gives a point.

    Args:
        normals: unit.
        shadow: what the face itself is in the way of (`models.self_shadow`); None for nothing.
    """
    harmonics = sh_basis(normals)
    return harmonics if shadow is None else harmonics - shadow


def irradiance(
    normals: Float[Tensor, "batch vertices 3"],
    gamma: Float[Tensor, "batch 27"],
    shadow: Float[Tensor, "batch vertices 9"] | None = None,
) -> Float[Tensor, "batch vertices 3"]:
    """Incoming light at each vertex in RGB; negative where the harmonics overshoot."""
    return lit_harmonics(normals, shadow) @ light_coefficients(gamma)


def bounded_irradiance(
    normals: Float[Tensor, "batch vertices 3"], gamma: Float[Tensor, "batch 27"]
) -> Float[Tensor, "batch vertices 3"]:
    """`irradiance` for faces that are seen otherwise than in the photo that the light is from.

    Surfaces that the photo did not show come into sight when a head turns; nothing has told the
    harmonics how bright they are. Where one channel overshoots below 0 and another does not, the
    rim of the face is orange, or what colour remains. No light in a photo is so dark or so pure.
    """
    light = irradiance(normals, gamma)
    brightest = light.amax(dim=-1, keepdim=True)
    least = _LEAST_LIGHT * brightest.amax(dim=1, keepdim=True)
    return torch.maximum(light, torch.maximum(_LEAST_SHARE * brightest, least))


def shade(
    albedo: Float[Tensor, "batch vertices 3"],
    normals: Float[Tensor, "batch vertices 3"],
    gamma: Float[Tensor, "batch 27"],
    shadow: Float[Tensor, "batch vertices 9"] | None = None,
) -> Float[Tensor, "batch vertices 3"]:
    """Colour of a Lambertian surface: albedo times irradiance, not clipped."""
    return albedo * irradiance(normals, gamma, shadow)
