"""Prepare folders of photos for training: landmarks, skin masks and lists.

python data_preparation.py --img_folder my_photos --mode train
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from data.detection import DetectionOptions
from data.preparation import PreparationOptions, prepare_folders
from options import parse_command
from util.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the photos; the exit code is 0 if any can be used, 1 if none, 2 for bad input."""
    try:
        options = parse_command([PreparationOptions, DetectionOptions], arguments, __doc__ or "")
        summary = prepare_folders(options[PreparationOptions], options[DetectionOptions])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary)
    return 0 if summary.usable else 1


if __name__ == "__main__":
    sys.exit(main())
