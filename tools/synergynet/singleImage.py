"""Landmarks, mesh and head pose of all faces of photos: the command of SynergyNet.

python tools/synergynet/singleImage.py -f img

Writes inference_output/{rendering_overlay,landmarks,poses}, and a page of each face into faces.
The weights are pretrained/best.pth.tar, or those of -w, or our run of --name and --epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from options.public_synergy import SINGLE_IMAGE_GROUPS, demo_options
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Go through the photos."""
    given = sys.argv[1:] if argv is None else argv
    options = demo_options(given, __doc__ or "", SINGLE_IMAGE_GROUPS)
    from util.synergy.public_synergy_files import single_image

    count = single_image(options)
    print(f"{count} photos done; results in inference_output")


if __name__ == "__main__":
    run_command(main)
