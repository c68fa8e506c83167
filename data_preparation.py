"""Prepare folders of photos for training: landmarks, skin masks and lists.

python data_preparation.py --img_folder my_photos --mode train
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from data.detection import DetectionOptions
from data.preparation import PreparationOptions, prepare_folders
from options import parse_command
from util.command import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare the photos; the exit code is 1 if none can be used."""
    options = parse_command([PreparationOptions, DetectionOptions], arguments, __doc__ or "")
    summary = prepare_folders(options[PreparationOptions], options[DetectionOptions])
    print(summary)
    if not summary.usable:
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
