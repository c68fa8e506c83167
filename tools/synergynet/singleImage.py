"""Landmarks, mesh and head pose of all faces of photos, or of a video: the command of SynergyNet.

python tools/synergynet/singleImage.py -f img
python tools/synergynet/singleImage.py -f talk.mp4

Writes inference_output/{rendering_overlay,landmarks,poses}, and a page of each face into faces; of
a video what test.py writes, into videos.
The weights are pretrained/best.pth.tar, or those of -w, or our run of --name and --epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from options.public_synergy import SINGLE_IMAGE_GROUPS, demo_options, names_video
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Go through the photos, or through the video."""
    given = sys.argv[1:] if argv is None else argv
    options = demo_options(given, __doc__ or "", SINGLE_IMAGE_GROUPS)
    from util.synergy.public_synergy_files import single_image, single_video

    if names_video(options):
        single_video(options)
        return
    count = single_image(options)
    print(f"{count} photos done; results in inference_output")


if __name__ == "__main__":
    run_command(main)
