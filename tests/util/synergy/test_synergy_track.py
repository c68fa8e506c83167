"""A face followed by a SynergyNet: poses in the frame, and what smoothing leaves as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from options.fitting_weights import SmoothingOptions
from tests.util.synergy.tracked import WITHOUT, YAWS_DEG, stand_in, track_of, turning_faces
from util.synergy.synergy_faces import SynergyResult
from util.synergy.synergy_track import (
    SynergyTrack,
    landmarks_of,
    mesh_of,
    pose_only,
    track_arrays,
)


@pytest.fixture(scope="module")
def trained() -> Any:
    return stand_in()


@pytest.fixture(scope="module")
def faces(trained: Any) -> list[SynergyResult]:
    return turning_faces(trained)


@pytest.fixture(scope="module")
def track(faces: list[SynergyResult]) -> SynergyTrack:
    return track_of(faces)


def test_what_the_network_says_of_a_crop_lies_there_in_the_frame(
    trained: Any, faces: list[SynergyResult], track: SynergyTrack
):
    """Landmarks and mesh through M v + m are those of the crop, moved into the frame."""
    landmarks = landmarks_of(trained, track)
    assert (landmarks[WITHOUT] == 0).all()
    for number in np.flatnonzero(track.found).tolist():
        np.testing.assert_allclose(landmarks[number], faces[number].landmarks, atol=2e-3)
        mesh = mesh_of(trained, track, number)
        np.testing.assert_allclose(mesh, faces[number].vertices, atol=2e-3)


def test_poses_turn_as_the_labels_mean_it(track: SynergyTrack, faces: list[SynergyResult]):
    numbers = np.flatnonzero(track.found)
    poses = track.poses(numbers)
    angles = np.degrees(poses.angles_rad().numpy())
    # The crops' sides differ by a pixel or two, and rows are not quite orthogonal.
    np.testing.assert_allclose(angles, [faces[n].angles_deg for n in numbers], atol=0.5)
    one = pose_only(track, np.zeros((6, 68, 3)), 2)
    np.testing.assert_allclose(one.angles_deg, angles[2], atol=1e-9)


def test_arrays_have_a_row_for_each_frame_and_count_from_pixel_centres(
    trained: Any, track: SynergyTrack
):
    landmarks = landmarks_of(trained, track)
    arrays = track_arrays(track, landmarks)
    assert {len(array) for array in arrays.values()} == {len(track.found)}
    for name, array in arrays.items():
        assert (array[WITHOUT] == 0).all(), name
    found = track.found
    moved = landmarks[found] - arrays["landmarks"][found]
    np.testing.assert_allclose(moved, np.broadcast_to([0.5, 0.5, 0], moved.shape), atol=1e-12)
    # As the documentation has it: M v + m of the frame, from files alone.
    face = trained.network.face
    point = face.landmark_mean.reshape(-1, 3).numpy() / 1e5
    point += np.einsum("kp,k->p", face.landmark_shape.numpy() / 1e5, arrays["shape"][1]).reshape(
        -1, 3
    )
    point += np.einsum(
        "kp,k->p", face.landmark_expression.numpy() / 1e5, arrays["expression"][1]
    ).reshape(-1, 3)
    placed = point @ arrays["matrix_px_dm"][1].T + arrays["shift_px"][1] - [0.5, 0.5, 0]
    np.testing.assert_allclose(placed, arrays["landmarks"][1], atol=0.01)


TIMES_S = np.arange(len(YAWS_DEG)) / 25
CALM = SmoothingOptions(smooth_min_hz=0.5, smooth_beta=0.0)


def test_a_face_that_keeps_still_stays_where_it_is(track: SynergyTrack):
    still = replace(
        track,
        matrices=np.where(track.found[:, None, None], track.matrices[1], 0),
        shifts=np.where(track.found[:, None], track.shifts[1], 0),
        shapes=np.where(track.found[:, None], track.shapes[1], 0),
        expressions=np.where(track.found[:, None], track.expressions[1], 0),
    )
    calm = still.smoothed(TIMES_S, np.ones(2), CALM)
    for name in ("matrices", "shifts", "shapes", "expressions"):
        np.testing.assert_allclose(getattr(calm, name), getattr(still, name), atol=1e-9)


def test_smoothing_stays_within_a_run_and_makes_one_shape(track: SynergyTrack):
    before = track.shifts.copy()
    calm = track.smoothed(TIMES_S, np.full(2, 2.0), CALM)
    assert np.array_equal(track.shifts, before), "the track itself is as it was"
    for rows in (slice(0, WITHOUT), slice(WITHOUT + 1, None)):
        part = calm.shifts[rows, 0]
        assert part.min() >= track.shifts[rows, 0].min() - 1e-9
        assert part.max() <= track.shifts[rows, 0].max() + 1e-9
        assert np.ptp(part) <= np.ptp(track.shifts[rows, 0])
    # What lies beyond a gap says nothing: of the first run, nothing changes with the second.
    other = replace(track, shifts=track.shifts + 50 * (np.arange(6) > WITHOUT)[:, None])
    again = other.smoothed(TIMES_S, np.full(2, 2.0), CALM)
    np.testing.assert_array_equal(again.shifts[:WITHOUT], calm.shifts[:WITHOUT])
    shapes = calm.shapes[calm.found]
    np.testing.assert_array_equal(shapes, np.tile(np.median(track.shapes[track.found], 0), (5, 1)))
    assert (calm.shapes[WITHOUT] == 0).all() and (calm.shifts[WITHOUT] == 0).all()
    plain = track.smoothed(TIMES_S, np.ones(2), replace(CALM, smooth_min_hz=0))
    np.testing.assert_array_equal(plain.shifts, track.shifts)
    np.testing.assert_array_equal(plain.expressions, track.expressions)
