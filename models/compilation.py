"""How networks are compiled (`--compile`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(
    function: Callable[Arguments, Result], device: torch.device, ranks: int = 1
) -> Callable[Arguments, Result]:
    """A function of a network by torch.compile; for one process on a GPU as CUDA graphs.

    A GPU is quicker than Python can tell it what to do, kernel by kernel; a graph is one call. What
    it returns is overwritten by the next call. Several processes exchange statistics within the
    network, which graphs are not trusted with here.

    Args:
        function: such as a network's forward pass.
        device: where it computes.
        ranks: number of the processes that train together.
    """
    if device.type != "cuda" or ranks > 1:
        return torch.compile(function)
    graphs = torch.compile(function, mode="reduce-overhead")

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        # Else a step that ended without a backward pass, for its loss was not finite, would stay
        # the beginning of the next one.
        torch.compiler.cudagraph_mark_step_begin()
        return graphs(*args, **kwargs)

    return call
