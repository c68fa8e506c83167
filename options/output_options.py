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
    """Unit of meshes and cameras whose format has none of its own; each file says it."""
    eg3d_mirror: bool = False
    """Of --save eg3d: the mirrored crops and their labels too."""

    @property
    def units_in_a_dm(self) -> float:
        """What lengths in decimetres are multiplied by."""
        return {"dm": 1.0, "m": 0.1, "mm": 100.0}[self.unit]
