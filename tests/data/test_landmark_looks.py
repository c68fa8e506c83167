"""Looks of the predictor: where they start, how they come back, and what most agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.landmark_looks import (
    FACE_PX,
    UPRIGHT_FACE,
    Place,
    Start,
    UprightPicture,
    consensus,
    disagreement,
    starts,
)
from data.landmarks import MIRROR_ORDER, five_from_68


def outer_eye(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[36] - landmarks[45]))


def test_the_upright_face_is_symmetric_and_looks_ahead():
    np.testing.assert_allclose(UPRIGHT_FACE[MIRROR_ORDER] * (-1, 1), UPRIGHT_FACE, atol=1e-9)
    assert np.abs(UPRIGHT_FACE).max() < 0.6
    assert outer_eye(UPRIGHT_FACE) == pytest.approx(0.56, abs=0.02)


@pytest.mark.parametrize("pick", [lambda points: points, five_from_68])
@pytest.mark.parametrize("tilt_deg", [0.0, 25.0, -70.0])
def test_a_place_is_found_by_the_points_of_its_face(pick, tilt_deg: float):
    turn = np.radians(tilt_deg)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    place = Place.of_points(pick(130.0 * UPRIGHT_FACE @ axes.T + [300, 170]))
    np.testing.assert_allclose(place.middle, [300, 170], atol=1e-9)
    assert place.side == pytest.approx(130)
    assert place.tilt_deg == pytest.approx(tilt_deg)


def finder_of_corner(*_) -> SimpleNamespace:
    """A predictor whose landmarks all lie at the picture's first pixel."""
    return SimpleNamespace(parts=lambda: [SimpleNamespace(x=0, y=0)] * 68)


def finder(pixels: np.ndarray, _) -> SimpleNamespace:
    """A predictor whose landmarks all lie at the middle of what is bright."""
    rows, columns = np.nonzero(pixels > 127)
    spot = SimpleNamespace(x=columns.mean(), y=rows.mean())
    return SimpleNamespace(parts=lambda: [spot] * 68)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("side", "tilt_deg"), [(100.0, 0.0), (100.0, 33.0), (1000.0, -20.0), (30.0, 7.0)]
)
def test_what_is_seen_comes_back_to_the_image(side: float, tilt_deg: float, mirrored: bool):
    """A white square that lies up and to the right of the place, partly off the image."""
    image = np.zeros((1200, 1500, 3), np.uint8)
    x, y = 1300, 200
    half = max(int(0.05 * side), 2)
    image[y - half : y + half + 1, x - half : x + half + 1] = 255
    middle = np.array([x - 0.3 * side, y + 0.4 * side])
    picture = UprightPicture(image, Place(middle, side, tilt_deg))
    found = picture.look(finder, Start(1.0, mirrored))
    np.testing.assert_allclose(found, np.tile([x, y], (68, 1)), atol=0.01 * side)


@pytest.mark.parametrize("zoom", [1.0, 1.05, 1.13])
def test_boxes_lie_alike_about_the_middle(zoom: float):
    """Rounding moves none aside; those of mirror images are each other's."""
    seen: list[np.ndarray] = []

    def remember(pixels: np.ndarray, box: Any) -> SimpleNamespace:
        low, high = np.array([box.left(), box.top()]), np.array([box.right(), box.bottom()])
        seen.append((low + high - (np.array(pixels.shape[::-1]) - 1)) / 2)
        return SimpleNamespace(parts=lambda: [SimpleNamespace(x=0, y=0)] * 68)

    picture = UprightPicture(np.zeros((9, 9, 3), np.uint8), Place(np.zeros(2), 9.0, 0.0))
    for mirrored in (False, True):
        for shift in ((0.0, 0.0), (0.1, -0.1)):
            picture.look(remember, Start(zoom, mirrored, shift))
    step = 0.1 * FACE_PX
    np.testing.assert_array_equal(seen, [(0, 0), (step, -step), (0, 0), (-step, -step)])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_place(number: float):
    points = UPRIGHT_FACE.copy()
    points[3, 1] = number
    with pytest.raises(ValueError, match=f"points must be finite, and holds {number}"):
        Place.of_points(points)
    with pytest.raises(ValueError, match=f"box must be finite, and holds {number}"):
        Place.of_box(np.array([0.0, number, 5.0, 5.0]))
    with pytest.raises(ValueError, match=f"place must be finite, and holds {number}"):
        Place(np.zeros(2), number, 0.0)


def test_a_place_has_a_side():
    with pytest.raises(ValueError, match="side above 0, not 0"):
        Place(np.zeros(2), 0.0, 0.0)


