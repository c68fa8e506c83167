"""Landmark files: what is read, what is written, and what is refused with which reason."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.landmarks import (
    MIRROR_ORDER,
    check_landmarks,
    five_from_68,
    read_landmarks,
    upright_landmarks,
    write_landmarks,
)
from util.errors import InputError

FIVE = np.array([[80.0, 90.0], [130.0, 88.0], [106.0, 118.0], [86.0, 142.0], [128.0, 140.0]])
SHAPE = (224, 224, 3)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - points.mean(0)) @ rotation.T + points.mean(0)


@pytest.mark.parametrize(
    "text",
    [
        "142.84\t207.18\n222.02\t203.9\n159.24\t253.57\n146.59\t290.93\n227.52\t284.74\n",
        "142.84 207.18\r\n222.02 203.9\r\n159.24 253.57\r\n146.59 290.93\r\n227.52 284.74",
        "\ufeff142.84, 207.18\n222.02,203.9\n\n159.24 ; 253.57\n 146.59  290.93 \n"
        "227.52,284.74\n\n",
        "1.4284e2 2.0718e2\n222.02 203.9\n159.24 253.57\n146.59 290.93\n227.52 284.74\n",
    ],
)
def test_reads_what_people_write(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ä b.txt"
    path.write_bytes(text.encode("utf-8"))
    points = read_landmarks(path)
    assert points.shape == (5, 2)
    assert points[0].tolist() == [142.84, 207.18]
    assert points[4].tolist() == [227.52, 284.74]


def test_reads_numpys_own_format(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 500, (68, 2))
    np.savetxt(tmp_path / "a.txt", points)
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.txt"), points)


def test_round_trip(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-20, 5000, (68, 2))
    write_landmarks(tmp_path / "new" / "a.txt", points)
    assert np.abs(read_landmarks(tmp_path / "new" / "a.txt") - points).max() <= 5.1e-5
    assert np.loadtxt(tmp_path / "new" / "a.txt").shape == (68, 2)


def test_never_writes_numbers_that_are_none(tmp_path: Path) -> None:
    points = FIVE.copy()
    points[2, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        write_landmarks(tmp_path / "a.txt", points)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 2\n3 4\n", "holds 2 points; expected 5 or 68"),
        (b"", "holds 0 points"),
        (b"1 2\n3 four\n", "line 2: '3 four' is not a point"),
        (b"1 2 3\n", "line 1: '1 2 3' is not a point"),
        (b"1 2 3 4 5 6 7 8 9 10\n", "line 1"),
        (b"1\n2\n3\n4\n5\n", "line 1: '1' is not a point"),
        (b"\xff\xfe\x00\x01\x80", "is not a text file"),
        (b"1 2\n" * 50000, "too long"),
    ],
)
def test_malformed_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_landmarks(path)
    assert "a.txt" in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt cannot be read"):
        read_landmarks(tmp_path / "a.txt")


def test_nan_in_a_file_is_found_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 2\nnan 4\n5 6\n7 8\n9 10\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"face\.txt: point 2 is .*finite"):
        check_landmarks(read_landmarks(path), SHAPE, "face.txt")


@pytest.mark.parametrize("degrees", [-60, -30, 0, 30, 60])
def test_rolled_faces_pass(degrees: float) -> None:
    check_landmarks(turned(FIVE, degrees), SHAPE, "a.txt")


def test_faces_at_the_border_pass() -> None:
    check_landmarks(FIVE - [100, 20], SHAPE, "a.txt")
    check_landmarks(FIVE - [-90, -70], SHAPE, "a.txt")


def test_profiles_pass() -> None:
    profile = np.array([[100.0, 90], [101, 90], [70, 118], [96, 142], [95, 142]])
    check_landmarks(profile, SHAPE, "a.txt")


@pytest.mark.parametrize("seed", range(5))
def test_turned_nodding_and_rolled_heads_pass(standard_points, seed: int) -> None:
    """Up to 70 degrees of yaw, 35 of pitch, 45 of roll at once, points a pixel off."""
    random = np.random.default_rng(seed)
    for _ in range(200):
        pitch, yaw, roll = random.uniform(-1, 1, 3) * np.radians([35, 70, 45])
        head = Rotation.from_euler("xyz", [pitch, yaw, roll]).apply(standard_points)
        points = head[:, :2] * [60, -60] + 112 + random.normal(0, 1, (5, 2))
        check_landmarks(points, SHAPE, "a.txt")


def test_68_points_pass(astronaut: np.ndarray, astronaut_landmarks: np.ndarray) -> None:
    check_landmarks(astronaut_landmarks, astronaut.shape, "a.txt")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (FIVE[:4], "expected 5 x 2 or 68 x 2"),
        (FIVE / 224, "not fractions"),
        (np.full((5, 2), 100.0), "span only 0"),
        (FIVE - [-400, 0], "far outside"),
        (FIVE - [0, 2000], "far outside"),
        (np.concatenate([FIVE[:4], [[5000, 140]]]), r"point 5 at \(5000.0, 140.0\) is far outside"),
        (FIVE[[1, 0, 2, 4, 3]], "swapped"),
        (FIVE[[0, 1, 2, 4, 3]], "mouth corners are swapped"),
        (FIVE[[1, 0, 2, 3, 4]], "eyes are swapped"),
        (FIVE[[3, 4, 2, 0, 1]], "mouth is above the eyes"),
        (FIVE[[2, 0, 1, 3, 4]], "the eyes are"),
        (FIVE[[0, 2, 1, 3, 4]], "eyes and mouth corners are not in line"),
        (turned(FIVE, 180), "mouth is above the eyes"),
        (FIVE * [1, 0.02] + [0, 100], "same height"),
        (FIVE - [[0, 0], [0, 0], [0, 80], [0, 0], [0, 0]], "nose tip"),
    ],
)
def test_refuses_what_is_no_face(points: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        check_landmarks(points, SHAPE, "faces/a.txt")
    assert "faces/a.txt" in str(error.value)


def test_mirrored_68_points_are_refused(astronaut, astronaut_landmarks) -> None:
    mirrored = astronaut_landmarks.copy()
    mirrored[:, 0] = astronaut.shape[1] - 1 - mirrored[:, 0]
    with pytest.raises(InputError, match="swapped"):
        check_landmarks(mirrored, astronaut.shape, "a.txt")
    check_landmarks(mirrored[MIRROR_ORDER], astronaut.shape, "a.txt")


def test_dlibs_own_five_points_are_refused(astronaut, hopper) -> None:
    """By the real predictor, on real faces, upright and rolled."""
    dlib = pytest.importorskip("dlib")
    models = pytest.importorskip("face_recognition_models")
    predictor = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
    for image in (astronaut, hopper):
        box = dlib.get_frontal_face_detector()(image, 0)[0]
        points = np.array([(p.x, p.y) for p in predictor(image, box).parts()], dtype=float)
        for degrees in (-40, 0, 25):
            with pytest.raises(InputError, match="dlib's own five points"):
                check_landmarks(turned(points, degrees), image.shape, "a.txt")


def test_five_from_68_are_the_public_ones() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (3, 68, 2))
    one_based = {n: points[:, n - 1] for n in range(1, 69)}
    expected = [
        (one_based[37] + one_based[40]) / 2,
        (one_based[43] + one_based[46]) / 2,
        one_based[31],
        one_based[49],
        one_based[55],
    ]
    np.testing.assert_allclose(five_from_68(points), np.stack(expected, 1))
    np.testing.assert_allclose(five_from_68(points[0]), np.stack(expected, 1)[0])


def test_public_landmark_files_count_rows_from_below(astronaut, astronaut_landmarks) -> None:
    height = len(astronaut)
    public = np.stack([astronaut_landmarks[:, 0], height - 1 - astronaut_landmarks[:, 1]], axis=1)
    np.testing.assert_allclose(upright_landmarks(public, height), astronaut_landmarks)
    # What counts from above stays, and so does what is no 68 points.
    for points in (astronaut_landmarks, astronaut_landmarks[:5], five_from_68(public)):
        np.testing.assert_array_equal(upright_landmarks(points, height), points)


def test_a_face_upside_down_is_not_turned(astronaut, astronaut_landmarks) -> None:
    height, width, _ = astronaut.shape
    turned = [width - 1, height - 1] - astronaut_landmarks
    np.testing.assert_array_equal(upright_landmarks(turned, height), turned)
    with pytest.raises(InputError, match="the mouth is above the eyes"):
        check_landmarks(turned, astronaut.shape, "turned.txt")


def test_mirror_order_is_its_own_inverse() -> None:
    np.testing.assert_array_equal(MIRROR_ORDER[MIRROR_ORDER], np.arange(68))
    # Points on the face's middle line stay.
    fixed = np.flatnonzero(np.arange(68) == MIRROR_ORDER)
    assert fixed.tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
