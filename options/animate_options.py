"""Options of `animate.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from options.fitting_weights import Preset
from util.errors import InputError

PARTS = ("expression", "pose")
WRITTEN = (".mp4", ".glb", ".csv", ".png")
"""Endings of --out."""
AUTO, ALBEDO = "auto", "model"
"""Values of --texture that are no files."""


@dataclass(frozen=True)
class AnimateOptions:
    """Whose face moves, and as what."""

    coeffs: str = ""
    """A: whose face it is. Coefficients of a photo or a video (.mat, .npz), or any other file of
    its results, or their name without ending, such as fits/anna. Empty takes those of B."""
    with_: str = ""
    """B: what moves it. The same, or a csv of named units over time, or a video, which is fitted
    first. Empty takes A's own motion."""
    out: str = ""
    """What is written, by its ending: .mp4, .glb (one animated mesh), .csv (named units), .png (one
    picture), else a folder of frames; animations/<A>_<B>.mp4 if empty."""
    take: tuple[str, ...] = PARTS
    """What comes from B: expression, pose."""
    pose_of: Literal["", "A", "B"] = ""
    """A holds the head as A's photo has it, B moves it as B's; empty is as --take says."""
    relative: bool = False
    """Take how B changes from its neutral frame, upon A's own expression and pose."""
    neutral: int = -1
    """Number of B's neutral frame for --relative, from 0 on, frames without a face not counted; -1
    takes the calmest."""
    smooth: bool = False
    """Calm the motion (--smooth_min_hz, --smooth_beta). That of videos that fit.py fitted is calm
    already."""
    texture: str = AUTO
    """Of A: auto takes the one beside its coefficients (fit.py --save texture) where there is one,
    model its albedo; or the .png of such a texture."""
    light: Literal["photo", "plain"] = "photo"
    """Of frames: that of A's photo, or a white lamp."""
    background: Literal["grey", "white", "black"] = "grey"
    """Of frames."""
    size: int = 512
    """Width and height of frames in pixels."""
    frames: Literal["png", "obj", "both"] = "png"
    """What a folder gets of each frame: a picture, a posed mesh with lit colours, or both."""
    targets: Literal["auto", "components", "units"] = "auto"
    """Morph targets of a .glb: components of the expression, which show all of it, or the named
    units, which other programs know; auto takes units with a csv."""
    fps: float = 0.0
    """Rows of a csv a second, whatever times it has; 0 takes its times, or 30."""
    head_factors: tuple[float, ...] = (1.0, 1.0, 1.0)
    """What HeadYaw, HeadPitch and HeadRoll of a csv are multiplied by to be radians: to the image's
    right, down, and counter-clockwise in the image. Apps differ."""
    preset: Preset = "balanced"
    """Of the fit of a video: fast, balanced or best."""
    nworkers: int = 0
    """Processes that fit a video; 0 leaves it to fit.py."""
    res_folder: str = "fits"
    """Folder of that fit, which serves again: --with fits/<video>.npz."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        unknown = [part for part in self.take if part not in PARTS]
        if unknown:
            raise InputError(f"--take {unknown[0]} is unknown; it can be {', '.join(PARTS)}")
        if self.pose_of == "B" and "pose" not in self.take:
            raise InputError("--pose_of B needs pose in --take; add it, or leave out --pose_of")
        if not 16 <= self.size <= 4096:
            raise InputError(f"--size is {self.size}; it must be 16 to 4096")
        if self.neutral < -1:
            raise InputError(f"--neutral is {self.neutral}; it must be a frame's number, or -1")
        if self.fps < 0 or self.nworkers < 0:
            raise InputError(
                f"--fps is {self.fps} and --nworkers {self.nworkers}; both must be 0 or more"
            )
        if len(self.head_factors) != 3:
            raise InputError(f"--head_factors needs 3 numbers, not {len(self.head_factors)}")
        if not self.coeffs and not self.with_:
            raise InputError(
                "nothing to animate: give --coeffs fits/anna and --with fits/talk.npz, units.csv "
                "or talk.mp4"
            )
        ending = Path(self.out).suffix.lower()
        if ending and ending not in WRITTEN and not Path(self.out).is_dir():
            raise InputError(
                f"--out {self.out}: the ending is unknown; it can be {', '.join(WRITTEN)}, or a "
                "folder's name without a dot"
            )
        if not self.take:
            raise InputError("--take is empty; it can be expression, pose")
