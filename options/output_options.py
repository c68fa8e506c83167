"""Options of the files that are written of each face, the same for all commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from util.errors import InputError

Unit = Literal["dm", "m", "mm"]
TextureLight = Literal["keep", "remove"]
UNIT_NAMES: dict[Unit, str] = {"dm": "decimetre", "m": "metre", "mm": "millimetre"}
"""As files spell them out."""

MIN_TEXTURE, MAX_TEXTURE = 64, 4096
"""Sides of textures in pixels."""


TALKING_HEADS = {
    "sadtalker": "SadTalker",
    "pirender": "PIRender",
    "styleheat": "StyleHEAT",
    "facial": "FACIAL",
    "geneface": "GeneFace",
    "real3dportrait": "Real3DPortrait",
}
"""Programs that make faces talk, by the kinds of files that they read; videos have them too."""
KINDS = (
    *("glb", "texture", "neutral", "world", "ply", "usdz", "camera"),
    *("depth", "normals", "mask", "visibility", "eg3d", "panohead"),
    *TALKING_HEADS,
)
"""What `--save` chooses from, keys of `util.outputs.OUTPUTS`."""
NONE = "none"
"""`--save none` writes no further files."""


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
        """Refuse kinds of files that there are not, and textures that nobody can use."""
        check_names(self.save)
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


def check_names(names: Sequence[str]) -> None:
    """Refuse unknown kinds of output, before anything long begins.

    Raises:
        InputError: a name is unknown, or stands beside `none`.
    """
    for name in names:
        if name not in (*KINDS, NONE):
            near = get_close_matches(name, (*KINDS, NONE), 1)
            hint = f"did you mean {near[0]}?" if near else f"it can be {', '.join(KINDS)}, none"
            if Path(name).exists():
                hint = "photos stand before --save, which takes every name that follows"
            raise InputError(f"--save {name}: there is no such kind of file; {hint}")
    if NONE in names and len(names) > 1:
        raise InputError(f"--save {' '.join(names)}: none stands alone")
