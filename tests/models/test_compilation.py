"""How networks are compiled: which way where. Nothing is compiled here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.compilation import compiled
from util.errors import InputError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "ranks", "kind"), [(CPU, 1, {}), (GPU, 1, {"mode": "reduce-overhead"}), (GPU, 2, {})]
)
def test_one_process_on_a_gpu_gets_graphs(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, ranks: int, kind: dict[str, str]
):
    """And each call of a graph begins a new step."""
    told: list[Any] = []

    def compile_(function: Callable[[int], int], **named: str) -> Callable[[int], int]:
        told.append(named)
        return function

    for variable in ("CC", "CXX"):
        monkeypatch.setenv(variable, sys.executable)  # a program, which is all that is looked for
    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: told.append("a new step")
    )
    double = compiled(lambda number: 2 * number, device, ranks)
    assert (double(3), double(4)) == (6, 8)
    assert told == [kind, *(["a new step"] * 2 if kind else [])]


@pytest.mark.skipif(sys.platform != "linux", reason="compilers have other names")
@pytest.mark.parametrize(
    ("device", "chosen", "said"),
    [
        (CPU, "", r"--compile needs a C\+\+ compiler, .* \(looked for g\+\+\).* CXX, or leave"),
        (CPU, "g++-99", r"none was found \(CXX is g\+\+-99\)"),
        (GPU, "", r"--compile needs a C compiler, .* \(looked for gcc and clang\).* CC, or leave"),
    ],
)
def test_without_a_compiler_it_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, chosen: str, said: str
):
    monkeypatch.setenv("PATH", "")
    for variable in ("CC", "CXX"):
        monkeypatch.setenv(variable, chosen)
    with pytest.raises(InputError, match=said):
        compiled(lambda number: number, device)
