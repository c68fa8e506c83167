"""A face on a photo that is there, and the outputs of a run, for tests of kinds of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.example_faces import report_face
from data.alignment import Alignment
from data.images import write_image
from models.camera import Camera
from models.face_model import FaceModel
from options.output_options import OutputOptions
from util.outputs.output import OutputSource
from util.photos.face_result import FaceResult
from util.photos.photo_camera import PhotoCamera

NAME = "größe <b> 1.png"
"""Of a photo, as awkward as file systems take it."""


def output_source(face_model: FaceModel, **options) -> OutputSource:
    return OutputSource.of(face_model, Camera.rnet(), "auto", OutputOptions(**options))


def centred_alignment(size: tuple[int, int], zoom: float) -> Alignment:
    """The face in the middle of a photo, `zoom` pixels of the crop for one of it."""
    resized = (int(size[0] * zoom), int(size[1] * zoom))
    left, top = (side // 2 - 112 for side in resized)
    return Alignment(size, zoom, (size[0] / 2, size[1] / 2), resized, left, top)


def photo_face(
    face_model: FaceModel,
    folder: Path,
    name: str = NAME,
    alignment: Alignment | None = None,
    *,
    written: bool = True,
) -> FaceResult:
    """The turned face of reports, in a photo of noise, which is there if `written`."""
    face = report_face(face_model, name)
    alignment = alignment or face.aligned
    path = folder / name
    if written:
        shape = (*alignment.photo_size[::-1], 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        write_image(path, noise)
    camera = PhotoCamera.of(Camera.rnet(), alignment, face.coefficients)
    return replace(face, photo=path, alignment=alignment, camera=camera)


def pixels_of(face: FaceResult) -> np.ndarray:
    """(V, 2) where the photo shows the mesh, continuous pixels, by the textbook."""
    image = (face.vertices @ face.camera.mesh_R.T + face.camera.mesh_t) @ face.camera.K.T
    return image[:, :2] / image[:, 2:]
