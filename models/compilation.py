"""How networks are compiled (`--compile`)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from util.errors import InputError

NOTICE = "Compiling the network (--compile): the first steps take a minute"
"""For the user, before the first of them."""

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

    Raises:
        InputError: there is no compiler.
    """
    _check_compiler(device)
    if device.type != "cuda" or ranks > 1:
        return torch.compile(function)
    graphs = torch.compile(function, mode="reduce-overhead")

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        # Else a step that ended without a backward pass, for its loss was not finite, would stay
        # the beginning of the next one.
        torch.compiler.cudagraph_mark_step_begin()
        return graphs(*args, **kwargs)

    return call


def _check_compiler(device: torch.device) -> None:
    """Refuse where torch would find none: in the first step, with a page of its own words."""
    language, variable = "C++", "CXX"
    # What torch looks for; on GPUs Triton does.
    usual = {"darwin": ("clang++",), "win32": ("cl",)}.get(sys.platform, ("g++",))
    if device.type == "cuda":
        if sys.platform == "win32":
            return  # it brings its own
        language, variable, usual = "C", "CC", ("gcc", "clang")
    chosen = os.environ.get(variable)
    if any(shutil.which(name) for name in ((chosen,) if chosen else usual)):
        return
    looked_for = f"{variable} is {chosen}" if chosen else f"looked for {' and '.join(usual)}"
    raise InputError(
        f"--compile needs a {language} compiler, and none was found ({looked_for}); install one, "
        f"name yours by the environment variable {variable}, or leave --compile out"
    )
