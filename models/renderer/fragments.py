"""Rasterise a mesh into fragments and interpolate vertex attributes over them.

    fragments = rasterize(clip, triangles, (height, width))
    colours = interpolate(vertex_colours, triangles, fragments)

Conventions are those of nvdiffrast's CUDA context: clip coordinates with x/w, y/w, z/w in [-1, 1]
inside the frustum; row 0 of the raster is y/w = -1; a pixel is sampled at its centre (+0.5);
vertices snap to 1/16 pixel for visibility; no back-face culling; of equal depths the later
triangle wins. Barycentrics are perspective correct and differentiable with respect to clip
x, y, w; which triangle a pixel sees is not differentiated and there is no antialiasing.
docs/conventions.md has the frames.

A triangle with a corner at or behind the eye (w <= 0), not finite, or more than 2^24 pixels away is
dropped as a whole; the near and far planes clip pixel by pixel.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

Backend = Literal["auto", "torch", "numba", "nvdiffrast"]

DEFAULT_EPSILON = 1e-6
"""Added to the denominator of the barycentrics' gradient, with its sign. nvdiffrast's value: it
shrinks gradients of far or tiny triangles by some per cent, and published training had it."""


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees of a mesh."""

    triangle_id: Int32[Tensor, "batch height width"]
    """Index into the triangles; -1 where nothing is seen."""
    barycentrics: Float[Tensor, "batch height width 3"]
    """Perspective-correct weights of the triangle's three vertices; 0 where empty."""
    depth_ndc: Float[Tensor, "batch height width"]
    """z/w in [-1, 1], -1 at the near plane; 0 where empty. Carries no gradient."""

    @property
    def covered(self) -> Tensor:
        """(B, H, W) bool: where something is seen."""
        return self.triangle_id >= 0


def resolve_backend(backend: str, device: torch.device) -> Literal["torch", "numba", "nvdiffrast"]:
    """The backend that `backend` means for tensors on `device`.

    `auto` is numba on the CPU, nvdiffrast on CUDA where it is installed and starts, else torch.

    Raises:
        ValueError: an unknown name, or a backend that cannot run on the device.
    """
    if backend == "auto":
        if device.type == "cpu":
            return "numba"
        if device.type == "cuda" and _has_nvdiffrast(device):
            return "nvdiffrast"
        return "torch"
    if backend == "torch":
        return "torch"
    if backend == "numba":
        if device.type != "cpu":
            raise ValueError(
                f"--renderer numba runs on the CPU, this run is on the {device}; "
                "choose --renderer auto"
            )
        return "numba"
    if backend == "nvdiffrast":
        if device.type != "cuda":
            raise ValueError(
                f"--renderer nvdiffrast needs a CUDA device, this run is on the {device}; "
                "choose --renderer auto"
            )
        return "nvdiffrast"
    known = ", ".join(get_args(Backend))
    raise ValueError(f"--renderer is one of {known}, got {backend!r}")


@lru_cache(maxsize=16)
def _has_nvdiffrast(device: torch.device) -> bool:
    """Whether it is installed and starts there; says why not where it is installed only."""
    if importlib.util.find_spec("nvdiffrast") is None:
        return False
    from models.renderer import nvdiffrast_backend

    try:
        nvdiffrast_backend.check_usable(device)
    except ValueError as error:
        warnings.warn(f"--renderer auto takes torch: {error}", stacklevel=3)
        return False
    return True


def triangle_indices(triangles: Tensor, vertex_count: int) -> Tensor:
    """The triangles as contiguous int32, checked against the number of vertices.

    Files often hold them in Fortran order or as int64; rasterisers read plain rows of int32.
    On a GPU the values are not checked, as that would wait for the device.

    Raises:
        ValueError: an index outside [0, vertex_count).
    """
    triangles = triangles.to(torch.int32).contiguous()
    if triangles.device.type == "cpu" and triangles.numel():
        low, high = (int(bound) for bound in torch.aminmax(triangles))
        if low < 0 or high >= vertex_count:
            raise ValueError(
                f"triangles index vertices {low} to {high}, but the mesh has {vertex_count}: "
                "expected indices from 0 to that number less one"
            )
    return triangles


