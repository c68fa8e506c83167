"""Faces and a video as reports show them, of any face model, without a photo or a fit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from data.alignment import Alignment
from data.video import VideoDamage, VideoInfo
from data.video_crops import FrameCrop
from models.camera import Camera
from models.face_model import FaceModel
from models.stages import pose_face, shape_face
from util.photos.face_result import FaceResult
from util.photos.fit_record import FitRecord, StageRecord
from util.photos.photo_camera import PhotoCamera
from util.photos.results import SummaryRow
from util.reports.face_report import OVERLAY_FILES, DrawnPhoto, ReportSource, ReportWriter
from util.reports.reported_run import ReportedRun
from util.reports.video_report import VideoReportWriter, VideoSource
from util.videos.followed_face import FollowedFace
from util.videos.video_measures import VideoMeasures

ALIGNMENT = Alignment(
    photo_size=(613, 407),
    scale=0.777,
    translation_px=(150.25, 260.5),
    resized_size=(476, 316),
    left=-17,
    top=31,
)
"""A face high on the left of a photo, whose two axes are resized by unequal factors."""
RUN = ReportedRun("fit.py", {"preset": "fast"})
SIDE = "_fit.mp4"
"""Ending of the side-by-side video."""
FRAME_SIZE = (640, 360)
"""Width and height of the video's frames."""
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
        StageRecord("landmarks", 4, True, 0.5, 0.25, {"landmarks": 0.25}, 1.0),
        StageRecord("photo_4", 2, False, 2.0, 1.5, {"photo": 1.25, "landmarks": 0.25}, 1.0),
    ),
    warnings=("the face is small, only about 30 pixels wide",),
)


def report_face(
    face_model: FaceModel, photo: str = "photo.jpg", fit: FitRecord | None = None
) -> FaceResult:
    """A turned face with light from one side."""
    layout = face_model.layout
    flat = 0.3 * torch.randn(1, layout.size, generator=torch.Generator().manual_seed(3))
    flat[:, layout.slices["angles_rad"]] = torch.tensor([[0.1, -0.4, 0.05]])
    flat[:, layout.slices["translation_dm"]] = torch.tensor([[0.02, -0.03, 0.4]])
    coefficients, camera, alignment = layout.split(flat), Camera.rnet(), ALIGNMENT
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
    """Its summary."""
    return SummaryRow(
        str(face.photo), "ok", 1, face.stem, 0.02, 0.04, 0.06, 5.7, -22.9, 2.9, message
    )


def report_writer(face_model: FaceModel) -> ReportWriter:
    """As a run of `fit.py` has it."""
    return ReportWriter(face_model, ReportSource(RUN, OVERLAY_FILES))


def drawn_photo() -> DrawnPhoto:
    """Noise, which is the hardest to compress."""
    photo = np.random.default_rng(0).integers(0, 256, (407, 613, 3), dtype=np.uint8)
    return DrawnPhoto(photo, lambda: photo[::-1].copy())


def made_up_fit(
    face_model: FaceModel,
    count: int,
    without: Collection[int] = (),
    cuts: tuple[int, ...] = (0,),
    name: str = "talk.mp4",
) -> FollowedFace:
    """A person of the face model, whose crops wander; given landmarks lie beside the fitted."""
    layout = face_model.layout
    slices, rng = layout.slices, np.random.default_rng(5)
    phase = np.arange(count) / 25 * 2 * np.pi
    flat = np.zeros((count, layout.size))
    for block in ("identity", "texture"):
        part = slices[block]
        flat[:, part] = 0.6 * rng.standard_normal(part.stop - part.start)
    jaw = face_model.units({"jawOpen": 1.0})[0].numpy()
    flat[:, slices["expression"]] = (0.3 - 0.3 * np.cos(2 * phase))[:, None] * jaw
    angles = [0.1 * np.sin(phase), 0.5 * np.sin(0.7 * phase), 0.05 * np.cos(phase)]
    flat[:, slices["angles_rad"]] = np.stack(angles, axis=1)
    flat[:, slices["translation_dm"].start] = 0.3 * np.sin(0.5 * phase)
    found = np.ones(count, bool)
    found[list(without)] = False
    flat[~found] = 0
    crops = tuple(
        FrameCrop(FRAME_SIZE, 1.1, 180 + 0.3 * number, 40.0) if found[number] else None
        for number in range(count)
    )
    starts = np.zeros(count, bool)
    starts[list(cuts)] = True
    coefficients = flat.astype(np.float32)
    keys = np.flatnonzero(found)[:: max(1, int(found.sum()) // 4)]
    fit = FollowedFace(
        info=VideoInfo(
            path=Path("videos") / name,
            width=FRAME_SIZE[0],
            height=FRAME_SIZE[1],
            frame_count=count,
            frame_rate_hz=25.0,
            start_s=1.0,
            duration_s=count / 25,
            codec="h264",
            rotation_deg=0,
            has_audio=False,
        ),
        times_s=1.0 + np.arange(count) / 25,
        found=found,
        coefficients=coefficients,
        tracked=coefficients,
        camera=Camera.rnet(),
        crops=crops,
        face_model=face_model.card,
        landmarks=np.zeros((count, 68, 2), np.float32),
        starts=starts,
        photo=np.where(found, 0.05 + 0.01 * np.sin(3 * phase), 0).astype(np.float32),
        cuts=cuts,
        key_frames=tuple(int(key) for key in keys),
        damage=VideoDamage(),
    )
    points = VideoMeasures(face_model, fit).landmarks
    points[found] += rng.normal(0, 0.8, (int(found.sum()), 68, 2)).astype(np.float32)
    fit.landmarks[:] = points
    return fit


def video_report_writer(face_model: FaceModel, fit: FollowedFace) -> VideoReportWriter:
    """Of a fit, with the results that it gives."""
    measures = VideoMeasures(face_model, fit)
    source = VideoSource(RUN, {SIDE: "input, overlay, geometry"}, SIDE, "Input, overlay, geometry")
    return VideoReportWriter(measures, measures.report(), source)