@pytest.mark.parametrize("place", [Place(np.full(2, 1e13), 9.0, 0.0), Place(np.zeros(2), 1e13, 3)])
def test_far_and_huge_places_show_nothing(place: Place):
    picture = UprightPicture(np.full((9, 9, 3), 255, np.uint8), place)
    found = picture.look(finder_of_corner, Start(1.0, False))
    assert found.shape == (68, 2) and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((9, 9), np.uint8),
        ((9, 9, 4), np.uint8),
        ((9, 9, 3), np.float64),
        ((0, 9, 3), np.uint8),
    ],
)
def test_other_pictures_are_refused(shape: tuple[int, ...], kind: type):
    with pytest.raises(ValueError, match=r"no \(H, W, 3\) uint8 image"):
        UprightPicture(np.zeros(shape, kind), Place(np.zeros(2), 9.0, 0.0))


@pytest.mark.parametrize("middle", [(-5000.0, 20.0), (20.0, 5000.0), (0.0, 0.0)])
def test_beyond_the_image_it_is_black(middle: tuple[float, float]):
    """A face far outside, or at its corner: where the image is white, three quarters are not."""
    seen: list[np.ndarray] = []

    def remember(pixels: np.ndarray, _) -> SimpleNamespace:
        seen.append(pixels)
        return SimpleNamespace(parts=lambda: [SimpleNamespace(x=0, y=0)] * 68)

    white = np.full((400, 400, 3), 255, np.uint8)
    UprightPicture(white, Place(np.array(middle), 100.0, 0.0)).look(remember, Start(1.0, False))
    share = 0.25 if middle == (0.0, 0.0) else 0.0
    assert (seen[0] > 127).mean() == pytest.approx(share, abs=0.01)


def test_starts_are_mirrored_pairs():
    many = starts((1.0, 1.2), (-0.1, 0.0, 0.1))
    assert len(many) == len(set(many)) == 36
    assert sum(start.mirrored for start in many) == 18
    assert starts((1.0,)) == [Start(1.0, False), Start(1.0, True)]


def looks_at(shifts: list[float], random: np.random.Generator) -> np.ndarray:
    """Looks at a face of 100 pixels, shifted by shares of it, with half a pixel of noise."""
    noise = random.normal(scale=0.5, size=(len(shifts), 68, 2))
    return 100 * (UPRIGHT_FACE + np.array(shifts)[:, None, None]) + noise


def test_most_looks_are_right_and_their_mean_is_better_than_each():
    """Eight looks at the face, and ten that are off in all directions, none with many others."""
    astray = [0.1, 0.14, 0.18, 0.22, 0.26, 0.3, -0.1, -0.14, -0.18, -0.22]
    looks = looks_at([0.0] * 8 + astray, np.random.default_rng(0))
    error = np.linalg.norm(looks - 100 * UPRIGHT_FACE, axis=2).mean(axis=1)
    found = np.linalg.norm(consensus(looks) - 100 * UPRIGHT_FACE, axis=1).mean()
    assert found < 0.5 * error[:8].min()
    assert np.linalg.norm(looks.mean(axis=0) - 100 * UPRIGHT_FACE, axis=1).mean() > 2


def test_the_order_of_looks_does_not_matter():
    looks = looks_at([0.0, 0.01, 0.0, 0.2, 0.21], np.random.default_rng(1))
    np.testing.assert_allclose(consensus(looks), consensus(looks[::-1]), atol=1e-9)


def test_disagreement_is_a_share_of_the_eyes():
    looks = np.stack([UPRIGHT_FACE, UPRIGHT_FACE + np.array([0.056, 0.0])])
    assert disagreement(looks) == pytest.approx(0.056 / outer_eye(UPRIGHT_FACE))
    assert disagreement(np.stack([UPRIGHT_FACE] * 3)) == 0


def test_a_mirrored_photo_has_mirrored_landmarks(detector, astronaut, astronaut_landmarks):
    five = five_from_68(astronaut_landmarks)
    mirrored = (astronaut.shape[1] - 1 - five[:, 0], five[:, 1])
    swapped = np.stack(mirrored, axis=1)[[1, 0, 2, 4, 3]]
    one = detector.landmarks_from_five(astronaut, five)
    other = detector.landmarks_from_five(np.ascontiguousarray(astronaut[:, ::-1]), swapped)
    back = np.stack([astronaut.shape[1] - 1 - other[:, 0], other[:, 1]], axis=1)[MIRROR_ORDER]
    assert np.linalg.norm(back - one, axis=1).mean() < 0.005 * outer_eye(one)


@pytest.mark.parametrize("tilt_deg", [25.0, -40.0])
def test_landmarks_turn_with_the_photo(detector, hopper, tilt_deg: float):
    """The predictor alone loses heads that are tilted by 40 degrees."""
    upright = detector.detect(hopper, largest_only=True)[0].landmarks_px
    tilted = Image.fromarray(hopper).rotate(-tilt_deg, Image.Resampling.BICUBIC)
    turn, middle = np.radians(tilt_deg), (np.array(hopper.shape[1::-1]) - 1) / 2
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    expected = (upright - middle) @ axes.T + middle
    found = detector.landmarks_from_five(np.asarray(tilted), five_from_68(expected))
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.03 * outer_eye(upright)