def _check_mesh(clip: Tensor, triangles: Tensor) -> Tensor:
    if clip.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"clip coordinates must be float32 or float64, got {clip.dtype}")
    if clip.device != triangles.device:
        raise ValueError(
            f"vertices are on {clip.device} and triangles on {triangles.device}; "
            "move them to the same device"
        )
    return triangle_indices(triangles, clip.shape[1])


def rasterize(
    clip: Float[Tensor, "batch vertices 4"],
    triangles: Int[Tensor, "faces 3"],
    size: tuple[int, int],
    *,
    backend: Backend = "auto",
    epsilon: float = DEFAULT_EPSILON,
) -> Fragments:
    """Find the triangle that each pixel sees, and where on it.

    Args:
        clip: homogeneous clip coordinates, float32 or float64. Visibility is decided in float32
            in both cases.
        triangles: vertex indices, any integer type.
        size: image height and width in pixels.
        backend: see `resolve_backend`.
        epsilon: see `DEFAULT_EPSILON`; 0 gives the exact gradient.

    Raises:
        ValueError: a wrong type, device, index, size or backend.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"the image size must be positive, got {height} x {width}")
    triangles = _check_mesh(clip, triangles)
    name = resolve_backend(backend, clip.device)
    if name == "nvdiffrast":
        from models.renderer import nvdiffrast_backend

        return Fragments(
            *nvdiffrast_backend.rasterize(clip, triangles, height, width, epsilon=epsilon)
        )
    from models.renderer.differentiable import rasterize_differentiable

    return Fragments(*rasterize_differentiable(name, clip, triangles, height, width, epsilon))


def visible_triangles(
    clip: Float[Tensor, "batch vertices 4"],
    triangles: Int[Tensor, "faces 3"],
    size: tuple[int, int],
    *,
    backend: Backend = "auto",
) -> Int32[Tensor, "batch height width"]:
    """Only the triangle ids of `rasterize`, -1 where empty: all that a mask needs."""
    height, width = size
    triangles = _check_mesh(clip, triangles)
    name = resolve_backend(backend, clip.device)
    with torch.no_grad():
        if name == "nvdiffrast":
            from models.renderer import nvdiffrast_backend

            return nvdiffrast_backend.rasterize(clip, triangles, height, width)[0]
        from models.renderer.differentiable import kernels

        return kernels(name).visible_triangles(clip.detach().float(), triangles, height, width)


def interpolate(
    attributes: Float[Tensor, "#batch vertices channels"],
    triangles: Int[Tensor, "faces 3"],
    fragments: Fragments,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "batch height width channels"]:
    """Vertex attributes at every pixel, 0 where nothing is seen.

    Differentiable with respect to the attributes and, through the barycentrics, the vertices.

    Args:
        attributes: per vertex; a leading axis of 1 is shared by the whole batch.
        triangles: the ones that were rasterised.
        fragments: of `rasterize`.
        backend: see `resolve_backend`.

    Raises:
        ValueError: a wrong type, index, number of triangles or batch size.
    """
    ids = fragments.triangle_id
    triangles = triangle_indices(triangles, attributes.shape[1])
    if attributes.shape[0] not in (1, ids.shape[0]):
        raise ValueError(
            f"attributes have batch size {attributes.shape[0]}, fragments {ids.shape[0]}"
        )
    if ids.device.type == "cpu" and ids.numel() and int(ids.max()) >= len(triangles):
        raise ValueError(
            f"fragments show triangle {int(ids.max())}, but there are {len(triangles)} triangles: "
            "pass the triangles that were rasterised"
        )
    name = resolve_backend(backend, attributes.device)
    if name == "nvdiffrast":
        from models.renderer import nvdiffrast_backend

        return nvdiffrast_backend.interpolate(
            attributes, triangles, ids, fragments.barycentrics, fragments.depth_ndc
        )
    from models.renderer.differentiable import interpolate_differentiable

    return interpolate_differentiable(
        name, attributes.to(fragments.barycentrics.dtype), triangles, ids, fragments.barycentrics
    )
