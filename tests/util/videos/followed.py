"""A made-up face along a few frames, fitted or predicted, for tests of what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.square_crop import SquareCrop
from data.video import VideoDamage, VideoInfo
from data.video_crops import FrameCrop
from models.camera import Camera
from models.face_model import FaceModel
from tests.saved_faces import random_faces
from util.videos.followed_face import FollowedFace, PredictedFrames

COUNT, WITHOUT = 7, 3
SIZE = (640, 360)


def followed(
    face_model: FaceModel,
    crops: tuple[FrameCrop | SquareCrop | None, ...],
    camera: Camera,
    predicted: PredictedFrames | None = None,
) -> FollowedFace:
    """Random faces in all frames that have a crop."""
    found = np.array([crop is not None for crop in crops])
    flat = face_model.layout.join(random_faces(face_model, len(crops))).numpy()
    flat[~found] = 0
    return FollowedFace(
        info=VideoInfo(Path("talk.mp4"), *SIZE, len(crops), 25.0, 0.0, 1.0, "h264", 0, False),
        times_s=np.arange(len(crops)) / 25,
        found=found,
        coefficients=flat.astype(np.float32),
        tracked=flat.astype(np.float32),
        camera=camera,
        crops=crops,
        face_model=face_model.card,
        landmarks=np.zeros((len(crops), 68, 2)),
        starts=np.arange(len(crops)) == 0,
        photo=np.where(found, 0.1, 0.0),
        cuts=(),
        key_frames=(0,),
        damage=VideoDamage(),
        predicted=predicted,
    )


def fitted(face_model: FaceModel) -> FollowedFace:
    """By a fit: crops of several sizes that move, none in one frame."""
    crops = [FrameCrop(SIZE, 0.8 + 0.1 * k, 40.0 + 9 * k, 20.0 - 5 * k) for k in range(COUNT)]
    return followed(
        face_model,
        tuple(None if k == WITHOUT else crop for k, crop in enumerate(crops)),
        Camera.rnet(),
    )
