"""Following landmarks: when the detector is asked, and when a face counts as lost."""

from __future__ import annotations

import numpy as np
import pytest

from data.detection import Face
from data.landmarks import five_from_68
from data.video_landmarks import CHECK_EVERY, TILTED_EVERY, LandmarkTracker
from models.face_model import FaceModel


class Watched:
    """A detector that knows where the face is, or that there is none, and counts the questions."""

    def __init__(self, shape: np.ndarray) -> None:
        self.shape = shape  # (68, 2) about its middle
        self.place: np.ndarray | None = None
        self.leans = False  # so that it is found only where tilted heads are searched
        self.searches: list[tuple[int, ...]] = []
        self.tilted: list[bool] = []

    def detect(
        self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
    ) -> list[Face]:
        self.searches.append(image.shape)
        self.tilted.append(tilted)
        if self.place is None or (self.leans and not tilted):
            return []
        points = self.shape + self.place
        if image.shape[1] < 400:  # a window about the face
            points = self.shape + np.array(image.shape[1::-1]) / 2
        return [Face((0.0, 0.0, 1.0, 1.0), points, 1.0)]

    def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        """Like dlib's predictor it always finds something; a face only where there is one."""
        if self.place is None:
            return self.shape + five.mean(axis=0) - five_from_68(self.shape).mean(axis=0)
        return self.shape + self.place


@pytest.fixture
def watched(open_face_model: FaceModel) -> Watched:
    mean = open_face_model.landmarks(open_face_model.mean_shape.reshape(1, -1, 3))[0].numpy()
    shape = mean[:, :2] * [60, -60]
    return Watched(shape - (shape.min(axis=0) + shape.max(axis=0)) / 2)


def frame(detector: Watched) -> np.ndarray:
    """Blue sky, with a skin-coloured patch that has features where the face is."""
    image = np.full((400, 600, 3), (60, 90, 200), np.uint8)
    if detector.place is not None:
        x, y = detector.place.astype(int)
        image[y - 70 : y + 70, x - 60 : x + 60] = (205, 150, 125)
        image[y - 30 : y - 20, x - 40 : x + 40] = (60, 40, 30)
    return image


def test_the_detector_is_asked_once_and_then_now_and_then(watched: Watched):
    tracker = LandmarkTracker(watched)
    for step in range(2 * CHECK_EVERY):
        watched.place = np.array([250.0 + 2 * step, 200.0])
        points = tracker(frame(watched))
        assert points is not None
        np.testing.assert_allclose(points, watched.shape + watched.place)
    full = [shape for shape in watched.searches if shape[1] == 600]
    assert len(full) == 1
    assert len(watched.searches) - 1 == (2 * CHECK_EVERY - 1) // CHECK_EVERY


def test_a_face_that_leaves_is_lost_at_once_and_found_again(watched: Watched):
    tracker = LandmarkTracker(watched)
    seen = []
    for place in ([250.0, 200.0], [250.0, 200.0], None, None, [300.0, 180.0], [302.0, 180.0]):
        watched.place = None if place is None else np.array(place)
        points = tracker(frame(watched))
        seen.append(points is not None)
    assert seen == [True, True, False, False, True, True]


def test_tilted_heads_are_searched_now_and_then_where_no_face_is(watched: Watched):
    tracker = LandmarkTracker(watched)
    for _ in range(2 * TILTED_EVERY + 1):
        assert tracker(frame(watched)) is None
    between = [False] * (TILTED_EVERY - 1)
    assert watched.tilted == [True, *between, True, *between, True]
    # A leaning head is found when its turn comes, an upright one at once.
    watched.place, watched.leans = np.array([250.0, 200.0]), True
    found = [tracker(frame(watched)) is not None for _ in range(TILTED_EVERY)]
    assert found == [*between, True]


def test_a_head_that_is_lost_is_searched_in_all_ways_at_once(watched: Watched):
    """It may have leaned aside; also after it was there for a single frame."""
    tracker = LandmarkTracker(watched)
    watched.place = np.array([250.0, 200.0])
    assert tracker(frame(watched)) is not None
    watched.place = None
    assert [tracker(frame(watched)) for _ in range(2)] == [None, None]
    watched.place = np.array([300.0, 180.0])
    assert tracker(frame(watched)) is not None
    watched.place, watched.leans = np.array([500.0, 180.0]), True
    watched.tilted.clear()
    assert tracker(frame(watched)) is not None
    assert watched.tilted[-1]


def test_a_jump_is_looked_at_anew(watched: Watched):
    tracker = LandmarkTracker(watched)
    watched.place = np.array([150.0, 200.0])
    tracker(frame(watched))
    watched.place = np.array([450.0, 200.0])
    points = tracker(frame(watched))
    assert points is not None
    assert [shape[1] for shape in watched.searches] == [600, 600]
    assert tracker.is_new
    tracker(frame(watched))
    assert not tracker.is_new


def test_a_profile_that_no_detector_sees_goes_on_while_it_is_skin(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    tracker = LandmarkTracker(watched)
    watched.place = np.array([250.0, 200.0])
    tracker(frame(watched))
    monkeypatch.setattr(watched, "detect", lambda *_, **__: [])
    for _ in range(2 * CHECK_EVERY):
        assert tracker(frame(watched)) is not None
