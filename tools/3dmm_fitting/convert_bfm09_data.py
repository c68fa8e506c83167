"""Convert the Basel Face Model 2009: the command of 3DMM-Fitting-Pytorch.

python tools/3dmm_fitting/convert_bfm09_data.py

Makes BFM/BFM09_model_info.mat of the files in BFM/ that BFM/README.md names. All commands read
them without it too, and then make BFM_model_front.mat, which is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from options import parse_command
from options.public_fitting import BFM_MODEL, PublicConversionOptions, find_bfm_folder
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Convert."""
    options = parse_command([PublicConversionOptions], argv, __doc__ or "")
    from util.model_files.bfm_conversion import convert_bfm09

    folder = find_bfm_folder(options[PublicConversionOptions].bfm_folder)
    convert_bfm09(folder, folder / BFM_MODEL)
    print(f"{folder / BFM_MODEL} is made; --face_model bfm09 --bfm_model {BFM_MODEL} takes it")


if __name__ == "__main__":
    run_command(main)
