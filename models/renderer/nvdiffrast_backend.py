"""nvdiffrast's CUDA rasteriser behind the same interface.

nvdiffrast is imported only here, when it is chosen. Only its CUDA context is used: the OpenGL one
snaps vertices differently, and version 0.4 has none. What is called here is the same in 0.3.3 and
0.4; they differ in that the first compiles itself when the context is made, the second when it is
installed.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

FIXED_EPSILON = 1e-6
"""nvdiffrast's own, compiled into its gradient."""


def _library() -> Any:
    try:
        import nvdiffrast.torch as library  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"--renderer nvdiffrast: nvdiffrast cannot be imported ({error}); "
            "install the cuda extra, or choose --renderer auto"
        ) from error
    return library


def _start(library: Any, device: torch.device) -> Any:
    try:
        return library.RasterizeCudaContext(device=device)
    except ModuleNotFoundError as error:
        # What it compiled itself, before 0.4, it imports by name; but torch, which has loaded it,
        # no longer makes it known by that. Python finds it where it was built.
        plugin = error.name or ""
        if not plugin.startswith("nvdiffrast_plugin"):
            raise
    from torch.utils import cpp_extension

    try:
        folder = cpp_extension._get_build_directory(plugin, verbose=False)
    except (AttributeError, TypeError) as error:  # it is private
        raise RuntimeError(f"torch does not say where {plugin} was built") from error
    sys.path.append(folder)
    try:
        return library.RasterizeCudaContext(device=device)
    finally:
        sys.path.remove(folder)


@lru_cache(maxsize=16)
def _context(device: torch.device) -> Any:
    # Contexts own buffers on their device and are costly to make.
    library = _library()
    try:
        return _start(library, device)
    except (ImportError, OSError, RuntimeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--renderer nvdiffrast: it is installed but cannot start ({first_line}); before "
            "version 0.4 it compiles itself at first use and needs ninja, a C++ compiler and the "
            "CUDA toolkit of torch's version. Or choose --renderer torch, which needs none"
        ) from error


def check_usable(device: torch.device) -> None:
    """Start nvdiffrast on a CUDA device.

    Raises:
        ValueError: it is missing or cannot start; the message says why.
    """
    # Without a number it is the current one; tensors always name theirs.
    number = torch.cuda.current_device() if device.index is None else device.index
    _context(torch.device("cuda", number))


def rasterize(
    clip: Tensor, triangles: Tensor, height: int, width: int, *, epsilon: float = FIXED_EPSILON
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (B, H, W) int32, barycentrics (B, H, W, 3) and z/w (B, H, W), without gradient.

    Raises:
        ValueError: nvdiffrast is missing, or another type than float32, or another epsilon.
    """
    if clip.dtype != torch.float32:
        raise ValueError(
            f"--renderer nvdiffrast computes in float32, got {clip.dtype}; choose --renderer torch"
        )
    if epsilon != FIXED_EPSILON:
        raise ValueError(
            f"--renderer nvdiffrast has the fixed epsilon {FIXED_EPSILON}, got {epsilon}; "
            "choose --renderer torch"
        )
    # Rows: (u, v, z/w, id + 1); u and v belong to vertices 0 and 1 and carry the gradient.
    raster, _ = _library().rasterize(
        _context(clip.device),
        clip.contiguous(),
        triangles,
        resolution=[height, width],
        grad_db=False,
    )
    ids = raster[..., 3].detach().to(torch.int32) - 1
    u, v = raster[..., 0], raster[..., 1]
    # Of triangles seen almost edge-on 0.3.3 bounds u and v by 1 each, 0.4 their sum too. As all
    # bounds of weights this one is nothing to the gradient.
    over = (u + v).clamp(min=1)
    u, v = (one + (one / over - one).detach() for one in (u, v))
    covered = (ids >= 0).to(u.dtype)
    weights = torch.stack([u, v, (1 - u - v) * covered], dim=-1)
    return ids, weights, raster[..., 2].detach()


def interpolate(
    attributes: Tensor, triangles: Tensor, ids: Tensor, barycentrics: Tensor, depth_ndc: Tensor
) -> Tensor:
    """Attributes (B, H, W, C) of the pixels; gradients reach attributes and barycentrics."""
    raster = torch.cat(
        [barycentrics[..., :2], depth_ndc[..., None], (ids + 1).to(depth_ndc.dtype)[..., None]],
        dim=-1,
    )
    pixels, _ = _library().interpolate(
        attributes.float().contiguous(), raster.contiguous(), triangles
    )
    return pixels
