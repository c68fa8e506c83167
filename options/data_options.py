"""Options of the datasets, and of how faces are found in photos."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from util.errors import InputError


@dataclass(frozen=True)
class DetectionOptions:
    """How faces are found where no detections are given."""

    detector: Literal["dlib", "tensorflow", "insightface"] = "dlib"
    """Face detector and landmark predictor: dlib for both; tensorflow takes the landmarks from the
    public code's 68lm_detector.pb; insightface finds faces by its own detector."""
    lm_folder: str = "checkpoints/lm_model"
    """Folder of 68lm_detector.pb, BBRegressorParam_r.mat and test_mean_face.txt (tensorflow)."""
    insightface_root: str | None = None
    """Folder of insightface's models, such as ~/.insightface; nothing is downloaded."""
    detection_upsample: int = 1
    """How often a small photo is doubled before faces of 80 pixels are searched; 1 finds faces
    from 40 pixels."""

    def __post_init__(self) -> None:
        """Refuse what would shrink photos or fill the memory."""
        if not 0 <= self.detection_upsample <= 3:
            raise ValueError(
                f"--detection_upsample is {self.detection_upsample}; it must lie between 0 and 3"
            )


_KINDS = ("shift", "scale", "rot", "flip")


@dataclass(frozen=True)
class AugmentationOptions:
    """Random changes of training faces."""

    preprocess: str = "shift_scale_rot_flip"
    """Which changes: any of shift, scale, rot, flip, joined by underscores, or none."""
    use_aug: bool = True
    """Change training faces at random."""
    shift_pixs: float = 10.0
    """Largest shift in pixels of the crop, drawn uniformly in x and y; whole pixels."""
    scale_delta: float = 0.1
    """Largest relative change of the size, drawn uniformly."""
    rot_angle: float = 10.0
    """Largest rotation in degrees, drawn uniformly."""

    def __post_init__(self) -> None:
        """Refuse unknown changes and impossible ranges."""
        if unknown := set(self.preprocess.split("_")) - {*_KINDS, "none", ""}:
            raise InputError(
                f"--preprocess {self.preprocess}: {sorted(unknown)[0]!r} is unknown; join any of "
                f"{', '.join(_KINDS)} by underscores, or give none"
            )
        if not 0 <= self.shift_pixs < math.inf:
            raise InputError(f"--shift_pixs is {self.shift_pixs}; it must be 0 or more")
        if not 0 <= self.scale_delta < 1:
            raise InputError(f"--scale_delta is {self.scale_delta}; it must lie in [0, 1)")


@dataclass(frozen=True)
class FlistOptions:
    """Lists of prepared photos."""

    data_root: str = "./"
    """Folder from which the paths in the lists count."""
    flist: str = "datalist/train/masks.txt"
    """List of the training masks; or several with their shares of an epoch, such as
    photos.txt:0.7,faces.txt:0.3, without shares all of each."""
    flist_val: str = "datalist/val/masks.txt"
    """List of the validation masks; or several, without shares."""


@dataclass(frozen=True)
class WebdatasetOptions:
    """Tar shards of prepared photos."""

    tar_shards: str = "datasets/tar/train"
    """Training faces: a folder of tar files, a pattern such as faces-*.tar or
    faces-{000000..000099}.tar, or one file."""
    tar_shards_val: str = "datasets/tar/val"
    """Validation faces, likewise."""
    tar_window: int = 16
    """Tar files whose faces are shuffled among each other; more mix better, fewer keep reads
    closer together."""

    def __post_init__(self) -> None:
        """Refuse an empty window."""
        if self.tar_window < 1:
            raise InputError(f"--tar_window is {self.tar_window}; it must be at least 1")


@dataclass(frozen=True)
class SyntheticOptions:
    """Synthetic faces with true coefficients."""

    synthetic_folder: str = "datasets/synthetic"
    """Folder of the training faces, made by make_synthetic.py."""
    synthetic_folder_val: str = "datasets/synthetic_val"
    """Folder of the validation faces."""
    synthetic_live: int = 0
    """Faces that each epoch renders anew, in the processes that load (--num_threads), instead of
    reading a folder; 0 reads. Validation then renders the same 256 each time."""
    synthetic_backgrounds: str = ""
    """Folder of pictures to put behind four of five live faces."""
    synthetic_masks: bool = True
    """Read skin masks, which only the photometric loss needs."""
    synthetic_aug: bool = True
    """Turn, cover and brighten training faces at random; their truth stays exact."""
    synthetic_rot_deg: float = 8.0
    """Standard deviation of the random rotation in degrees."""
    synthetic_box_share: float = 0.3
    """Share of the training faces that a random box covers partly."""
    synthetic_gain: float = 0.08
    """Standard deviation of the random gain of the brightness."""

    def __post_init__(self) -> None:
        """Refuse a negative number of faces."""
        if self.synthetic_live < 0:
            raise InputError(f"--synthetic_live is {self.synthetic_live}; it must be 0 or more")


@dataclass(frozen=True)
class DdfaOptions:
    """3DDFA's crops and labels; relative paths count from data_root."""

    data_root: str = "./"
    """Folder that train_aug_120x120/ and 3dmm_data/ lie in."""
    ddfa_images: str = "train_aug_120x120"
    """Folder of the crops."""
    ddfa_list: str = "3dmm_data/train_aug_120x120.list.train"
    """List of the crops, one a line."""
    ddfa_params: str = "3dmm_data/param_all_norm_v201.pkl"
    """Their whitened parameters, a pickle or .npy, rows in the order of the list."""
    mm_folder: str = "3dmm_data"
    """Folder of the face model and the whitening that the labels were made with."""
    val_share: float = 0.02
    """Share of the photos that are kept for validation, with all copies of each."""
    ddfa_aug: bool = True
    """Change colours, and now and then cover most of the crop, in training."""
    ddfa_jitter: float = 0.4
    """Largest change of brightness, contrast and saturation, as a share."""
    ddfa_mask_share: float = 0.01
    """Share of the crops of which only a quarter, a half or the centre is shown."""
    ddfa_border_px: int = 5
    """Border that is always black, in training, validation and benchmarks."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if not 0 < self.val_share < 1:
            raise InputError(
                f"--val_share is {self.val_share}; it must lie between 0 and 1, such as 0.02: the "
                "best epoch is chosen by the photos that it keeps back"
            )
        for flag in ("ddfa_jitter", "ddfa_mask_share"):
            if not 0 <= getattr(self, flag) <= 1:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must lie in [0, 1]")
        if self.ddfa_border_px < 0:
            raise InputError(f"--ddfa_border_px is {self.ddfa_border_px}; it must be 0 or more")

    def path(self, name: str) -> Path:
        """A path of these options, counted from data_root."""
        return Path(self.data_root) / getattr(self, name)


@dataclass(frozen=True)
class DatatoolOptions:
    """The datatool's output."""

    datatool_root_dir: str = "datatool"
    """Folder of the tags, each with dataset.json and sample_files/."""
    train_tags: str = "HELEN, HELEN_Flip, LFPW, LFPW_Flip"
    """Tags to train on."""
    val_tags: str = "AFW, AFW_Flip, IBUG, IBUG_Flip"
    """Tags to validate on."""
    bfm_path: str = "bfm_utils/morphable_models/BFM.mat"
    """The Basel Face Model with expressions; where it is missing --face_model stands in."""
    debug: bool = False
    """Take the first batch of each set alone."""
