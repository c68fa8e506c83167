"""`depth`, `normals`, `mask`, `visibility`: what pixels of the photo see of a face.

Maps are as large as the photo, or as a box around the face in photos of more than four megapixels:
the files and `maps` of `<stem>_camera.json` name that box in pixels of the photo.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from util.atomic import write_bytes
from util.outputs.output import Output
from util.photos.face_result import FaceResult
from util.photos.png_file import write_map

DEPTH_LEVELS_A_DM = 1000
"""Levels of the 16-bit depth for a decimetre: tenths of a millimetre."""


class DepthOutput(Output):
    """Depth along the camera's axis, 0 where nothing is seen."""

    what = "depth of the face in the photo"
    endings = ("_depth.png", "_depth.npy")
    beside = ("the same as numbers",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_depth.png`, tenths of a millimetre, and `.npy`, in `--unit`."""
        box, maps = self.source.maps.maps(face, self.source.renderer)
        depth, options = maps.depth_dm.numpy(), self.source.options
        levels = np.rint(depth * DEPTH_LEVELS_A_DM)
        if levels.max() > np.iinfo(np.uint16).max:
            raise ValueError(
                f"{face.stem}: the face is {depth.max() / 10:.1f} m away, and 16 bits hold 6.5 m; "
                "leave out --fit_focal, or take --save camera"
            )
        meaning = {"unit": "0.1 mm along the camera's axis; 0 is empty", "box": str(box)}
        write_map(folder / f"{face.stem}_depth.png", levels.astype(np.uint16), meaning)
        numbers = np.float32(options.units_in_a_dm) * depth
        _write_npy(folder / f"{face.stem}_depth.npy", numbers)


class NormalsOutput(Output):
    """Normals in the camera's frame as colours: x right, y up, z towards the camera."""

    what = "normals of the face in the photo"
    endings = ("_normals.png",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_normals.png`: (n + 1) / 2 in RGB, black where nothing is seen."""
        box, maps = self.source.maps.maps(face, self.source.renderer)
        colours = np.rint(127.5 * (maps.normals.numpy() + 1)) * maps.mask.numpy()[..., None]
        meaning = {"unit": "(n + 1) / 2: x right, y up, z to the camera", "box": str(box)}
        write_map(folder / f"{face.stem}_normals.png", colours.astype(np.uint8), meaning)


class MaskOutput(Output):
    """Where the photo shows the mesh."""

    what = "where the face is in the photo"
    endings = ("_mask.png",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_mask.png`: 255 on the mesh, else 0."""
        box, maps = self.source.maps.maps(face, self.source.renderer)
        mask = np.where(maps.mask.numpy(), np.uint8(255), np.uint8(0))
        write_map(folder / f"{face.stem}_mask.png", mask, {"box": str(box)})


class VisibilityOutput(Output):
    """Which vertices the photo shows, in the order of the mesh."""

    what = "which vertices the photo shows"
    endings = ("_visibility.npy",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_visibility.npy`: (V,) bool."""
        seen = self.source.maps.seen(face, self.source.renderer)
        _write_npy(folder / f"{face.stem}_visibility.npy", seen)


def _write_npy(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_bytes(path, buffer.getvalue())
