"""Options of face model, camera, renderer and landmarks, which every command shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from util.errors import InputError, of_flag
from util.model_files.bfm09_folder import check_bfm09
from util.model_files.bfm_releases import check_release, find_release
from util.model_files.flame_folder import check_flame
from util.model_files.ict_folder import check_ict_folder

CROP_PX = 224
"""Side of the R-Net's aligned crop in pixels."""
SYNERGY_CROP_PX = 120
"""Side of the crops that 3DDFA and SynergyNet see."""
DATATOOL_PX = 450
"""Side of the pictures of the datatool, which SynergyNet's variant for BFM takes as they are."""


@dataclass(frozen=True)
class CameraOptions:
    """The R-Net's fixed camera; published checkpoints depend on the defaults."""

    focal: float = 1015.0
    """Focal length in pixels of the 224 crop."""
    center: float = 112.0
    """Principal point of the 224 crop in pixels, in x and in y."""
    camera_d: float = 10.0
    """Distance of the camera from the object origin in decimetres."""
    z_near: float = 5.0
    """Nearest depth that is drawn, in decimetres."""
    z_far: float = 15.0
    """Farthest depth that is drawn, in decimetres."""

    def __post_init__(self) -> None:
        """Refuse cameras that see nothing."""
        if not (self.focal > 0 and self.camera_d > 0):
            raise ValueError(
                f"--focal is {self.focal} and --camera_d {self.camera_d}; both must be above 0"
            )
        if not 0 < self.z_near < self.z_far:
            raise ValueError(
                f"--z_near is {self.z_near} and --z_far {self.z_far}; needed is 0 < near < far"
            )


NAMED_FACE_MODELS = ("open", "bfm09", "ict", "flame", "bfm17", "bfm19")
"""What `--face_model` knows without a path."""
LEVELS = (0, 1, 2)
"""Of detail, that the open face model has."""
_FILES = (".npz", ".mat", ".pkl", ".h5")

FaceRegion = Literal["face", "head"]
JawLandmarks = Literal["fixed", "silhouette"]


@dataclass(frozen=True)
class FaceModelOptions:
    """Which face model gives coefficients their meaning."""

    face_model: str = "auto"
    """auto, open (comes with the program; open@0 is coarser, open@2 finer), one whose files the
    user brings (bfm09, bfm17, bfm19: Basel Face Models; ict: ICT-FaceKit; flame: FLAME), or a path
    (.npz, .mat, .h5, .pkl, or the folder FaceXModel); auto takes bfm09 where its files are in
    bfm_folder, else open."""
    face_region: FaceRegion = "face"
    """face; or head, with ears, skull and neck, in models that have them."""
    jaw_landmarks: JawLandmarks = "fixed"
    """fixed: always the same points of the skin, as in the public code; silhouette: where the
    turned head ends, as detectors mark them, in models that know it."""
    bfm_folder: str = "BFM"
    """Folder of the user's face model files."""
    bfm_model: str = "BFM_model_front.mat"
    """The bfm09 file in that folder; made from 01_MorphableModel.mat and Exp_Pca.bin if missing."""


@dataclass(frozen=True)
class RenderOptions:
    """Rasterisation of the reconstructed face."""

    renderer: Literal["auto", "torch", "numba", "nvdiffrast"] = "auto"
    """Rasteriser: auto takes numba on the CPU, nvdiffrast on CUDA if installed, torch elsewhere."""
    use_opengl: bool = field(
        default=True, metadata={"no_effect": "nvdiffrast has no OpenGL context any more"}
    )
    """Accepted for public command lines."""


LandmarkOrigin = Literal["index", "centre"]


@dataclass(frozen=True)
class LandmarkOptions:
    """Meaning of given landmarks."""

    landmark_origin: LandmarkOrigin = "index"
    """How given pixel indices are compared with projections: index as in the public code (half a
    pixel apart), centre exactly."""


def split_level(name: str) -> tuple[str, int]:
    """Split `open@2` into name and level; without a level it is 1.

    Raises:
        InputError: there is no such level.
    """
    stem, mark, level = name.partition("@")
    if stem != "open" or not mark:
        return name, 1
    if level not in map(str, LEVELS):
        levels = ", ".join("open" if number == 1 else f"open@{number}" for number in LEVELS)
        raise InputError(f"--face_model {name}: the levels of detail are {levels}")
    return stem, int(level)


def check_face_model(options: FaceModelOptions) -> None:
    """Refuse a face model that is neither a known name whose files are there nor a path to read.

    What else may be wrong with the files, their readers say.

    Raises:
        InputError: neither a name, nor a file or a folder of the kinds that are read; or the user's
            files of a named one are not there.
    """
    name, _ = split_level(options.face_model)
    folder, path = Path(options.bfm_folder), Path(name)
    if name != "open" and name in NAMED_FACE_MODELS:
        refuse_other_regions(name, options.face_region)
    with of_flag(f"face_model {name}:"):
        if name == "bfm09":
            check_bfm09(folder / options.bfm_model)
        elif name == "flame":
            check_flame(folder)
        elif release := find_release(name):
            check_release(folder, release)
        elif name == "ict" or (path.is_dir() and name not in ("auto", *NAMED_FACE_MODELS)):
            check_ict_folder(folder if name == "ict" else path)
    if name in ("auto", *NAMED_FACE_MODELS) or path.is_dir():
        return
    if path.suffix.lower() not in _FILES:
        raise InputError(
            f"--face_model {path} is unknown; take auto, {', '.join(NAMED_FACE_MODELS)}, or the "
            "path of a .npz, .mat, .pkl or .h5 file or of the folder FaceXModel"
        )
    if not path.is_file():
        raise InputError(f"--face_model {path}: no such file; give another path")


def refuse_other_regions(name: str, region: FaceRegion) -> None:
    """Refuse the head of a face model that is none of our own files, the only ones with one."""
    if region == "head":
        raise InputError(
            f"--face_region head: face model {name} has no regions to choose from; give "
            "--face_region face, or --face_model open"
        )


def refuse_head(options: FaceModelOptions) -> None:
    """Refuse the whole head of a face model: the scene has a skull and ears of its own."""
    if options.face_region == "head":
        raise InputError("--face_region head is for exports; give --face_region face")
