"""Rows of the photometric Jacobian, filled from small per-pixel factors and two tables.

A pixel's three residuals depend on the coefficients through (photometric.py derives it)

    shape      sum_s turned_cs  sum_j b_j surface_jsk     s: point x, y, z, normal x, y, z
    texture    irradiance_c     sum_j b_j albedo_jck
    rotation   by_rotation_ci
    light      albedo_c Y_l, in the block of channel c
    shift      by_point_ci

in the order of `ParameterLayout`; where blocks of shape or texture are fixed, the tables lack their
columns. Each row is multiplied by the root of its weight here, while it is in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.fitting.derivatives import FaceDerivatives
from models.kernels import for_each_item, kernel

_CHUNK = 512
"""Pixels that a thread takes at a time."""


@dataclass(frozen=True)
class PixelFactors:
    """What the rows are made of. M pixels for each face."""

    corners: Int[Tensor, "batch pixels 3"]
    """Vertices of the triangle that is seen."""
    barycentrics: Float[Tensor, "batch pixels 3"]
    """b_j"""
    turned: Float[Tensor, "batch pixels 3 6"]
    """Of each channel by the point and the normal, object frame."""
    irradiance: Float[Tensor, "batch pixels 3"]
    by_rotation: Float[Tensor, "batch pixels 3 3"]
    by_point: Float[Tensor, "batch pixels 3 3"]
    albedo: Float[Tensor, "batch pixels 3"]
    harmonics: Float[Tensor, "batch pixels 9"]
    """Y_l"""
    roots: Float[Tensor, "batch pixels 3"]
    """Root of each residual's weight."""

    def faces(self, numbers: Int[Tensor, " faces"]) -> PixelFactors:
        """Those of some faces of the batch."""
        return PixelFactors(**{name: value[numbers] for name, value in vars(self).items()})


def pixel_rows(
    factors: PixelFactors, tables: FaceDerivatives
) -> Float[Tensor, "batch rows parameters"]:
    """Weighted rows, three a pixel; compiled on the CPU, else `pixel_rows_reference`."""
    if factors.albedo.device.type != "cpu" or factors.albedo.dtype != torch.float32:
        return pixel_rows_reference(factors, tables)
    batch, count = factors.corners.shape[:2]
    size = tables.surface.shape[2] + tables.albedo.shape[2] + 33
    rows = torch.empty(batch, count, 3, size)
    arrays = {name: value.contiguous().numpy() for name, value in vars(factors).items()}
    surface, albedo, filled = tables.surface.numpy(), tables.albedo.numpy(), rows.numpy()
    chunks = -(-count // _CHUNK)

    def work(number: int) -> None:
        item, first = number // chunks, number % chunks * _CHUNK
        part = slice(first, first + _CHUNK)
        _fill(
            *(array[item, part] for array in arrays.values()),
            *(surface, albedo, filled[item, part]),
        )

    for_each_item(work, batch * chunks)
    return rows.flatten(1, 2)


def pixel_rows_reference(
    factors: PixelFactors, tables: FaceDerivatives
) -> Float[Tensor, "batch rows parameters"]:
    """The readable form."""
    at = Mixer(factors.corners, factors.barycentrics)
    of_channel = torch.eye(3, dtype=factors.albedo.dtype, device=factors.albedo.device)
    by_light = factors.albedo[..., None] * factors.harmonics[:, :, None]
    blocks = (
        factors.turned @ at(tables.surface[None]),
        factors.irradiance[..., None] * at(tables.albedo[None]),
        factors.by_rotation,
        (by_light[..., None, :] * of_channel[..., None]).flatten(-2),
        factors.by_point,
    )
    return (torch.cat(blocks, dim=-1) * factors.roots[..., None]).flatten(1, 2)


class Mixer:
    """Mixes attributes of vertices (1 or B, V, ...) at the pixels: (B, M, ...)."""

    def __init__(
        self, corners: Int[Tensor, "batch pixels 3"], barycentrics: Float[Tensor, "batch pixels 3"]
    ) -> None:
        """Say what the pixels see."""
        self._corners = corners
        self._weights = barycentrics

    def __call__(self, attributes: Tensor) -> Tensor:
        """Sum of the three corners' attributes, weighted."""
        item = torch.arange(len(self._corners), device=self._corners.device)[:, None]
        item = item.clamp(max=len(attributes) - 1)
        extra = (1,) * (attributes.dim() - 2)
        parts = (
            self._weights[..., corner].unflatten(-1, (-1, *extra))
            * attributes[item, self._corners[..., corner]]
            for corner in range(3)
        )
        first, second, third = parts
        return first + second + third


@kernel
@no_type_check
def _fill(
    corners,
    barycentrics,
    turned,
    irradiance,
    by_rotation,
    by_point,
    albedo,
    harmonics,
    roots,
    surface,
    albedo_table,
    rows,
):
    """Fill rows (M, 3, P) of one face's pixels."""
    shape_size, texture_size = surface.shape[2], albedo_table.shape[2]
    angles = shape_size + texture_size
    light = angles + 3
    shift = light + 27
    mixed = np.empty((6, shape_size), rows.dtype)
    colours = np.empty((3, texture_size), rows.dtype)
    for pixel in range(rows.shape[0]):
        i, j, k = corners[pixel, 0], corners[pixel, 1], corners[pixel, 2]
        a, b, c = barycentrics[pixel, 0], barycentrics[pixel, 1], barycentrics[pixel, 2]
        for s in range(6):
            for m in range(shape_size):
                mixed[s, m] = a * surface[i, s, m] + b * surface[j, s, m] + c * surface[k, s, m]
        for s in range(3):
            for m in range(texture_size):
                colours[s, m] = (
                    a * albedo_table[i, s, m]
                    + b * albedo_table[j, s, m]
                    + c * albedo_table[k, s, m]
                )
        for channel in range(3):
            root = roots[pixel, channel]
            x, y, z = (
                root * turned[pixel, channel, 0],
                root * turned[pixel, channel, 1],
                root * turned[pixel, channel, 2],
            )
            u, v, w = (
                root * turned[pixel, channel, 3],
                root * turned[pixel, channel, 4],
                root * turned[pixel, channel, 5],
            )
            for m in range(shape_size):
                rows[pixel, channel, m] = (
                    x * mixed[0, m]
                    + y * mixed[1, m]
                    + z * mixed[2, m]
                    + u * mixed[3, m]
                    + v * mixed[4, m]
                    + w * mixed[5, m]
                )
            lit = root * irradiance[pixel, channel]
            for m in range(texture_size):
                rows[pixel, channel, shape_size + m] = lit * colours[channel, m]
            for m in range(3):
                rows[pixel, channel, angles + m] = root * by_rotation[pixel, channel, m]
                rows[pixel, channel, shift + m] = root * by_point[pixel, channel, m]
            for m in range(27):
                rows[pixel, channel, light + m] = 0
            skin = root * albedo[pixel, channel]
            for m in range(9):
                rows[pixel, channel, light + 9 * channel + m] = skin * harmonics[pixel, m]
