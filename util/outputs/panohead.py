"""`panohead`: camera labels of photos that PanoHead's own script has cropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.eg3d_camera import camera_pose, label, orbit_pose
from util.outputs.label_lists import LABEL_ENDING, LabelledOutput
from util.photos.face_result import FaceResult


class PanoHeadOutput(LabelledOutput):
    """Labels alone: they say where the head is turned to in PanoHead's crops, not where it is.

    Its script turns, shifts and scales photos by a fit of 3DDFA_V2, so that a label of the photo
    before that would be another one. SphereHead takes the same.
    """

    what = "label for PanoHead"
    prefix = "panohead/"
    endings = (LABEL_ENDING,)
    lists = MappingProxyType({"orbit": "dataset.json"})

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `panohead/<stem>_label.json`.

        Raises:
            ValueError: the photo is none of PanoHead's crops.
        """
        width, height = face.alignment.photo_size
        if width != height:
            raise ValueError(
                f"PanoHead's labels are of its own crops, and {face.photo.name} is {width} x "
                f"{height}; crop it with PanoHead's recrop_images.py, and give that"
            )
        if face.number != 1:
            raise ValueError("PanoHead's crops show one face, the largest of the photo")
        self.write_labels(folder, face, face.photo.name)

    def labels(self, face: FaceResult) -> dict[str, list[float]]:
        """Orbit: the direction alone."""
        distance = float(face.camera.mesh_t[2])
        pose = camera_pose(face.head_rotation, face.head_translation_dm, distance)
        return {"orbit": label(orbit_pose(pose))}

    @classmethod
    def entries(cls, root: Path, record: Mapping[str, Any], name: str) -> Iterator[list[Any]]:
        """The photo, wherever it lies."""
        yield [record["file"], record[name]]
