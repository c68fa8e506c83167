"""What is measured of a followed face, against formulas written out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.square_crop import SquareCrop
from data.video_crops import FrameCrop
from models.face_model import FaceModel
from tests.util.videos.followed import COUNT, SIZE, WITHOUT, fitted, followed
from util.synergy.synergy_reconstruction import weak_camera
from util.videos.followed_face import FollowedFace, PredictedFrames
from util.videos.video_measures import (
    BLOCK,
    VideoMeasures,
    blocks,
    jitter,
    report_of,
    write_report,
)


def in_crop(face_model: FaceModel, face: FollowedFace, number: int, scale: float) -> np.ndarray:
    """Landmarks (68, 2) of a frame in its crop, pixels a decimetre at the middle: by the textbook.

    Rows are points: v R^T + t, then the pinhole with y upwards.
    """
    layout = face_model.layout
    one = layout.split(torch.from_numpy(face.coefficients[number : number + 1]))
    points = (
        face_model.landmarks(face_model.shape(one.identity, one.expression))[0].double().numpy()
    )
    pitch, yaw, roll = one.angles_rad[0].double().tolist()

    def turn(angle: float, first: int, second: int) -> np.ndarray:
        matrix = np.eye(3)
        matrix[first, first] = matrix[second, second] = np.cos(angle)
        matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
        return matrix

    rotation = turn(roll, 0, 1) @ turn(yaw, 2, 0) @ turn(pitch, 1, 2)
    posed = points @ rotation.T + one.translation_dm[0].double().numpy()
    depth = 10 - posed[:, 2:]
    centre = face.camera.centre_px[0].numpy()
    flat = scale * posed[:, :2] if face.predicted else 1015 * posed[:, :2] / depth
    return flat * [1, -1] + centre


def test_landmarks_lie_in_the_frame_where_the_crop_is(tiny_face_model: FaceModel):
    face = fitted(tiny_face_model)
    measures = VideoMeasures(tiny_face_model, face)
    for number in range(COUNT):
        if number == WITHOUT:
            assert (measures.landmarks[number] == 0).all()
            continue
        crop = face.aligned_crop(number)
        expected = in_crop(tiny_face_model, face, number, 0) / crop.scale + [crop.left, crop.top]
        np.testing.assert_allclose(measures.landmarks[number], expected - 0.5, atol=2e-3)
    np.testing.assert_array_equal(measures.landmarks_tracked, measures.landmarks)


def predicted_face(face_model: FaceModel) -> FollowedFace:
    crops = tuple(SquareCrop(SIZE, 30 + k, 20, 150 + 11 * k, 140 + 10 * k) for k in range(COUNT))
    scales = np.linspace(50, 60, COUNT)
    given = np.random.default_rng(0).normal(0, 1, (2, COUNT, 68, 2))
    predicted = PredictedFrames(scales, given[0], given[1], np.zeros((0, 3)))
    face = followed(face_model, crops, weak_camera(120), predicted)
    return replace(face, photo=None)


def test_weak_perspective_has_the_scale_of_each_frame(tiny_face_model: FaceModel):
    """And the landmarks of the network, not of the coefficients, are the face's."""
    face = predicted_face(tiny_face_model)
    assert face.predicted is not None
    measures = VideoMeasures(tiny_face_model, face)
    found = measures.landmarks_of(face.coefficients)
    for number, scale in enumerate(face.predicted.scales.tolist()):
        crop = face.crop(number)
        expected = in_crop(tiny_face_model, face, number, scale)
        matrix = crop.inverse_matrix
        expected = expected @ matrix[:, :2].T + matrix[:, 2] - 0.5
        np.testing.assert_allclose(found[number], expected, atol=2e-3)
    assert measures.landmarks is face.predicted.landmarks
    assert measures.landmarks_tracked is face.predicted.landmarks_tracked


