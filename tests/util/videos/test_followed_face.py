"""A followed face: what frames without it, other crops and other cameras refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.square_crop import SquareCrop
from models.face_model import FaceModel
from tests.util.videos.followed import COUNT, SIZE, WITHOUT, fitted, followed
from util.synergy.synergy_reconstruction import weak_camera
from util.videos.followed_face import PredictedFrames, without_any_face


def test_crops_are_those_of_frames_with_a_face(tiny_face_model: FaceModel):
    face = fitted(tiny_face_model)
    for number in np.flatnonzero(face.found).tolist():
        assert face.crop(number) is face.aligned_crop(number) is face.crops[number]
    with pytest.raises(AssertionError):
        face.crop(WITHOUT)
    with pytest.raises(ValueError, match=r"talk\.mp4: faces in perspective have no one scale"):
        _ = face.pixels_a_dm


def test_the_scale_in_the_frame_whatever_the_crop(tiny_face_model: FaceModel):
    """Twice as large a crop of as many pixels shows the face half as large."""
    crops = tuple(
        None if k == WITHOUT else SquareCrop(SIZE, 10, 20, 130 + 120 * k, 140 + 120 * k)
        for k in range(COUNT)
    )
    in_frame = 90.0
    scales = np.array([0.0 if crop is None else in_frame * crop.scale for crop in crops])
    nothing = np.zeros((COUNT, 68, 2))
    predicted = PredictedFrames(scales, nothing, nothing, np.zeros((0, 3)))
    face = followed(tiny_face_model, crops, weak_camera(120), predicted)
    np.testing.assert_allclose(face.pixels_a_dm, np.where(face.found, in_frame, 0))
    with pytest.raises(ValueError, match=r"talk\.mp4: its crops were not aligned by five points"):
        face.aligned_crop(0)


def test_a_video_without_a_face_is_named():
    said = str(without_any_face(Path("a/talk.mp4"), 7))
    assert said.startswith("a/talk.mp4: no face in any of its 7 frames;") and "upright" in said
