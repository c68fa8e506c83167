"""The detector on real portraits: large, small, tight, rotated by EXIF, in other processes."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from data import detection
from data.detection import DlibDetector, _turned, create_detector
from data.landmark_looks import Place, Start
from data.landmarks import check_landmarks, five_from_68
from options.data_options import DetectionOptions


def outer_eye_px(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[36] - landmarks[45]))


def zoomed(image: np.ndarray, zoom: float) -> np.ndarray:
    size = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def test_portraits(detector, astronaut, hopper) -> None:
    for image in (astronaut, hopper):
        (face,) = detector.detect(image, largest_only=True)
        check_landmarks(face.landmarks_px, image.shape, "found")
        left, top, right, bottom = face.box
        inside = (face.landmarks_px > [left, top]) & (face.landmarks_px < [right, bottom])
        assert inside.mean() > 0.8
        assert face.score > 0


def test_eleven_times_the_size_makes_no_difference(detector, astronaut, astronaut_landmarks):
    """From 0.35 to 4 times: landmarks follow, to 2.5 per cent of the outer eye distance."""
    for zoom in (0.35, 0.6, 2.0, 4.0):
        image = zoomed(astronaut, zoom)
        (face,) = detector.detect(image, largest_only=True)
        back = (face.landmarks_px + 0.5) / zoom - 0.5
        error = np.linalg.norm(back - astronaut_landmarks, axis=1).mean()
        assert error < 0.025 * outer_eye_px(astronaut_landmarks), zoom


def test_all_faces_largest_first(detector, astronaut, hopper) -> None:
    small = zoomed(astronaut, 0.6)
    group = np.full((620, 860, 3), 128, np.uint8)
    group[: hopper.shape[0], : hopper.shape[1]] = hopper[:620]
    group[: small.shape[0], -small.shape[1] :] = small
    faces = detector.detect(group)
    assert len(faces) >= 2
    areas = [face.area_px for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert faces[0].landmarks_px[:, 0].mean() < 512 < faces[1].landmarks_px[:, 0].mean()
    assert len(detector.detect(group, largest_only=True)) == 1


def test_the_main_face_is_the_same_however_it_is_asked_for(detector, astronaut, hopper) -> None:
    """Coarse and fine searches find other boxes, from which other landmarks would follow."""
    for image in (zoomed(astronaut, 2.0), hopper, zoomed(hopper, 1.7)):
        (one,) = detector.detect(image, largest_only=True)
        among_all = detector.detect(image)
        assert among_all[0].box == one.box
        middles = [np.mean(face.landmarks_px, axis=0) for face in among_all[1:]]
        far = [np.linalg.norm(m - one.landmarks_px.mean(axis=0)) for m in middles]
        assert all(distance > outer_eye_px(one.landmarks_px) for distance in far)
        assert np.array_equal(among_all[0].landmarks_px, one.landmarks_px)


def test_a_face_that_fills_the_image(detector, astronaut, astronaut_landmarks) -> None:
    x0, y0 = np.floor(astronaut_landmarks.min(0)).astype(int)
    x1, y1 = np.ceil(astronaut_landmarks.max(0)).astype(int)
    tight = np.ascontiguousarray(astronaut[y0 - 25 : y1 + 2, x0:x1])
    (face,) = detector.detect(tight, largest_only=True)
    expected = astronaut_landmarks - [x0, y0 - 25]
    error = np.linalg.norm(face.landmarks_px - expected, axis=1)
    assert error.mean() < 0.1 * outer_eye_px(astronaut_landmarks)


class Askew(DlibDetector):
    """Finds boxes that lie too far right by a share of their side."""

    share = 0.15

    def _search(self, *search, **how):
        boxes = super()._search(*search, **how)
        return [(box + [self.share * (box[2] - box[0]), 0] * 2, score) for box, score in boxes]


@pytest.mark.parametrize("name", ["astronaut", "hopper"])
def test_a_box_beside_the_face(detector, name: str, request: pytest.FixtureRequest):
    """One look slides off; those about what it sees, and from boxes nearby, find the face again."""
    image = request.getfixturevalue(name)
    (face,) = detector.detect(image, largest_only=True)
    (askew,) = Askew().detect(image, largest_only=True)
    place = Place.of_box(np.array(askew.box))
    (alone,) = detector.look(image, place, [Start(1.0, mirrored=False)])

    def off(landmarks: np.ndarray) -> float:
        distance = np.linalg.norm(landmarks - face.landmarks_px, axis=1).mean()
        return distance / outer_eye_px(face.landmarks_px)

    assert off(alone) > 0.08
    assert off(askew.landmarks_px) < 0.03


class Counting(DlibDetector):
    """Remembers how far it turned what it searched."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[float] = []

    def _search(self, image, budget, *, bordered=False, turn_deg=0.0):
        self.turns.append(turn_deg)
        return super()._search(image, budget, bordered=bordered, turn_deg=turn_deg)


