"""Options of `test.py --model synergy` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.images import check_named_photos, find_folder, list_images
from data.video_kind import check_video_file
from options.face_options import FaceModelOptions, check_face_model
from options.flags import ParsedOptions
from options.output_checks import check_distance
from options.output_options import NONE, OutputOptions
from util.errors import InputError, of_flag
from util.folders import check_folder
from util.training.run_choice import find_trained


@dataclass(frozen=True)
class SynergyTestOptions:
    """Which photos or which video, and what is written."""

    img_folder: str = "examples"
    """Folder of photos, or one photo; detections/<stem>.txt beside them are used where they are
    there."""
    v_path: str = ""
    """Video, in place of photos."""
    faces: Literal["largest", "all"] = "largest"
    """The largest face of each photo, or all."""
    crop: Literal["landmarks", "whole"] = "landmarks"
    """Where the network looks: about the landmarks that a detector finds, as in training; or at the
    whole photo, which is a face crop already."""
    save_mesh: Literal["none", "obj", "textured"] = "obj"
    """obj: mesh of each face, coloured by the photo; textured: with the map in uv_folder as its
    texture (obj, mtl, png); none leaves it out."""
    uv_folder: str = ""
    """Folder of maps <stem>_fake_B.png or <stem>.png for --save_mesh textured."""
    draw: bool = True
    """Write the pictures of landmarks, pose and mesh over each photo, of a video the video."""
    report: bool = True
    """Also write <stem>_report.html, a page of each face, or of the video, to turn and to read, and
    index.html, which shows all faces of photos; not with --save_mesh none, unless it is asked
    for."""
    res_folder: str = ""
    """Folder of the results; else results/ beside the checkpoint."""

    def __post_init__(self) -> None:
        """Refuse a texture from nowhere, and meshes of a whole video."""
        if self.save_mesh == "textured" and not self.uv_folder:
            raise InputError(
                "--save_mesh textured needs --uv_folder, the folder of the maps; obj colours the "
                "mesh by the photo"
            )


def check_synergy_input(options: ParsedOptions) -> Literal["photos", "video"]:
    """What is to be reconstructed, after a look at whether it is there.

    Raises:
        InputError: no such photos, video, face model or checkpoint, results cannot go to
            --res_folder, or a SynergyNet knows nothing of what --save needs.
    """
    test, outputs = options[SynergyTestOptions], options[OutputOptions]
    if test.v_path:
        usual = SynergyTestOptions()
        for flag in ("img_folder", "faces", "crop", "save_mesh", "uv_folder"):
            # Believed to work, were it taken. A recorded run gives them too, at their defaults.
            if getattr(test, flag) != getattr(usual, flag):
                raise InputError(f"--{flag} is for photos; leave it out with --v_path")
        save = outputs.save
        if save not in (OutputOptions().save, (NONE,)):
            raise InputError(f"--save {' '.join(save)} is for photos; leave it out with --v_path")
        with of_flag("v_path"):
            check_video_file(Path(test.v_path))
    else:
        photos = find_folder(test.img_folder, Path("datasets"))
        with of_flag("img_folder"):
            list_images(photos)
        check_named_photos([photos], "img_folder")
        check_distance(outputs.save)
        if "texture" in outputs.save and outputs.texture_light == "remove":
            raise InputError(
                "--texture_light remove: a SynergyNet predicts no light that could be divided out; "
                "keep it, or take fit.py"
            )
    find_trained(options)
    check_face_model(options[FaceModelOptions])
    if test.res_folder:
        check_folder(test.res_folder, "res_folder")
    return "video" if test.v_path else "photos"
