"""Reconstruct the faces of a folder of photos with a trained R-Net, or with a SynergyNet.

python test.py --name my_faces --epoch latest --img_folder my_photos
python test.py --model synergy --name mine --epoch best --img_folder my_photos --faces all
python test.py --model synergy --weights pretrained/best.pth.tar --v_path my.mp4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from options import parse_command
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.fitting_weights import SmoothingOptions
from options.groups import RNET_GROUPS, SYNERGY_GROUPS, chosen_groups
from options.output_options import OutputOptions
from options.synergy_options import SynergyTestOptions, check_synergy_input
from options.test_options import (
    PublicTestOptions,
    PublicTrainingOptions,
    TestOptions,
    check_test_input,
)
from util.command import run_command

GROUPS = (
    *(BaseOptions, TestOptions, OutputOptions, PublicTestOptions, PublicTrainingOptions),
    *(DetectionOptions, *RNET_GROUPS),
)
GROUPS_OF_SYNERGY = (
    *(BaseOptions, SynergyTestOptions, OutputOptions, DetectionOptions, SmoothingOptions),
    *SYNERGY_GROUPS,
)


def groups(given: Mapping[str, str]) -> tuple[type, ...]:
    """The options of the chosen model."""
    models = {"facerecon": GROUPS, "synergy": GROUPS_OF_SYNERGY}
    return chosen_groups("model", given.get("model", "facerecon"), models)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the network, reconstruct every photo, write the results and a summary."""
    options = parse_command(groups, argv, __doc__ or "")
    # What computes takes seconds to import: only now that the command line is sound.
    if SynergyTestOptions not in options:
        check_test_input(options)
        from util.photos.network_run import reconstruct_folder

        reconstruct_folder(options)
    elif check_synergy_input(options) == "video":
        from util.synergy.synergy_video import reconstruct_video

        reconstruct_video(options)
    else:
        from util.synergy.synergy_photos import reconstruct_photos

        reconstruct_photos(options)


if __name__ == "__main__":
    run_command(main)
