"""Move one person's face as another's: of a photo, a video, or named units over time.

python animate.py --coeffs fits/anna --with fits/talk.npz --out anna_talks.mp4
python animate.py --coeffs fits/anna --with units.csv --out anna.glb
python animate.py --coeffs fits/anna --with talk.mp4 --relative --pose_of A
python animate.py --with talk.mp4 --out talk_units.csv
"""

from __future__ import annotations

from collections.abc import Sequence

import fit
from models.one_euro import SmoothingOptions
from options import parse_command
from options.animate_options import AnimateOptions
from util.animation_run import TRACKING, run_animation
from util.command import run_command

GROUPS = (AnimateOptions, SmoothingOptions, *TRACKING)


def main(argv: Sequence[str] | None = None) -> None:
    """Animate, as the command line says."""
    run_animation(parse_command(GROUPS, argv, __doc__ or ""), fit.main)


if __name__ == "__main__":
    run_command(main)