@pytest.mark.parametrize("weak", [False, True])
def test_a_still_camera_sees_what_the_crops_see(tiny_face_model: FaceModel, *, weak: bool):
    """Exactly, where the crop itself stands still in the middle of the frame."""
    width, height = SIZE
    if weak:
        square = SquareCrop(
            SIZE, width // 2 - 60, height // 2 - 60, width // 2 + 60, height // 2 + 60
        )
        none = np.zeros((COUNT, 68, 2))
        predicted = PredictedFrames(np.full(COUNT, 55.0), none, none, np.zeros((0, 3)))
        face = followed(tiny_face_model, (square,) * COUNT, weak_camera(120), predicted)
    else:
        crop = FrameCrop(SIZE, 0.8, width / 2 - 140, height / 2 - 140)
        face = replace(fitted(tiny_face_model), crops=(crop,) * COUNT, found=np.ones(COUNT, bool))
    measures = VideoMeasures(tiny_face_model, face)
    numbers = np.array([0, 2, 5])
    still, faces = measures.in_one_camera(numbers)
    assert (still.width, still.height) == SIZE and len(faces) == 3
    seen = measures.landmarks_of(face.coefficients)[numbers]
    again = replace(face, camera=still, predicted=None)
    shown = VideoMeasures(tiny_face_model, replace(again, crops=(FrameCrop(SIZE, 1.0, 0, 0),) * 7))
    flat = np.zeros_like(face.coefficients)
    flat[numbers] = tiny_face_model.layout.join(faces).numpy()
    np.testing.assert_allclose(shown.landmarks_of(flat)[numbers], seen, atol=0.02)


def test_the_numbers_of_a_report(tiny_face_model: FaceModel, tmp_path: Path):
    face = fitted(tiny_face_model)
    given = np.random.default_rng(1).uniform(50, 300, (COUNT, 68, 2))
    given[:, 36], given[:, 45] = [100, 100], [140, 130]  # 50 pixels apart
    face = replace(face, landmarks=np.where(face.found[:, None, None], given, 0))
    off = np.where(face.found[:, None, None], given + np.array([3, 4]), 0)
    report = report_of(face, off, off, "no sound")
    assert report.nme_inner == pytest.approx(5 / 50)
    assert report.frames_with_face == COUNT - 1 and report.without_face == ((WITHOUT, WITHOUT),)
    assert report.photo_error == pytest.approx(0.1), "of frames with a face alone"
    assert report.focal_px == pytest.approx(1015) and report.pixels_a_cm is None
    assert report.jitter_px == pytest.approx(report.jitter_given_px), "moved, as a whole"
    write_report(tmp_path / "r.json", report)
    saved = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert saved["nme_inner"] == report.nme_inner and saved["audio"] == "no sound"

    weak = replace(predicted_face(tiny_face_model), landmarks=given)
    report = report_of(weak, given, given)
    assert report.nme_inner == 0 and report.focal_px is None and report.photo_error is None
    assert report.pixels_a_cm == pytest.approx(float(np.median(weak.pixels_a_dm)) / 10)


@pytest.mark.parametrize("count", [0, 1, BLOCK, 2 * BLOCK + 1])
def test_blocks_hold_every_frame_once(count: int):
    numbers = np.arange(count) * 3
    parts = list(blocks(numbers))
    assert [n for part in parts for n in part.tolist()] == numbers.tolist()
    assert all(0 < len(part) <= BLOCK for part in parts)


def test_jitter_of_steady_motion_is_none():
    line = np.arange(10.0)[:, None, None] * np.ones((1, 4, 2))
    everywhere, nowhere = np.ones(10, bool), np.zeros(10, bool)
    assert jitter(line, everywhere, nowhere) == 0
    line[5:] += 7.0  # a jump
    assert jitter(line, everywhere, nowhere) > 0
    cut = nowhere.copy()
    cut[5] = True
    assert jitter(line, everywhere, cut) == 0
    assert jitter(line[:2], everywhere[:2], nowhere[:2]) == 0


def test_jitter_is_the_mean_second_difference():
    points = np.zeros((5, 2, 2))
    points[2, 0] = [3, 4]
    # Of the first point 5, 10 and 5 pixels in the three triples; the second one stands still.
    found = np.ones(5, bool)
    assert jitter(points, found, np.zeros(5, bool)) == pytest.approx((5 + 10 + 5) / 6)
    found[4] = False
    assert jitter(points, found, np.zeros(5, bool)) == pytest.approx((5 + 10) / 4)
