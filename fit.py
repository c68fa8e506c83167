"""Fit the face model to photos, to a folder of photos, or to a video.

python fit.py my.jpg
python fit.py anna_1.jpg anna_2.jpg --same_person
python fit.py --img_path my_photos --res_folder my_fits --preset best
python fit.py --v_path my.mp4 --res_folder my_fits
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from options import parse_command
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.fit_options import AdamOptions, FitOptions, VideoFitOptions, chosen_input
from options.fitting_weights import FitWeights, TrackWeights
from options.groups import RNET_GROUPS
from options.output_options import OutputOptions
from util.command import run_command

VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".gif")
"""By which a video is told from a folder of photos where neither is there."""
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
    """`fit.py a.jpg b.jpg` means `--img_path a.jpg b.jpg`, `my.mp4` means `--v_path my.mp4`."""
    typed = list(sys.argv[1:] if argv is None else argv)
    if typed and not typed[0].startswith("-"):
        from data.images import is_image_name

        path = Path(typed[0])
        is_video = path.is_file() and not is_image_name(path)
        is_video = is_video or (path.suffix.lower() in VIDEO_ENDINGS and not path.is_dir())
        return ["--v_path" if is_video else "--img_path", *typed]
    return typed


if __name__ == "__main__":
    run_command(main)