def test_a_large_tilted_face_has_the_landmarks_of_a_small_one(hopper, detector):
    """It is reduced before it is turned."""
    tilted = Image.fromarray(hopper).rotate(47.0, Image.Resampling.BICUBIC)
    large = tilted.resize((4 * tilted.width, 4 * tilted.height), Image.Resampling.BICUBIC)
    (one,), (four,) = (
        detector.detect(np.asarray(image), largest_only=True) for image in (tilted, large)
    )
    off = np.linalg.norm((four.landmarks_px + 0.5) / 4 - 0.5 - one.landmarks_px, axis=1)
    assert off.mean() < 0.03 * outer_eye_px(one.landmarks_px)


@pytest.mark.parametrize("tilt_deg", [47.0, -50.0])
def test_a_tilted_head_is_found_where_it_is(hopper, detector, tilt_deg: float):
    """Upright searches miss it; its landmarks are those of the upright photo, turned."""
    height, width = hopper.shape[:2]
    tilted = np.asarray(Image.fromarray(hopper).rotate(tilt_deg, Image.Resampling.BICUBIC))
    assert not detector._search(tilted, detector.COARSE_PIXELS)
    counting = Counting()
    (face,) = counting.detect(tilted, largest_only=True)
    assert face.is_sure and counting.turns[-1] == -np.sign(tilt_deg) * 20
    upright = detector.detect(hopper, largest_only=True)[0].landmarks_px
    turn, middle = np.radians(tilt_deg), (np.array([width, height]) - 1) / 2
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    expected = (upright - middle) @ axes.T + middle
    error = np.linalg.norm(face.landmarks_px - expected, axis=1).mean()
    assert error < 0.08 * outer_eye_px(upright)  # 0.4 where the predictor sees it tilted


@pytest.mark.parametrize(
    ("tilted", "turns"), [(True, {0.0, *DlibDetector.TURNS_DEG}), (False, {0.0})]
)
def test_whoever_wants_no_tilted_heads_pays_for_none(tilted: bool, turns: set[float]):
    counting = Counting()
    assert counting.detect(np.zeros((64, 64, 3), np.uint8), tilted=tilted) == []
    assert set(counting.turns) == turns


def test_what_is_found_at_first_is_never_turned(hopper):
    counting = Counting()
    assert counting.detect(hopper) and counting.detect(hopper, largest_only=True)
    assert set(counting.turns) == {0.0}


@pytest.mark.parametrize("tilt_deg", [75.0, -65.0])
def test_a_head_that_lies_is_found_by_a_search_that_is_sure(astronaut, detector, tilt_deg: float):
    """Not by the first that sees something like a face."""
    lying = np.asarray(Image.fromarray(astronaut).rotate(tilt_deg, Image.Resampling.BICUBIC))
    (face,) = detector.detect(lying, largest_only=True)
    assert face.is_sure
    eyes = face.landmarks_px[42:48].mean(axis=0) - face.landmarks_px[36:42].mean(axis=0)
    upright = detector.detect(astronaut, largest_only=True)[0].landmarks_px
    level = upright[42:48].mean(axis=0) - upright[36:42].mean(axis=0)
    roll_deg = np.degrees(np.arctan2(-eyes[1], eyes[0]) - np.arctan2(-level[1], level[0]))
    assert roll_deg == pytest.approx(tilt_deg, abs=4)


