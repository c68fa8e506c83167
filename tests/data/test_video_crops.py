"""Crops along a video: exact, smooth, and divided where the scene changes."""

from __future__ import annotations

import numpy as np
import pytest

from data.alignment import Alignment
from data.video_crops import FrameCrop, crop_path
from models.face_model import FaceModel


@pytest.fixture
def face(open_face_model: FaceModel) -> np.ndarray:
    """68 landmarks of the mean face in a frame of 640 x 480, pixel indices."""
    mean = open_face_model.landmarks(open_face_model.mean_shape.reshape(1, -1, 3))[0].numpy()
    return mean[:, :2] * [130, -130] + [330, 240]


def test_matrices_say_where_the_picture_goes():
    ramp = np.zeros((120, 200, 3), np.uint8)
    ramp[..., 0] = np.arange(200)
    ramp[..., 1] = np.arange(120)[:, None]
    crop = FrameCrop((200, 120), scale=2.0, left=20.25, top=5.5)
    picture = crop.cut(ramp)
    assert picture.shape == (224, 224, 3)
    centres = np.array([[50.5, 60.5], [111.5, 30.5], [10.5, 200.5]])
    places = centres @ crop.inverse_matrix[:, :2].T + crop.inverse_matrix[:, 2]
    values = picture[centres[:, 1].astype(int), centres[:, 0].astype(int)]
    np.testing.assert_allclose(values[:, :2], places - 0.5, atol=0.6)
    both = np.vstack([crop.matrix, [0, 0, 1]]) @ np.vstack([crop.inverse_matrix, [0, 0, 1]])
    np.testing.assert_allclose(both, np.eye(3), atol=1e-12)


def test_outside_of_the_frame_is_black():
    white = np.full((100, 100, 3), 255, np.uint8)
    picture = FrameCrop((100, 100), scale=1.0, left=-80.0, top=40.0).cut(white)
    assert (picture[:50, 90:170] == 255).all()
    assert not picture[70:].any() and not picture[:, :70].any() and not picture[:, 190:].any()
    assert not FrameCrop((100, 100), 1.0, 500.0, 0.0).cut(white).any()


def test_a_still_face_is_cropped_as_a_photo_is(face: np.ndarray, open_face_model: FaceModel):
    standard = open_face_model.alignment_points.numpy()
    path = crop_path(
        np.stack([face] * 9), np.ones(9, bool), (640, 480), standard, np.zeros(9, bool)
    )
    photo = Alignment.from_landmarks(face, (640, 480), standard)
    for crop in path:
        assert crop is not None
        # But for the whole pixels of the public alignment.
        np.testing.assert_allclose(crop.matrix[0, 0], photo.matrix[0, 0], rtol=5e-3)
        ours = crop.crop_landmarks(face)
        theirs = photo.crop_landmarks(face, exact=True)
        assert np.abs(ours - theirs).max() < 2.5
        np.testing.assert_allclose(crop.public_parameters[:2], [640, 480])


def test_noise_does_not_shake_the_crop_and_scenes_stay_apart(
    face: np.ndarray, open_face_model: FaceModel
):
    count = 60
    noise = np.random.default_rng(0).normal(scale=2.0, size=(count, 68, 2))
    landmarks = face + noise
    landmarks[30:] += [150, 40]  # after a cut the face is elsewhere
    found, starts = np.ones(count, bool), np.zeros(count, bool)
    found[12:15] = False
    starts[30] = True
    standard = open_face_model.alignment_points.numpy()
    path = crop_path(landmarks, found, (640, 480), standard, starts)
    assert [crop is None for crop in path] == (~found).tolist()
    left = np.array([np.nan if crop is None else crop.left for crop in path])
    assert np.abs(np.diff(left[15:30])).max() < 1.0
    assert left[30] - left[29] == pytest.approx(150, abs=6)


def test_no_face_gives_no_crop(open_face_model: FaceModel):
    nothing = np.zeros((4, 68, 2))
    standard = open_face_model.alignment_points.numpy()
    assert (
        crop_path(nothing, np.zeros(4, bool), (64, 48), standard, np.zeros(4, bool)) == [None] * 4
    )
