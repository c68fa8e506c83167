"""Options of `fit.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.fitting.energy import PUBLIC_WEIGHTS, FitWeights
from models.fitting.fitter import Preset
from options.flags import ParsedOptions
from util.errors import InputError


@dataclass(frozen=True)
class FitOptions:
    """What is fitted, and how."""

    img_path: str = ""
    """A photo, or a folder of photos; detections/<stem>.txt and landmarks/<stem>.txt beside them
    are used where they are there. A path without a flag means this, or v_path."""
    v_path: str = ""
    """A video of one person."""
    res_folder: str = "fits"
    """Folder of the results."""
    preset: Preset = "balanced"
    """fast, balanced or best: how finely the photo is looked at, and how many steps are tried."""
    weights: Literal["own", "public"] = "own"
    """own: tuned on rendered heads whose shape is known; public: those of 3DMM-Fitting-Pytorch.
    Each w_... that is given replaces its one."""
    init: Literal["landmarks", "regress"] = "landmarks"
    """What fitting starts from: the landmarks, or the R-Net of the run --name."""
    faces: Literal["largest", "all"] = "largest"
    """Fit the largest face of each photo, or all."""
    same_person: bool = False
    """The photos show one person: one identity and albedo for all, each its own expression, pose
    and light."""
    landmarks: str = ""
    """File of 68 points of the photo (pixel indices, a line each), in place of detection."""
    photo_overlay: bool = True
    """Also write <stem>_photo.jpg, the faces laid over the whole photo."""
    faces_at_once: int = 0
    """Faces that are fitted side by side; 0 takes 1 on the CPU and 16 on a GPU."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.faces_at_once < 0:
            raise InputError(f"--faces_at_once is {self.faces_at_once}; it must be 0 or more")
        if self.same_person and self.faces == "all":
            raise InputError(
                "--same_person takes the largest face of each photo; leave out --faces all"
            )


@dataclass(frozen=True)
class VideoFitOptions:
    """Videos."""

    nframes_shape: int = 16
    """Frames, spread over pose and expression, that identity and albedo are fitted to."""
    nworkers: int = 1
    """Processes that share the frames."""
    ngpus: int = 0
    """GPUs that they take turns on, from 0 on; 0 takes those of gpu_ids."""
    cache_folder: str = ""
    """Folder of finished parts, from which a stopped run goes on; <res_folder>/<stem>_cache if
    empty. Parts are removed when all is written."""
    save_mesh: Literal["none", "obj"] = "none"
    """obj: write a mesh for every frame into <res_folder>/<stem>_mesh/."""
    save_video: bool = True
    """Write the side-by-side video: input, overlay, geometry."""

    def __post_init__(self) -> None:
        """Refuse numbers that fit nothing."""
        for name, least in (("nframes_shape", 1), ("nworkers", 1), ("ngpus", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be at least {least}")


def chosen_weights(options: ParsedOptions) -> FitWeights:
    """The weights that `--weights` names, and those given one by one."""
    given = options[FitWeights]
    if options[FitOptions].weights == "own":
        return given
    return FitWeights(
        **{
            name: getattr(given if options.given(name) else PUBLIC_WEIGHTS, name)
            for name in vars(PUBLIC_WEIGHTS)
        }
    )