class Scripted(DlibDetector):
    """Whose searches see a box with a score that depends on the turn alone."""

    def __init__(self, scores: dict[float, float]) -> None:
        super().__init__()
        self._scores = scores

    def _search(self, image, budget, *, bordered=False, turn_deg=0.0):
        box, score = np.array([10.0, 10.0, 60.0, 60.0]), self._scores.get(turn_deg)
        return [] if score is None else [(box, score)]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({0.0: 0.2, 180.0: 2.0}, []),  # it stands on its head
        ({0.0: 0.2, -90.0: 2.0}, []),
        ({-40.0: 0.3, 90.0: 2.0}, []),
        ({0.0: 0.2, 180.0: 0.5}, [(0.2, False)]),  # neither is sure: as it is
        ({0.0: 0.2, 20.0: 0.6}, [(0.2, False)]),
        ({0.0: 0.2, 20.0: 0.6, -60.0: 1.5}, [(1.5, True)]),  # it leans
        ({20.0: 0.3, 60.0: 0.6}, [(0.6, False)]),
        ({0.0: 1.0, 180.0: 2.0, 20.0: 2.0}, [(1.0, True)]),  # never doubted
        ({180.0: 2.0}, []),
    ],
)
def test_what_is_not_sure_is_doubted(scores: dict[float, float], expected: list):
    image = np.zeros((80, 80, 3), np.uint8)
    found = Scripted(scores).detect(image, largest_only=True)
    assert [(face.score, face.is_sure) for face in found] == expected


@pytest.mark.parametrize("turn_deg", [20.0, -20.0, 0.0])
def test_points_of_a_turned_picture_come_back(turn_deg: float):
    """Known spot: a white square in a picture that Pillow turns."""
    picture = np.zeros((90, 160), np.uint8)
    picture[20:30, 120:130] = 255
    turned = np.asarray(
        Image.fromarray(picture).rotate(turn_deg, Image.Resampling.BILINEAR, expand=True)
    )
    rows, columns = np.nonzero(turned > 127)
    spot = np.array([columns.mean(), rows.mean()]) + 0.5
    back = _turned(spot, turn_deg, np.array(turned.shape[::-1]) / 2, np.array([80.0, 45.0]))
    np.testing.assert_allclose(back, [125, 25], atol=0.3)


def test_no_face(detector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(noise, largest_only=True) == []


@pytest.mark.parametrize("shape", [(16, 16), (20, 20000), (3000, 16)])
def test_odd_sizes_are_searched_without_complaint(detector, shape) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8), largest_only=True) == []


def test_five_points_drive_the_predictor(detector, astronaut, hopper) -> None:
    for image in (astronaut, hopper):
        landmarks = detector.detect(image, largest_only=True)[0].landmarks_px
        driven = detector.landmarks_from_five(image, five_from_68(landmarks))
        error = np.linalg.norm(driven - landmarks, axis=1).mean()
        assert error < 0.04 * outer_eye_px(landmarks)


def test_detection_is_deterministic(detector, hopper) -> None:
    first, second = detector.detect(hopper)[0], DlibDetector().detect(hopper)[0]
    np.testing.assert_array_equal(first.landmarks_px, second.landmarks_px)
    assert first.box == second.box


def test_survives_pickling_with_and_without_models(detector, hopper) -> None:
    copy = pickle.loads(pickle.dumps(detector))
    assert len(pickle.dumps(detector)) < 1000
    assert copy.options == detector.options
    np.testing.assert_array_equal(
        copy.landmarks_from_five(
            hopper, np.array([[200.0, 200], [280, 200], [240, 250], [210, 290], [270, 290]])
        ),
        detector.landmarks_from_five(
            hopper, np.array([[200.0, 200], [280, 200], [240, 250], [210, 290], [270, 290]])
        ),
    )


def test_options() -> None:
    assert isinstance(create_detector(DetectionOptions()), DlibDetector)
    with pytest.raises(ValueError, match="--detection_upsample is 9"):
        DetectionOptions(detection_upsample=9)


def test_looks_in_threads_are_those_of_one_and_wait_for_no_search(detector, astronaut, hopper):
    """This thread holds the lock as a search of half a second would."""
    places = [
        (picture, Place.of_box(np.array(detector.detect(picture, largest_only=True)[0].box)))
        for picture in (astronaut, hopper)
    ]
    alone = [detector.look(*place, detector.MANY) for place in places]
    with ThreadPoolExecutor(2) as pool, detection._one_at_a_time:
        jobs = [pool.submit(detector.look, *places[k % 2], detector.MANY) for k in range(6)]
        together = [job.result(timeout=20) for job in jobs]
    for number, looks in enumerate(together):
        np.testing.assert_array_equal(looks, alone[number % 2])


def test_threads_do_not_disturb_each_other(detector, astronaut, hopper) -> None:
    pictures = [astronaut, hopper]
    alone = [detector.detect(picture, largest_only=True)[0] for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(detector.detect, pictures[k % 2], largest_only=True) for k in range(12)]
    for number, job in enumerate(jobs):
        (face,) = job.result()
        assert face.box == alone[number % 2].box
        np.testing.assert_array_equal(face.landmarks_px, alone[number % 2].landmarks_px)
