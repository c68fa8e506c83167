"""Faces as reports show them, of any face model, without a photo or a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.stages import pose_face, shape_face
from tests.util.test_photo_camera import make_alignment
from util.face_result import FaceResult
from util.fit_record import FitRecord, StageRecord
from util.photo_camera import PhotoCamera
from util.report import DrawnPhoto, ReportSource, ReportWriter
from util.results import SummaryRow

FIT = FitRecord(
    focal_px=1015.0,
    fitted_focal=False,
    solver="gauss_newton",
    preset="fast",
    weights={"w_photo": 1.0},
    init="landmarks",
    faces_together=1,
    seconds=0.25,
    stages=(
        StageRecord("landmarks", 4, True, 0.5, 0.25, {"landmarks": 0.25}),
        StageRecord("photo_4", 2, False, 2.0, 1.5, {"photo": 1.25, "landmarks": 0.25}),
    ),
    warnings=("the face is only about 30 pixels wide",),
)


def report_face(
    face_model: FaceModel, photo: str = "photo.jpg", fit: FitRecord | None = None
) -> FaceResult:
    """A turned face with light from one side."""
    layout = face_model.layout
    flat = 0.3 * torch.randn(1, layout.size, generator=torch.Generator().manual_seed(3))
    flat[:, layout.slices["angles_rad"]] = torch.tensor([[0.1, -0.4, 0.05]])
    flat[:, layout.slices["translation_dm"]] = torch.tensor([[0.02, -0.03, 0.4]])
    coefficients, camera, alignment = layout.split(flat), Camera.rnet(), make_alignment()
    shaped = shape_face(face_model, coefficients)
    posed = pose_face(face_model, shaped, coefficients, camera)
    points = posed.landmarks_px[0].numpy() - 0.5
    return FaceResult(
        photo=Path("photos") / photo,
        number=1,
        stem=Path(photo).stem,
        picture=np.full((224, 672, 3), 90, np.uint8),
        vertices=camera.to_object(posed.vertices_camera)[0].numpy(),
        triangles=face_model.triangles.numpy(),
        colours=posed.colours[0].numpy(),
        coefficients=coefficients,
        landmarks_index=points,
        alignment=alignment,
        camera=PhotoCamera.of(camera, alignment, coefficients),
        face_model=face_model.card,
        fit=fit,
        albedo=shaped.albedo[0].numpy(),
        given_landmarks_index=points + 1,
    )


def report_row(face: FaceResult, message: str = "") -> SummaryRow:
    return SummaryRow(
        str(face.photo), "ok", 1, face.stem, 0.02, 0.04, 0.06, 5.7, -22.9, 2.9, message
    )


def report_writer(face_model: FaceModel) -> ReportWriter:
    return ReportWriter(face_model, ReportSource("fit.py", {"preset": "fast"}, with_overlay=True))


def drawn_photo() -> DrawnPhoto:
    photo = np.random.default_rng(0).integers(0, 256, (407, 613, 3), dtype=np.uint8)
    return DrawnPhoto(photo, lambda: photo[::-1].copy())
