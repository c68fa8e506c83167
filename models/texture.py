"""High-resolution albedo: vertex colours drawn over the texture layout, plus a few fine maps.

    texture(c) = vertex albedo(c), interpolated + sum over maps m of  weight_m(c) * map_m
    weight_m(c) = clamp(mean_m + W_m c)       one number a colour channel

Vertices hold what is smooth, the maps what lies between them: hairs, pores, freckles, wrinkles,
fibres of the iris. A map is one number a texel and its weight a colour, so that ten maps serve all
skin and hair colours. Row 0 of a texture is v = 1; texels outside the layout repeat the nearest
one inside it, so that sampling across its borders does not bleed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from models.renderer import rasterize

_STRIP_TEXELS = 1 << 17


@dataclass(frozen=True)
class TextureData:
    """Fine maps as a file holds them. K maps of H x W texels, C texture coefficients."""

    names: tuple[str, ...]
    """What each map draws."""
    maps: np.ndarray
    """(K, H, W) int8, row 0 at v = 1."""
    scales: np.ndarray
    """(K,) float32: a map's values are its integers times this."""
    weight_mean: np.ndarray
    """(K, 3) float32, RGB."""
    weight_basis: np.ndarray
    """(K, 3, C) float32: change of the weights with each coefficient."""
    weight_range: np.ndarray
    """(K, 3, 2) float32: weights end here, so that hairs never turn brighter than skin should."""

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.maps.ndim != 3 or self.maps.dtype != np.int8:
            raise ValueError(
                f"texture maps must be (K, H, W) int8, got {self.maps.shape} {self.maps.dtype}"
            )
        expected = {
            "maps": (count, *self.maps.shape[1:]),
            "scales": (count,),
            "weight_mean": (count, 3),
            "weight_basis": (count, 3, self.weight_basis.shape[-1]),
            "weight_range": (count, 3, 2),
        }
        for name, shape in expected.items():
            if (got := getattr(self, name).shape) != shape:
                raise ValueError(f"{name} of {count} texture maps must be {shape}, got {got}")


@dataclass(frozen=True)
class LayoutRaster:
    """Which point of which triangle each texel shows; without gaps, by repeating the nearest."""

    triangle_id: np.ndarray
    """(H, W) int64."""
    barycentrics: np.ndarray
    """(H, W, 3) float32."""
    covered: np.ndarray
    """(H, W) bool: inside the layout itself."""


def layout_raster(uv: np.ndarray, uv_triangles: np.ndarray, size: tuple[int, int]) -> LayoutRaster:
    """Draw a texture layout.

    Args:
        uv: (U, 2) texture coordinates in [0, 1], origin bottom left.
        uv_triangles: (F, 3) indices into them.
        size: height and width of the texture.
    """
    clip = np.zeros((1, len(uv), 4), dtype=np.float32)
    clip[0, :, 0], clip[0, :, 1], clip[0, :, 3] = 2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1], 1
    triangles = torch.from_numpy(np.ascontiguousarray(uv_triangles, dtype=np.int32))
    fragments = rasterize(torch.from_numpy(clip), triangles, size)
    ids, covered = fragments.triangle_id[0].numpy(), fragments.covered[0].numpy()
    if not covered.any():
        raise ValueError("the texture layout covers no texel; check uv and uv_triangles")
    row, column = nearest_covered(covered)
    barycentrics = fragments.barycentrics[0].numpy()[row, column]
    return LayoutRaster(ids[row, column].astype(np.int64), barycentrics, covered)


def nearest_covered(covered: np.ndarray) -> np.ndarray:
    """Row and column (2, H, W) of the texel nearest to each that is covered; covered is (H, W)."""
    return np.asarray(distance_transform_edt(~covered, return_distances=False, return_indices=True))


