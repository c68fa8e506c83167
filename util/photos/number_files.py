"""The files with the numbers of a face: `.obj`, `.mat` and `.json`; docs/results.md explains them.

Methods that know the face in space have `SpaceFiles`; those that count in pixels of the photo have
the fewer of `PixelFace`. Which a face has, `number_files` says, and nothing else asks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from options.output_options import OutputOptions
from util.mesh_files.mesh_file import write_obj
from util.outputs.meshes import mesh_remark
from util.photos.coefficient_file import write_mat
from util.photos.face_result import FaceResult
from util.photos.record_file import write_record

FORMAT_VERSION = 1


class NumberFiles(Protocol):
    """What is written of the numbers of a face."""

    @property
    def contents(self) -> Mapping[str, str]:
        """Endings of the files, and what they hold."""
        ...

    def names(self, stem: str) -> list[str]:
        """Of all files, those that a mesh refers to as well."""
        ...

    def write(self, folder: Path, face: FaceResult, options: OutputOptions) -> None:
        """Write them.

        Raises:
            ValueError: a number is not finite.
            OSError: no space, no permission.
        """
        ...


def number_files(face: FaceResult) -> NumberFiles:
    """What is written of this one."""
    return SpaceFiles() if face.pixels is None else face.pixels


class SpaceFiles:
    """A face in space: mesh, coefficients, camera."""

    contents: Mapping[str, str] = {
        ".obj": "mesh",
        ".mat": "coefficients",
        ".json": "camera, landmarks",
    }

    def names(self, stem: str) -> list[str]:
        """See `NumberFiles`."""
        return [f"{stem}{ending}" for ending in self.contents]

    def write(self, folder: Path, face: FaceResult, options: OutputOptions) -> None:
        """See `NumberFiles`."""
        # As it always was in decimetres: byte for byte that of the public code.
        remark = "" if options.unit == "dm" else mesh_remark(face, options)
        vertices = options.units_in_a_dm * face.vertices
        write_obj(folder / f"{face.stem}.obj", vertices, face.triangles, face.colours, remark)
        camera, alignment = face.camera, face.aligned
        write_mat(
            folder / f"{face.stem}.mat",
            face.coefficients,
            face.landmarks_index,
            {
                "K": camera.K,
                "R": camera.R,
                "t": camera.t,
                "photo_size": np.array(alignment.photo_size),
                "photo_to_crop": alignment.matrix,
            },
        )
        write_record(folder / f"{face.stem}.json", space_record(face))


def space_record(face: FaceResult) -> dict[str, Any]:
    """Plain values of the `.json` of a face in space, as docs/results.md lists them."""
    alignment, camera = face.aligned, face.camera
    angles = face.coefficients.angles_rad[0].tolist()
    return {
        "format_version": FORMAT_VERSION,
        "photo": face.photo.name,
        "photo_size": list(alignment.photo_size),
        "face": face.number,
        "face_model": face.face_model.record,
        "crop_size": [alignment.crop_px, alignment.crop_px],
        "photo_to_crop": alignment.matrix.tolist(),
        "crop_to_photo": alignment.inverse_matrix.tolist(),
        "trans_params": alignment.public_parameters.tolist(),
        "K": camera.K.tolist(),
        "R": camera.R.tolist(),
        "t": camera.t.tolist(),
        "mesh_R": camera.mesh_R.tolist(),
        "mesh_t": camera.mesh_t.tolist(),
        "angles_deg": [math.degrees(angle) for angle in angles],
        "landmarks": face.landmarks_photo.tolist(),
    }
