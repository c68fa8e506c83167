"""Move one person's face as another's: of a photo, a video, or named units over time.

python animate.py --coeffs fits/anna --with fits/talk.npz --out anna_talks.mp4
python animate.py --coeffs fits/anna --with units.csv --out anna.glb
python animate.py --coeffs fits/anna --with talk.mp4 --relative --pose_of A
python animate.py --with talk.mp4 --out talk_units.csv
"""

from __future__ import annotations

from collections.abc import Sequence

import fit
from options import parse_command
from options.animate_options import AnimateOptions
from options.fitting_weights import SmoothingOptions
from options.groups import TRACKING_GROUPS
from util.animation.early_checks import check_animation
from util.command import run_command

GROUPS = (AnimateOptions, SmoothingOptions, *TRACKING_GROUPS)


def main(argv: Sequence[str] | None = None) -> None:
    """Animate, as the command line says."""
    options = parse_command(GROUPS, argv, __doc__ or "")
    check_animation(options)
    # What computes takes seconds to import: only now that the command line is sound.
    from util.animation.animation_run import run_animation

    run_animation(options, fit.main)


if __name__ == "__main__":
    run_command(main)
