"""Gradients around the kernels of the torch and numba backends.

A backend is a module with the five functions of `Kernels`; autograd is written once, here.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@runtime_checkable
class Kernels(Protocol):
    """Forward and backward of the two maps, without autograd.

    clip (B, V, 4), triangles (F, 3) int32, ids (B, H, W) int32, barycentrics (B, H, W, 3),
    attributes (B or 1, V, C); all contiguous, floats of one type.
    """

    def visible_triangles(self, clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
        """Triangle ids of a float32 mesh, -1 where empty."""
        ...

    def barycentrics(self, clip: Tensor, triangles: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Perspective-correct weights of the seen triangles, and z/w (B, H, W)."""
        ...

    def barycentrics_backward(
        self, clip: Tensor, triangles: Tensor, ids: Tensor, gradient: Tensor, epsilon: float
    ) -> Tensor:
        """Gradient of clip from that of the barycentrics."""
        ...

    def interpolate(
        self, attributes: Tensor, triangles: Tensor, ids: Tensor, barycentrics: Tensor
    ) -> Tensor:
        """Attributes (B, H, W, C) of the pixels."""
        ...

    def interpolate_backward(
        self,
        attributes: Tensor,
        triangles: Tensor,
        ids: Tensor,
        barycentrics: Tensor,
        gradient: Tensor,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of attributes (B, V, C) and barycentrics, None where not needed."""
        ...


def kernels(name: Literal["torch", "numba"]) -> Kernels:
    """The kernels of a backend; numba is imported only when it is chosen."""
    return cast(Kernels, importlib.import_module(f"models.renderer.{name}_backend"))


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        clip: Tensor,
        triangles: Tensor,
        height: int,
        width: int,
        epsilon: float,
        backend: Kernels,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ids = backend.visible_triangles(clip.float(), triangles, height, width)
        weights, depth = backend.barycentrics(clip, triangles, ids)
        ctx.save_for_backward(clip, triangles, ids)
        ctx.epsilon, ctx.backend = epsilon, backend
        ctx.mark_non_differentiable(ids, depth)
        ctx.set_materialize_grads(False)  # no images of zeros for these two
        return ids, weights, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _ids: None, gradient: Tensor | None, _depth: None) -> tuple[Any, ...]:
        clip, triangles, ids = ctx.saved_tensors
        if gradient is None:
            return (None,) * 6
        clip_gradient = ctx.backend.barycentrics_backward(
            clip, triangles, ids, gradient.contiguous(), ctx.epsilon
        )
        return clip_gradient, None, None, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        attributes: Tensor,
        triangles: Tensor,
        ids: Tensor,
        barycentrics: Tensor,
        backend: Kernels,
    ) -> Tensor:
        ctx.save_for_backward(attributes, triangles, ids, barycentrics)
        ctx.backend = backend
        return backend.interpolate(attributes, triangles, ids, barycentrics)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        attributes, triangles, ids, barycentrics = ctx.saved_tensors
        needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[3])
        of_attributes, of_weights = ctx.backend.interpolate_backward(
            attributes, triangles, ids, barycentrics, gradient.contiguous(), needs
        )
        if of_attributes is not None and attributes.shape[0] == 1:
            of_attributes = of_attributes.sum(0, keepdim=True)
        return of_attributes, None, None, of_weights, None


def rasterize_differentiable(
    name: Literal["torch", "numba"],
    clip: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, barycentrics (differentiable with respect to clip x, y, w) and z/w."""
    return _Rasterize.apply(  # pyright: ignore[reportReturnType]
        clip.contiguous(), triangles, height, width, epsilon, kernels(name)
    )


def interpolate_differentiable(
    name: Literal["torch", "numba"],
    attributes: Tensor,
    triangles: Tensor,
    ids: Tensor,
    barycentrics: Tensor,
) -> Tensor:
    """Attributes at the pixels, differentiable with respect to attributes and barycentrics."""
    return _Interpolate.apply(  # pyright: ignore[reportReturnType]
        attributes.contiguous(), triangles, ids, barycentrics.contiguous(), kernels(name)
    )
