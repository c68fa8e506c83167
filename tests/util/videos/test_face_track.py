"""Faces along frames: photos as one, gaps of videos filled, non-finite numbers named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.example_faces import report_face
from models.face_model import FaceModel
from util.videos.face_track import FaceTrack


def video_track(found: list[bool]) -> FaceTrack:
    """A track whose numbers grow by 1 a frame where there is a face, and are 0 elsewhere."""
    known = np.array(found)
    ramp = np.arange(len(found), dtype=float) * known
    rows = {
        "coefficients": np.repeat(ramp[:, None], 257, axis=1),
        "trans_params": np.repeat(ramp[:, None], 5, axis=1),
        "landmarks": np.broadcast_to(ramp[:, None, None], (len(found), 68, 2)),
        "K": np.broadcast_to(ramp[:, None, None], (len(found), 3, 3)),
    }
    return FaceTrack.of_video("talk", (256, 256), known, rows)


def test_gaps_are_filled_from_both_sides():
    track = video_track([False, True, True, False, False, True, False])
    assert len(track) == 7 and track.is_video
    expected = [1, 1, 2, 3, 4, 5, 5]
    for rows in (track.coefficients[:, 200], track.trans_params[:, 4], track.landmarks[:, 30, 1]):
        np.testing.assert_allclose(rows, expected)
    assert track.landmarks.shape == (7, 68, 2) and track.K.shape == (7, 3, 3)


def test_a_photo_is_one_frame(tiny_face_model: FaceModel):
    face = report_face(tiny_face_model)
    track = FaceTrack.of_photo(face)
    assert len(track) == 1 and not track.is_video and track.stem == face.stem
    flat = tiny_face_model.layout.join(face.coefficients).numpy()
    np.testing.assert_allclose(track.coefficients, flat)
    np.testing.assert_array_equal(track.trans_params[0], face.aligned.public_parameters)
    given = face.given_landmarks_index
    assert given is not None
    back = face.aligned.crop_landmarks(track.landmarks[0], exact=True)
    np.testing.assert_allclose(back, given, atol=1e-9)
    without = FaceTrack.of_photo(replace(face, given_landmarks_index=None))
    np.testing.assert_allclose(without.landmarks[0], face.landmarks_photo)


@pytest.mark.parametrize("name", ["coefficients", "landmarks", "K"])
def test_numbers_that_are_none_are_named(name: str):
    track = video_track([True, True])
    getattr(track, name)[1] = np.inf
    with pytest.raises(ValueError, match=f"talk: {name} holds non-finite"):
        track.check()
