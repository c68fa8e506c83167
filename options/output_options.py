"""Options of the files that are written of each face, the same for all commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["dm", "m", "mm"]
TextureLight = Literal["keep", "remove"]
UNIT_NAMES: dict[Unit, str] = {"dm": "decimetre", "m": "metre", "mm": "millimetre"}
"""As files spell them out."""

MIN_TEXTURE, MAX_TEXTURE = 64, 4096
"""Sides of textures in pixels."""


@dataclass(frozen=True)
class OutputOptions:
    """What is written of each face beside .png, .obj, .mat and .json."""

    save: tuple[str, ...] = ("glb",)
    """Kinds of further files, or none; docs/outputs.md explains each."""
    unit: Unit = "dm"
    """Unit of meshes and cameras whose format has none of its own; each file says it."""
    eg3d_mirror: bool = False
    """Of --save eg3d: the mirrored crops and their labels too."""

    texture_size: int = 1024
    """Of --save texture: its side in pixels."""
    texture_light: TextureLight = "keep"
    """Of --save texture: keep the photo's light, or remove it by the fitted harmonics (albedo)."""

    def __post_init__(self) -> None:
        """Refuse textures that nobody can use."""
        if not MIN_TEXTURE <= self.texture_size <= MAX_TEXTURE:
            raise ValueError(
                f"--texture_size {self.texture_size}: it can be {MIN_TEXTURE} to {MAX_TEXTURE}"
            )

    @property
    def unit_name(self) -> str:
        """The unit, spelled out."""
        return UNIT_NAMES[self.unit]

    @property
    def units_in_a_dm(self) -> float:
        """What lengths in decimetres are multiplied by."""
        return {"dm": 1.0, "m": 0.1, "mm": 100.0}[self.unit]
