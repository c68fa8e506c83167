"""Render a mesh with vertex features: (vertices, camera, features) -> mask, depth, image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.renderer.fragments import (
    DEFAULT_EPSILON,
    Backend,
    Fragments,
    interpolate,
    rasterize,
    visible_triangles,
)


@runtime_checkable
class RasterCamera(Protocol):
    """What the renderer needs of a camera; `models.camera.Camera` is one."""

    @property
    def height(self) -> int:
        """Image height in pixels."""
        ...

    @property
    def width(self) -> int:
        """Image width in pixels."""
        ...

    def clip(self, vertices_camera: Tensor, /) -> Tensor:
        """Camera frame (B, V, 3) to clip coordinates (B, V, 4), y/w = -1 at the top row."""
        ...


@dataclass(frozen=True)
class Rendering:
    """A rendered batch; row 0 is the top of the image."""

    mask: Float[Tensor, "batch 1 height width"]
    """1 where the mesh is seen, else 0. Carries no gradient."""
    depth_dm: Float[Tensor, "batch 1 height width"]
    """Depth z_camera of the seen point in decimetres, 0 where empty."""
    image: Float[Tensor, "batch channels height width"] | None
    """Interpolated features, 0 where empty; None if none were given."""
    fragments: Fragments
    """Triangle ids and barycentrics of every pixel."""


class Renderer:
    """Rasterises with one backend; holds no state of its own.

    Differentiable with respect to vertices and features as `rasterize` says: through the
    barycentrics, not through visibility.
    """

    def __init__(self, backend: Backend = "auto", *, epsilon: float = DEFAULT_EPSILON) -> None:
        """Choose the backend (`RenderOptions.renderer`) and the epsilon of `rasterize`."""
        self.backend: Backend = backend
        self.epsilon = epsilon

    def __call__(
        self,
        vertices_camera: Float[Tensor, "batch vertices 3"],
        triangles: Int[Tensor, "faces 3"],
        camera: RasterCamera,
        features: Float[Tensor, "#batch vertices channels"] | None = None,
    ) -> Rendering:
        """Render the mesh.

        Args:
            vertices_camera: x right, y up, z = depth along the view axis, decimetres.
            triangles: vertex indices.
            camera: projection and image size.
            features: per vertex, colours or anything else; a leading axis of 1 is shared.
        """
        vertices_camera = _full_precision(vertices_camera)
        fragments = rasterize(
            camera.clip(vertices_camera),
            triangles,
            (camera.height, camera.width),
            backend=self.backend,
            epsilon=self.epsilon,
        )

        def at_pixels(attributes: Tensor) -> Tensor:
            values = interpolate(attributes, triangles, fragments, backend=self.backend)
            return values.permute(0, 3, 1, 2)

        return Rendering(
            mask=fragments.covered[:, None].to(vertices_camera.dtype),
            depth_dm=at_pixels(vertices_camera[..., 2:]),
            image=None if features is None else at_pixels(_full_precision(features)),
            fragments=fragments,
        )

    def coverage(
        self,
        vertices_camera: Float[Tensor, "batch vertices 3"],
        triangles: Int[Tensor, "faces 3"],
        camera: RasterCamera,
    ) -> Float[Tensor, "batch 1 height width"]:
        """Only the mask: 1 where the triangles are seen, without interpolating anything.

        For a part of a mesh, pass its triangles with all vertices: what the rest of the mesh
        would hide is seen then.
        """
        with torch.no_grad():
            vertices_camera = _full_precision(vertices_camera.detach())
            ids = visible_triangles(
                camera.clip(vertices_camera),
                triangles,
                (camera.height, camera.width),
                backend=self.backend,
            )
            return (ids >= 0)[:, None].to(vertices_camera.dtype)


def _full_precision(tensor: Tensor) -> Tensor:
    # Half precision cannot tell neighbouring vertices apart.
    return tensor if tensor.dtype == torch.float64 else tensor.float()