class AlbedoTexture(nn.Module):
    """Draws textures from vertex albedo and texture coefficients.

    Args:
        uv: (U, 2) texture coordinates in [0, 1], origin bottom left.
        uv_triangles: (F, 3) indices into them.
        triangles: (F, 3) vertices of the same triangles.
        data: the fine maps; their size is the texture's.
    """

    corners: Tensor
    barycentrics: Tensor
    maps: Tensor
    scales: Tensor
    weight_mean: Tensor
    weight_basis: Tensor
    weight_range: Tensor

    def __init__(
        self,
        uv: np.ndarray,
        uv_triangles: np.ndarray,
        triangles: np.ndarray,
        data: TextureData,
    ) -> None:
        super().__init__()
        if len(triangles) != len(uv_triangles):
            raise ValueError(
                f"{len(uv_triangles)} triangles in the texture layout, but {len(triangles)} on the "
                "mesh: pass the same triangles of both"
            )
        self.names = data.names
        raster = layout_raster(uv, uv_triangles, data.maps.shape[1:])
        buffers = {
            "corners": np.asarray(triangles, dtype=np.int64)[raster.triangle_id],
            "barycentrics": raster.barycentrics,
            "maps": data.maps,
            "scales": data.scales.astype(np.float32),
            "weight_mean": data.weight_mean.astype(np.float32),
            "weight_basis": data.weight_basis.astype(np.float32),
            "weight_range": data.weight_range.astype(np.float32),
        }
        for name, value in buffers.items():
            self.register_buffer(name, torch.from_numpy(value.copy()), persistent=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in texels."""
        return self.maps.shape[1], self.maps.shape[2]

    def weights(
        self, texture_coefficients: Float[Tensor, "batch texture"]
    ) -> Float[Tensor, "batch maps 3"]:
        """How strongly each map colours each channel."""
        linear = torch.einsum("kct,bt->bkc", self.weight_basis, texture_coefficients)
        low, high = self.weight_range.unbind(-1)
        return torch.minimum(torch.maximum(self.weight_mean + linear, low), high)

    def forward(
        self,
        vertex_albedo: Float[Tensor, "batch vertices 3"],
        texture_coefficients: Float[Tensor, "batch texture"],
    ) -> Float[Tensor, "batch 3 height width"]:
        """sRGB-encoded textures in [0, 1]; differentiable in both arguments.

        Args:
            vertex_albedo: of `FaceModel.albedo`.
            texture_coefficients: the coefficients that it was made of.
        """
        texture = self.smooth(vertex_albedo)
        scaled = (self.weights(texture_coefficients) * self.scales[:, None]).transpose(1, 2)
        # A strip of the maps at a time: as floats they take four times the memory of the int8.
        strips = self.maps.flatten(1).split(_STRIP_TEXELS, dim=1)
        fine = torch.cat([scaled @ strip.to(scaled.dtype) for strip in strips], dim=-1)
        return (texture + fine.unflatten(-1, self.size)).clamp(0, 1)

    def smooth(
        self, vertex_albedo: Float[Tensor, "batch vertices channels"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Vertex attributes interpolated over the layout, without fine maps."""
        height, width = self.size
        flat = self.corners.reshape(-1, 3)
        weight = self.barycentrics.reshape(-1, 3)
        # One corner after the other: all three at once would take three times the memory.
        total = sum(weight[:, i, None] * vertex_albedo[:, flat[:, i]] for i in range(3))
        assert isinstance(total, Tensor)
        return total.transpose(1, 2).reshape(len(vertex_albedo), -1, height, width)


def sample_texture(
    texture: Float[Tensor, "batch channels height width"], uv: Float[Tensor, "batch *points 2"]
) -> Float[Tensor, "batch *points channels"]:
    """Look textures up bilinearly at coordinates in [0, 1], origin bottom left."""
    place = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)
    flat = place.reshape(len(uv), 1, -1, 2)
    found = F.grid_sample(texture, flat, padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2).reshape(*uv.shape[:-1], -1)


def corner_coordinates(
    uv: Float[Tensor, "coordinates 2"],
    uv_triangles: Int[Tensor, "faces 3"],
    triangle_id: Int[Tensor, "batch height width"],
    barycentrics: Float[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch height width 2"]:
    """Texture coordinates of the fragments of a rendering; those of triangle 0 where empty."""
    corners = uv[uv_triangles.long()[triangle_id.long().clamp_min(0)]]
    return (barycentrics.unsqueeze(-1) * corners).sum(dim=-2)
