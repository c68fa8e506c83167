"""`nvdiffrast.torch` as far as it is used here, on the CPU: what it demands, and what it gives.

Arguments have the names, order and defaults of 0.3.3 and 0.4, and everything that its C++ part
checks is checked. Triangles are found by our torch backend; pixels are interpolated by plain
indexing, so that the gradients are autograd's own.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from models.renderer import rasterize as rasterize_ours


class RasterizeCudaContext:
    """Says on which device it was made; tensors must lie there."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = torch.device("cpu") if device is None else torch.device(device)
        self.active_depth_peeler = None


def _check(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    assert isinstance(tensor, Tensor)
    assert tensor.device.type == device.type
    assert tensor.dtype == dtype
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 16 == 0 or dtype == torch.int32


def rasterize(
    glctx: RasterizeCudaContext,
    pos: Tensor,
    tri: Tensor,
    resolution: tuple[int, int],
    ranges: Tensor | None = None,
    grad_db: bool = True,
) -> tuple[Tensor, Tensor]:
    """Rows (u, v, z/w, id + 1) and a second result; only u and v have a gradient."""
    assert isinstance(glctx, RasterizeCudaContext) and glctx.active_depth_peeler is None
    assert grad_db is True or grad_db is False
    assert ranges is None  # range mode is not used
    _check(pos, torch.float32, glctx.device)
    _check(tri, torch.int32, glctx.device)
    assert pos.ndim == 3 and pos.shape[0] > 0 and pos.shape[2] == 4
    assert tri.ndim == 2 and tri.shape[0] > 0 and tri.shape[1] == 3
    height, width = tuple(resolution)
    found = rasterize_ours(pos, tri, (height, width), backend="torch")
    number = (found.triangle_id + 1).float()
    rows = [*found.barycentrics[..., :2].unbind(-1), found.depth_ndc.detach(), number]
    return torch.stack(rows, dim=-1), pos.new_zeros(len(pos), height, width, 4)


def interpolate(
    attr: Tensor,
    rast: Tensor,
    tri: Tensor,
    rast_db: Tensor | None = None,
    diff_attrs: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Attributes at the pixels, and a second result without content."""
    assert rast_db is None and diff_attrs is None
    _check(attr, torch.float32, rast.device)
    _check(rast, torch.float32, rast.device)
    _check(tri, torch.int32, rast.device)
    assert rast.ndim == 4 and rast.shape[3] == 4
    # With two axes it would mean another mode, in which all images share their vertices.
    assert attr.ndim == 3 and attr.shape[0] in (1, rast.shape[0])
    u, v = rast[..., 0], rast[..., 1]
    ids = rast[..., 3].detach().long() - 1
    corners = tri.long()[ids.clamp(min=0)]
    image = torch.arange(len(rast)).view(-1, 1, 1, 1) if len(attr) > 1 else 0
    of_corners = attr[image, corners]
    weights = torch.stack([u, v, 1 - u - v], dim=-1) * (ids >= 0)[..., None]
    return (weights[..., None] * of_corners).sum(dim=-2), attr.new_zeros(*rast.shape[:3], 0)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import nvdiffrast.torch` find it, and let the CPU count as a device that it draws on."""
    from models.renderer import fragments, nvdiffrast_backend

    package, library = ModuleType("nvdiffrast"), ModuleType("nvdiffrast.torch")
    library.__dict__.update(
        RasterizeCudaContext=RasterizeCudaContext, rasterize=rasterize, interpolate=interpolate
    )
    package.torch = library  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", library)
    nvdiffrast_backend._context.cache_clear()
    usual = fragments.resolve_backend

    def resolve(backend: str, device: torch.device) -> str:
        return backend if backend == "nvdiffrast" else usual(backend, device)

    monkeypatch.setattr(fragments, "resolve_backend", resolve)
