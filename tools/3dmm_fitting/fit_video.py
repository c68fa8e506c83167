"""Fit the face model to a video: the command of 3DMM-Fitting-Pytorch, done by fit.py.

python tools/3dmm_fitting/fit_video.py --v_path data/sample_video.mp4 --res_folder results

Flags of fit.py, such as --weights own, --smoothing 0 or --save_mesh obj, are taken too.
docs/fitting_flags.md lists what became of each public flag and file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fit
from options.flags import flag_names
from options.public_fitting import PublicFitOptions, PublicVideoOptions, video_call
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call fit.py, then write its results in the public form too."""
    typed = sys.argv[1:] if argv is None else argv
    call = video_call(typed, flag_names(fit.GROUPS), __doc__ or "")
    fit.main(call.argv)
    from util.photos.public_fit_files import write_video_file

    stem = Path(call.options[PublicVideoOptions].v_path).stem
    print(f"{write_video_file(Path(call.options[PublicFitOptions].res_folder), stem)} too")


if __name__ == "__main__":
    run_command(main)
