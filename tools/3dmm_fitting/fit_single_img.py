"""Fit the face model to a photo: the command of 3DMM-Fitting-Pytorch, done by fit.py.

python tools/3dmm_fitting/fit_single_img.py --img_path data/000002.jpg --res_folder results

Flags of fit.py, such as --solver adam, --weights own or --preset best, are taken too.
docs/fitting_flags.md lists what became of each public flag and file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fit
from data.images import find_folder, list_images
from options.flags import flag_names
from options.public_fitting import PublicFitOptions, PublicPhotoOptions, photo_call
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call fit.py, then write its results under the public names too."""
    typed = sys.argv[1:] if argv is None else argv
    call = photo_call(typed, flag_names(fit.GROUPS), __doc__ or "")
    fit.main(call.argv)
    from util.photos.public_fit_files import COEFFICIENTS, COMPOSED, MESH, write_photo_files

    photos = find_folder(call.options[PublicPhotoOptions].img_path, Path("datasets"), "img_path")
    folder = Path(call.options[PublicFitOptions].res_folder)
    stems = write_photo_files(folder, list_images(photos))
    print(
        f"As {', '.join(f'<name>{ending}' for ending in (COMPOSED, COEFFICIENTS, MESH))} too: "
        f"{', '.join(stems)}"
    )


if __name__ == "__main__":
    run_command(main)
