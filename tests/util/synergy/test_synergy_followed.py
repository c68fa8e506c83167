"""A SynergyNet's track as a followed face: coefficients, scales and colours, by other ways."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from data.video import VideoReader
from models.camera import rotation_matrix
from models.face_model import FaceModel
from models.parameters import ParameterLayout
from tests.util.synergy.tracked import LAYOUT, SIZE, WITHOUT, stand_in, track_of, turning_faces
from util.synergy.synergy_followed import crop_coefficients, followed_face, head_colours
from util.synergy.synergy_track import SynergyTrack, landmarks_of, mesh_of


@pytest.fixture(scope="module")
def trained() -> Any:
    return stand_in()


@pytest.fixture(scope="module")
def track(trained: Any) -> SynergyTrack:
    return track_of(turning_faces(trained))


class Frames:
    """A video of one colour, with a bar to the right of a column."""

    def __init__(self, left: tuple[int, int, int], right: tuple[int, int, int], column: int):
        self.image = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
        self.image[:, :column], self.image[:, column:] = left, right
        self.asked: list[int] = []

    def read(self, numbers: tuple[int, ...]) -> Any:
        self.asked += numbers
        return (SimpleNamespace(number=number, image=self.image) for number in numbers)


def test_coefficients_say_the_pose_of_the_frame(track: SynergyTrack):
    """Nearest rotation, by the singular value decomposition; the origin where the camera has it."""
    layout = ParameterLayout.for_sizes(LAYOUT.shape + 2, LAYOUT.expression + 3, 4)
    flat, scales = crop_coefficients(layout, track)
    assert (flat[WITHOUT][: LAYOUT.shape] == 0).all() and scales[WITHOUT] == 0
    for number in np.flatnonzero(track.found).tolist():
        one = layout.split(torch.from_numpy(flat[number : number + 1]).double())
        up = np.diag([1.0, -1.0, 1.0]) @ track.matrices[number]
        left, _, right = np.linalg.svd(up / np.linalg.norm(up, axis=1, keepdims=True))
        rotation = rotation_matrix(one.angles_rad)[0].numpy()
        # Of whole rows; the network's third one follows from the first two.
        np.testing.assert_allclose(rotation, left @ right, atol=0.01)
        crop = track.crop(number)
        x, y = crop.crop_px / 2 + scales[number] * one.translation_dm[0, :2].numpy() * [1, -1]
        shown = crop.inverse_matrix @ [x, y, 1]
        np.testing.assert_allclose(shown, track.shifts[number, :2], atol=1e-3)
        assert one.translation_dm[0, 2] == 0
        np.testing.assert_allclose(one.identity[0, : LAYOUT.shape], track.shapes[number], atol=1e-6)
        assert (one.identity[0, LAYOUT.shape :] == 0).all()
        assert (one.expression[0, LAYOUT.expression :] == 0).all()
        assert one.texture.isnan().all() and one.gamma.isnan().all()
        # Pixels of the frame a decimetre times those of the crop for one of the frame.
        in_frame = np.linalg.norm(track.matrices[number][:2], axis=1).mean()
        assert scales[number] == pytest.approx(in_frame * crop.scale, rel=0.01)


def test_colours_are_those_of_the_video_where_it_shows_the_face(
    trained: Any, track: SynergyTrack, tiny_face_model: FaceModel
):
    frames = Frames((200, 20, 20), (20, 20, 200), 180)
    colours = head_colours(trained, tiny_face_model, cast(Any, frames), track, (1,))
    assert frames.asked == [1] and colours.shape == (tiny_face_model.vertex_count, 3)
    mesh = mesh_of(trained, track, 1)
    red = colours[:, 0] > colours[:, 2]
    is_left = mesh[:, 0] < 178
    is_right = mesh[:, 0] > 182
    seen = np.abs(colours - np.array([200, 20, 20]) / 255).max(axis=1) < 0.01
    seen |= np.abs(colours - np.array([20, 20, 200]) / 255).max(axis=1) < 0.01
    assert seen.mean() > 0.5
    assert red[seen & is_left].all() and not red[seen & is_right].any()


@pytest.mark.parametrize("with_model", [True, False])
def test_numbers_need_no_face_model_and_colours_do(
    trained: Any, track: SynergyTrack, tiny_face_model: FaceModel, *, with_model: bool
):
    frames = Frames((200, 150, 120), (200, 150, 120), 1)
    reader = SimpleNamespace(
        read=frames.read,
        info=SimpleNamespace(path=Path("talk.mp4")),
        times_s=np.arange(len(track.found)) / 25,
        damage=None,
    )
    model = tiny_face_model if with_model else None
    landmarks = landmarks_of(trained, track)
    face = followed_face(trained, model, cast(VideoReader, reader), track, track, landmarks)
    assert face.predicted is not None and face.photo is None
    np.testing.assert_allclose(
        face.predicted.landmarks[track.found], landmarks[track.found, :, :2] - 0.5
    )
    assert (face.predicted.landmarks[WITHOUT] == 0).all()
    np.testing.assert_array_equal(face.predicted.landmarks, face.predicted.landmarks_tracked)
    assert (len(face.predicted.colours) > 0) == (len(face.key_frames) > 0) == with_model
    assert frames.asked == list(face.key_frames) and WITHOUT not in face.key_frames
    card = tiny_face_model.card if with_model else trained.network.face.card
    assert face.face_model == card
