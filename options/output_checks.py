"""What of `--save` cannot be written, as far as flags and the photos' sizes tell it; torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data.images import picture_size
from options.output_options import NONE, TALKING_HEADS, OutputOptions
from util.errors import InputError

NEEDS_DISTANCE: Mapping[str, str] = {
    "world": "K projects the mesh from where the camera stands",
    "eg3d": "labels say where the camera stands",
    "panohead": "labels say from where the camera sees the head",
    **dict.fromkeys(TALKING_HEADS, "its numbers are those of the R-Net before its own camera"),
}
"""Why a kind cannot be written of faces under weak perspective."""


def check_distance(names: Sequence[str]) -> None:
    """Refuse kinds that need to know where the camera stands, for faces in weak perspective.

    Raises:
        InputError: one of them does.
    """
    for name in names:
        if why := NEEDS_DISTANCE.get(name):
            raise InputError(
                f"--save {name}: {why}, and this network sees faces in weak perspective, which has "
                "neither a distance nor a focal length; take fit.py, or leave the kind out"
            )


def check_usual_focal(names: Sequence[str]) -> None:
    """Refuse the talking heads where the focal length is looked for.

    Raises:
        InputError: one of them is named.
    """
    for name in names:
        if program := TALKING_HEADS.get(name):
            raise InputError(
                f"--save {name}: {program} knows the usual focal length alone; leave out "
                f"--fit_focal, or leave {name} out of --save"
            )


def check_video(names: Sequence[str]) -> None:
    """Refuse kinds that are for photos alone; the default, which is for them, means none.

    Raises:
        InputError: one of them is named.
    """
    if tuple(names) in (OutputOptions().save, (NONE,)):
        return
    for name in names:
        if name not in TALKING_HEADS:
            raise InputError(
                f"--save {name} is for photos; for a video it can be {', '.join(TALKING_HEADS)}, "
                "and --save_mesh writes meshes"
            )


def check_photos(names: Sequence[str], photos: Sequence[Path]) -> None:
    """Refuse photos of which one of the kinds can be written for none.

    Raises:
        InputError: no photo is a crop of PanoHead's, which are square.
    """
    if "panohead" not in names:
        return
    oblong: tuple[Path, int, int] | None = None
    for photo in photos:
        if (size := picture_size(photo)) is None:
            continue
        width, height = size
        if width == height:
            return
        oblong = oblong or (photo, width, height)
    if oblong is not None:
        photo, width, height = oblong
        raise InputError(
            f"--save panohead: its labels are of PanoHead's own crops, and {photo} is {width} x "
            f"{height}; crop it with PanoHead's recrop_images.py and give that, or leave the kind "
            "out"
        )
