"""`eg3d`: crops and camera labels as EG3D reads them, in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data.images import write_image
from data.portrait_crop import PortraitCrop
from models.eg3d_camera import camera_pose, cor_pose, label, mirrored, of_label, orig_pose
from util.outputs.label_lists import LABEL_ENDING, LabelledOutput
from util.outputs.output import read_photo
from util.photos.face_result import FaceResult

MIRROR = "mirror"
"""Folder of the mirrored crops."""


class Eg3dOutput(LabelledOutput):
    """The crop of each face, and three labels of it.

    `orig` is what EG3D's published checkpoints learned, `cor` its later labels; `exact` is the true
    camera of the crop, with which the mesh lies on the face.
    """

    what = "crop for EG3D"
    prefix = "eg3d/"
    endings = (".png", LABEL_ENDING)
    beside = ("its labels", "the same mirrored")
    lists = MappingProxyType(
        {"orig": "dataset.json", "cor": "dataset_cor.json", "exact": "dataset_exact.json"}
    )

    @classmethod
    def names(cls, stem: str) -> tuple[str, ...]:
        """With the mirrored crop, which may be missing."""
        return (*super().names(stem), f"{cls.prefix}{MIRROR}/{stem}.png")

    def contents(self, stem: str) -> dict[str, str]:
        """Without the mirrored crop where none is written."""
        contents = super().contents(stem)
        if not self.source.options.eg3d_mirror:
            del contents[self.names(stem)[-1]]
        return contents

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `eg3d/<stem>.png` and `_label.json`, and `eg3d/mirror/<stem>.png` if asked for."""
        image, _, mirror = (folder / name for name in self.names(face.stem))
        # First, since EG3D stops at a crop without a label; a label without a crop is not listed.
        self.write_labels(folder, face, image.name)
        crop = PortraitCrop.around(face.alignment).cut(read_photo(face))
        write_image(image, crop)
        if self.source.options.eg3d_mirror:
            write_image(mirror, np.ascontiguousarray(crop[:, ::-1]))
        else:
            mirror.unlink(missing_ok=True)

    def labels(self, face: FaceResult) -> dict[str, list[float]]:
        """orig, cor and exact."""
        distance = float(face.camera.mesh_t[2])
        pose = camera_pose(face.head_rotation, face.head_translation_dm, distance)
        K = PortraitCrop.around(face.alignment).matrix @ face.camera.K
        return {
            "orig": label(orig_pose(pose)),
            "cor": label(cor_pose(pose)),
            "exact": label(pose, K),
        }

    @classmethod
    def entries(cls, root: Path, record: Mapping[str, Any], name: str) -> Iterator[list[Any]]:
        """The crop, and the mirrored one where it is there."""
        file = record["file"]
        if (root / file).is_file():
            yield [file, record[name]]
            if (root / MIRROR / file).is_file():
                pose, K = of_label(record[name])
                K[0, 2] = 1 - K[0, 2]
                yield [f"{MIRROR}/{file}", label(mirrored(pose), K)]
