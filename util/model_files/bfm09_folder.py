"""Where the Basel Face Model 2009 and its sources lie in a user's folder; torch-free.

So a folder without them is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from util.errors import InputError

_LOOK_ALIKES = (".h5", ".tgz", ".gz", ".zip", ".rar", ".7z")
"""Endings of files that users put beside the right ones, or in their place."""


@dataclass(frozen=True)
class SourceFile:
    """A file that the user brings: what it is, and where its publisher keeps it."""

    name: str
    what: str
    place: str

    @property
    def remedy(self) -> str:
        """End of a message about a wrong or missing file."""
        return f"{self.name} is {self.what}: {self.place}"


PUBLIC_FOLDER = (
    "in the folder BFM of the public code Deep3DFaceRecon_pytorch "
    "(github.com/sicxu/Deep3DFaceRecon_pytorch)"
)
IDENTITY = SourceFile(
    "01_MorphableModel.mat",
    "the Basel Face Model 2009 (not the .h5 files of 2017 or 2019, which are other models)",
    "PublicMM1/01_MorphableModel.mat inside BaselFaceModel.tgz, which the University of Basel "
    "gives on request (faces.dmi.unibas.ch)",
)
EXPRESSION = SourceFile(
    "Exp_Pca.bin",
    "the expression basis of Guo et al. (51,086,404 bytes)",
    "inside Coarse_Dataset.zip, the link CoarseData of their project 3DFace "
    "(github.com/Juyong/3DFace)",
)
FRONT_INDEX = SourceFile(
    "BFM_front_idx.mat", "the public code's choice of vertices (idx)", PUBLIC_FOLDER
)
EXPRESSION_INDEX = SourceFile(
    "BFM_exp_idx.mat",
    "the index of the expression basis into BFM09 (trimIndex)",
    PUBLIC_FOLDER,
)
MODEL_INFO = SourceFile(
    "facemodel_info.mat", "the public code's mesh, landmarks and masks", PUBLIC_FOLDER
)
DEVIATIONS = SourceFile(
    "std_exp.txt", "the 79 standard deviations of the expression basis", PUBLIC_FOLDER
)
SOURCE_FILES = (IDENTITY, EXPRESSION, FRONT_INDEX, EXPRESSION_INDEX, MODEL_INFO, DEVIATIONS)
"""All that a conversion needs."""


def missing_sources(folder: Path) -> list[SourceFile]:
    """Which of the user's files a folder lacks."""
    return [source for source in SOURCE_FILES if not (folder / source.name).is_file()]


def check_bfm09(path: Path) -> None:
    """Refuse a folder that holds neither the model nor all that it is made of.

    Args:
        path: of the model, beside which its sources lie.

    Raises:
        InputError: files are missing.
    """
    if not path.is_file() and missing_sources(path.parent):
        raise InputError(
            f"{what_bfm09_lacks(path)}; put it, or what it is made of, into {path.parent} "
            "(--bfm_folder). `python doctor.py` names each file and its publisher; to do without "
            "any, give --face_model open"
        )


def what_bfm09_lacks(path: Path) -> str:
    """What keeps bfm09 from being used, in one clause."""
    folder, missing = path.parent, missing_sources(path.parent)
    lack = f"there is no {path}"
    if len(missing) < len(SOURCE_FILES):
        lack += f", and to make it {', '.join(source.name for source in missing)} would be needed"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name.lower().endswith(_LOOK_ALIKES)]
    if others:
        lack += (
            f" (of {', '.join(others)} nothing is used: archives must be unpacked, and .h5 files "
            "are other face models, --face_model bfm17 or bfm19)"
        )
    return lack
