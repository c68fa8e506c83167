"""Options of the files that are written of each face, the same for all commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["dm", "m", "mm"]


@dataclass(frozen=True)
class OutputOptions:
    """What is written of each face beside .png, .obj, .mat and .json."""

    save: tuple[str, ...] = ("glb",)
    """Kinds of further files, or none; docs/outputs.md explains each."""
    unit: Unit = "dm"
    """Unit of meshes whose format has none of its own (obj, ply); each file says it."""
