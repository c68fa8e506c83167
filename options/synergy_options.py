"""Options of `test.py --model synergy` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from util.errors import InputError


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
    """Write the pictures of landmarks, pose and mesh, of a video the video."""
    res_folder: str = ""
    """Folder of the results; else results/ beside the checkpoint."""

    def __post_init__(self) -> None:
        """Refuse a texture from nowhere, and meshes of a whole video."""
        if self.save_mesh == "textured" and not self.uv_folder:
            raise InputError(
                "--save_mesh textured needs --uv_folder, the folder of the maps; obj colours the "
                "mesh by the photo"
            )
