"""The detector's offsets: known displacements are found, in the frame of the face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.face_model_detection import (
    LEFT_AND_MIDDLE,
    DetectionFigureOptions,
    Sighting,
    face_frame_offsets,
    look,
    print_offsets,
    report,
    symmetric_offsets,
    without,
)
from data.landmarks import MIRROR_ORDER
from tests.conftest import landmark_plan
from tests.given_faces import GivenFaces
from util.errors import InputError
from util.studio import Render

FRONT = np.zeros(3)
ALL_SEEN = np.ones(68, dtype=bool)


def plan_px(roll_deg: float = 0.0, scale: float = 50.0) -> np.ndarray:
    """A symmetric face's landmarks in pixels, y down, turned clockwise in the picture."""
    roll = np.radians(roll_deg)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return scale * landmark_plan() * (1, -1) @ turn.T + 112


def render_of(landmarks_px: np.ndarray) -> Render:
    picture = np.zeros((224, 224, 3), np.uint8)
    return Render(picture, np.zeros(10, np.float32), landmarks_px, ALL_SEEN)


@pytest.mark.parametrize("roll_deg", [0.0, 25.0, -40.0])
def test_offsets_do_not_depend_on_roll_or_size(roll_deg: float):
    model = plan_px(roll_deg, 30.0)
    unit = np.linalg.norm(model[45] - model[36])
    roll = np.radians(roll_deg)
    right, down = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    moved = model + unit * (0.02 * right + 0.05 * down)
    assert face_frame_offsets(moved, model) == pytest.approx(np.tile([2.0, 5.0], (68, 1)))


def test_the_left_half_and_the_middle_stand_for_all_68():
    mirrored = {int(MIRROR_ORDER[number]) for number in LEFT_AND_MIDDLE}
    assert mirrored | set(LEFT_AND_MIDDLE) == set(range(68))
    x = landmark_plan()[list(LEFT_AND_MIDDLE), 0]
    assert (x < 1e-6).all()
    assert len(mirrored & set(LEFT_AND_MIDDLE)) == (np.abs(x) < 1e-6).sum()


def test_both_sides_and_all_faces_give_one_symmetric_median():
    random = np.random.default_rng(0)
    truth = random.normal(size=(68, 2))
    truth = (truth + truth[MIRROR_ORDER] * (-1, 1)) / 2
    sightings = []
    for _ in range(40):
        # What differs from face to face, and what a tilted detector sees on one side only.
        noise = random.normal(0, 0.3, (68, 2)) + np.array([0.7, 0.0])
        sightings.append(Sighting(truth + noise, ALL_SEEN, FRONT))
    hidden = ALL_SEEN.copy()
    hidden[17] = False
    wild = truth + np.where(np.arange(68) == 17, 100.0, 0.0)[:, None]
    sightings += [Sighting(wild, hidden, FRONT)] * 60
    found = symmetric_offsets(sightings)
    assert np.abs(found.median - truth).max() < 0.6
    assert found.median[MIRROR_ORDER] == pytest.approx(found.median * (-1, 1))
    assert found.count[17] == found.count[26] == 140
    assert found.count[18] == 200
    assert found.median[27, 0] == pytest.approx(0)


def test_a_face_elsewhere_is_not_the_one():
    model = plan_px()
    angles = slice(0, 3)
    near = look(render_of(model), GivenFaces(model - 0.5 + (1, 0)), angles)
    assert near.offsets is not None
    unit = np.linalg.norm(model[45] - model[36])
    assert near.offsets == pytest.approx(np.tile([100 / unit, 0.0], (68, 1)))
    assert look(render_of(model), GivenFaces(model + np.array([60, 0])), angles).offsets is None


def test_only_faces_that_look_ahead_calibrate():
    assert Sighting(None, ALL_SEEN, np.array([10.0, -19.0, 30.0])).frontal
    assert not Sighting(None, ALL_SEEN, np.array([10.0, -21.0, 0.0])).frontal
    assert not Sighting(None, ALL_SEEN, np.array([-16.0, 0.0, 0.0])).frontal


def test_the_table_adds_to_the_offsets_in_use(capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr(
        "benchmarks.face_model_detection.DETECTOR_OFFSETS", {17: (1.0, -2.0), 27: (0.0, 0.5)}
    )
    offsets = np.zeros((68, 2))
    offsets[17], offsets[26] = (0.4, 0.3), (-0.4, 0.3)
    offsets[27] = (0.0, 0.2)
    print_offsets(symmetric_offsets([Sighting(offsets, ALL_SEEN, FRONT)]), 1)
    printed = capsys.readouterr().out
    assert "17: (1.4, -1.7)," in printed
    assert "27: (0.0, 0.7)," in printed
    assert "26:" not in printed


def test_what_calibration_leaves_is_the_spread():
    random = np.random.default_rng(4)
    truth = random.normal(size=(68, 2))
    truth = 3 * (truth + truth[MIRROR_ORDER] * (-1, 1)) / 2
    sightings = [
        Sighting(truth + np.array([sign, 0.0]), ALL_SEEN, FRONT) for sign in (-1, 1, -1, 1)
    ]
    sightings.append(Sighting(None, ALL_SEEN, FRONT))
    left = without(sightings, symmetric_offsets(sightings))
    assert left == pytest.approx(np.ones(4))


def test_the_report_counts_what_was_found(capsys: pytest.CaptureFixture[str]):
    seen = Sighting(np.full((68, 2), 3.0) * (1, 0), ALL_SEEN, np.array([2.0, 15.0, -3.0]))
    tilted = Sighting(None, ALL_SEEN, np.array([12.0, -35.0, 3.0]))
    report({"plain": [seen, seen, seen, tilted], "cluttered": [seen, tilted]})
    printed = capsys.readouterr().out
    assert "plain backdrops: 75.0 % of 4" in printed
    assert "cluttered backdrops: 50.0 % of 2" in printed
    assert "by pitch: from 0 degrees 100.0 % of 4; from 10 degrees 0.0 % of 2;" in printed
    assert "by yaw: from 10 degrees 100.0 % of 4; from 30 degrees 0.0 % of 2;" in printed
    assert "below 10 degrees 100.0 % of 1\n" in printed
    assert "all 4 faces: mean 3.00, median 3.00, beyond 10 0 (" in printed
    astray = Sighting(np.full((68, 2), 11.0) * (1, 0), ALL_SEEN, FRONT)
    report({"plain": [seen, astray], "cluttered": []})
    assert "all 2 faces: mean 7.00, median 7.00, beyond 10 1 (" in capsys.readouterr().out
    report({"plain": [tilted], "cluttered": [tilted]})
    assert "no face was found" in capsys.readouterr().out


@pytest.mark.parametrize(("flag", "value"), [("renders", 1), ("max_yaw", 0.0), ("max_yaw", 80.0)])
def test_counts_without_figures_are_refused(flag: str, value: Any):
    with pytest.raises(InputError, match=f"--{flag} is {value}"):
        DetectionFigureOptions(**{flag: value})


@pytest.mark.slow
def test_the_detector_finds_faces_of_the_open_model(open_face_model):
    from benchmarks.face_model_detection import measure

    seen = measure(open_face_model, DetectionFigureOptions(renders=20))
    faces = [face for group in seen.values() for face in group]
    assert len(seen["plain"]) == len(seen["cluttered"]) == 10
    assert sum(face.offsets is not None for face in faces) >= 15
    assert max(abs(face.angles_deg[1]) for face in faces) <= 40
    offsets = [np.linalg.norm(f.offsets, axis=1)[17:] for f in faces if f.offsets is not None]
    assert np.median(offsets) < 5
