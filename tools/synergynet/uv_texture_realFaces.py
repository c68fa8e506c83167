"""Meshes of face crops with given texture maps: the command of SynergyNet.

python tools/synergynet/uv_texture_realFaces.py -f texture_data/real --png

Photos are <name>_real_A.png, maps texture_data/uv_real/<name>_fake_B.png; writes
inference_output/{obj,rendering_overlay}.
The weights are pretrained/best.pth.tar, or those of -w, or our run of --name and --epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from options.public_synergy import demo_options
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Go through the photos."""
    options = demo_options(sys.argv[1:] if argv is None else argv, __doc__ or "")
    from util.synergy.public_synergy_files import real_faces

    count = real_faces(options)
    print(f"{count} photos done; results in inference_output")


if __name__ == "__main__":
    run_command(main)
