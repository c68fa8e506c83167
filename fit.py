"""Fit the face model to photos, to a folder of photos, or to a video.

python fit.py my.jpg
python fit.py anna_1.jpg anna_2.jpg --same_person
python fit.py --img_path my_photos --res_folder my_fits --preset best
python fit.py --v_path my.mp4 --res_folder my_fits
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from data.images import is_photo
from data.video_kind import is_video_name
from options import parse_command
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.fit_options import AdamOptions, FitOptions, VideoFitOptions, chosen_input
from options.fitting_weights import FitWeights, TrackWeights
from options.groups import RNET_GROUPS
from options.output_options import OutputOptions
from util.command import run_command
from util.errors import InputError

GROUPS = (
    *(FitOptions, OutputOptions, AdamOptions, VideoFitOptions, FitWeights, TrackWeights),
    *(BaseOptions, DetectionOptions, *RNET_GROUPS),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Fit photos or a video, as the command line says."""
    options = parse_command(GROUPS, with_flags(argv), __doc__ or "")
    what = chosen_input(options)
    if not options.given("jaw_landmarks"):
        # Detectors mark where a turned head ends.
        options = options.with_values(FaceModelOptions, jaw_landmarks="silhouette")
    # What computes takes seconds to import: only now that the command line is sound.
    if what == "video":
        from util.videos.video_run import fit_video

        fit_video(options)
    else:
        from util.photos.fit_run import fit_photos

        fit_photos(options)


def with_flags(argv: Sequence[str] | None) -> list[str]:
    """`fit.py a.jpg b.jpg` means `--img_path a.jpg b.jpg`, `my.mp4` means `--v_path my.mp4`.

    Raises:
        InputError: a video among several paths, of which one call fits one.
    """
    typed = list(sys.argv[1:] if argv is None else argv)
    paths = list(takewhile(lambda token: not token.startswith("-"), typed))
    if not paths:
        return typed
    videos = [path for path in paths if is_video_name(Path(path))]
    if videos and len(paths) > 1:
        others = [path for path in paths if path != videos[0]] or paths[1:]
        flags = shlex.join(typed[len(paths) :])
        raise InputError(
            f"{videos[0]} is a video by its name, which a call fits alone; fit one after the "
            f"other: python fit.py {shlex.quote(videos[0])}, then python fit.py "
            f"{shlex.join(others)}{f', each with {flags}' if flags else ''}"
        )
    # Videos have many endings: a single file that is no photo is taken for one.
    only = Path(paths[0])
    is_other = len(paths) == 1 and only.is_file() and not is_photo(only)
    return ["--v_path" if videos or is_other else "--img_path", *typed]


if __name__ == "__main__":
    run_command(main)
