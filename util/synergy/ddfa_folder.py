"""Whether a folder 3dmm_data is there; torch-free, so that a wrong one is refused at once."""

from __future__ import annotations

from pathlib import Path

from util.errors import InputError

REMEDY = (
    "take the folder 3dmm_data of 3DDFA or SynergyNet as it is, or one that "
    "`make_synthetic.py --layout ddfa` wrote"
)


def check_morphable_folder(folder: Path) -> None:
    """Refuse a folder that is none; what it holds, `util.synergy.ddfa_files` checks.

    Raises:
        InputError: it is not there.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"--mm_folder {folder} {what}; {REMEDY}")
