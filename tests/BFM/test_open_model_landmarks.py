"""Landmarks of the open head: on the skin, symmetric, moved as told; the jaw's on the outline."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from BFM.open_model import landmarks
from BFM.open_model.head_mesh import HeadMesh
from BFM.open_model.landmarks import (
    CONTOUR_INNERMOST,
    CONTOUR_YAWS_DEG,
    _eye_cover,
    calibrated,
    landmark_embedding,
    landmark_positions,
    moving_contour,
)
from data.landmarks import MIRROR_ORDER
from models.landmark_embedding import MovingContour
from util.surface import nearest_on_surface

MIRROR = np.array([-1.0, 1.0, 1.0])
TWINS = list(MIRROR_ORDER)


@pytest.fixture(scope="module")
def vertices(head: HeadMesh, reference: np.ndarray) -> np.ndarray:
    return head.subdivision @ head.control_points(reference)


@pytest.fixture(scope="module")
def embedding(head: HeadMesh, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return landmark_embedding(vertices, head)


@pytest.fixture(scope="module")
def contour(head: HeadMesh, vertices: np.ndarray, embedding) -> MovingContour:
    return moving_contour(vertices, head, *embedding)


def skin_triangles(head: HeadMesh) -> np.ndarray:
    skin = head.triangles[: head.face_triangles]
    return skin[(head.cavity_depth + head.regions["eyeballs"])[skin].max(axis=1) == 0]


def test_landmarks_are_the_listed_vertices_but_two_of_the_jaw(head, vertices, embedding):
    points = landmark_positions(vertices, *embedding)
    listed = vertices[head.landmark_vertices]
    kept = np.setdiff1d(np.arange(68), [3, 13])
    np.testing.assert_array_equal(points[kept], listed[kept])
    # Point 3 is the skin's point nearest to the middle between its neighbours.
    middle = (listed[2] + listed[4]) / 2
    skin = head.triangles[~head.regions["eyeballs"][head.triangles].any(axis=1)]
    nearest = nearest_on_surface(middle[None], vertices, skin)
    np.testing.assert_allclose(points[3], nearest.mix(vertices)[0])


def test_landmarks_are_mirror_symmetric_mixes(head, vertices, embedding):
    for corners, weights in (embedding, calibrated(vertices, head, *embedding)):
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        assert weights.min() >= 0
        points = landmark_positions(vertices, corners, weights)
        np.testing.assert_allclose(points[TWINS] * MIRROR, points, atol=1e-4)


def test_calibration_moves_landmarks_as_told(head, vertices, embedding, monkeypatch):
    """By percents of the outer-eye distance, along the picture; the surface gives the depth."""
    told = {17: (-3.0, 2.0), 20: (1.5, -1.0), 27: (0.0, -2.0), 48: (2.0, 1.0)}
    monkeypatch.setattr(landmarks, "DETECTOR_OFFSETS", told)
    before = landmark_positions(vertices, *embedding)
    corners, weights = calibrated(vertices, head, *embedding)
    after = landmark_positions(vertices, corners, weights)
    unit = 0.01 * np.linalg.norm(before[36] - before[45])
    for number, (x, y) in told.items():
        moved = (after[number] - before[number]) / unit
        np.testing.assert_allclose(moved[:2], [x, -y], atol=0.3, err_msg=str(number))
        twin = (after[TWINS[number]] - before[TWINS[number]]) / unit
        np.testing.assert_allclose(twin * MIRROR, moved, atol=1e-6)
    others = np.setdiff1d(np.arange(68), [*told, *(TWINS[number] for number in told)])
    np.testing.assert_array_equal(after[others], before[others])


def test_calibration_leaves_its_arguments_alone(head, vertices, embedding):
    copies = [array.copy() for array in embedding]
    calibrated(vertices, head, *embedding)
    for array, copy in zip(embedding, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_calibrated_landmarks_are_not_on_the_eyeballs(head, vertices, embedding):
    corners, _ = calibrated(vertices, head, *embedding)
    assert not head.regions["eyeballs"][corners].any()


@pytest.mark.parametrize("side", [-1, 1])
def test_a_cover_joins_the_margins_of_both_lids(head, vertices, side: int):
    cover = _eye_cover(vertices, head, side)
    used = np.unique(cover)
    assert (side * vertices[used, 0] > 0).all()
    assert head.regions["lid_cavity"][used].all() and head.cavity_depth[used].max() < 0.25
    # As large as the polygon of the margin seen from the front: no gap, nothing twice.
    a, b, c = np.moveaxis(vertices[cover, :2], 1, 0)
    across, along = b - a, c - a
    areas = np.abs(across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]) / 2
    middle = vertices[used, :2].mean(axis=0)
    turn = np.arctan2(*(vertices[used, :2] - middle).T)
    x, y = vertices[used[np.argsort(turn)], :2].T
    polygon = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    assert areas.sum() == pytest.approx(polygon, rel=0.02)
    assert len(cover) == len(used) - 2


def test_landmarks_within_the_opening_move_with_both_lids(head, vertices, embedding, monkeypatch):
    """Where the lids meet, so do the landmarks, however far inside they were calibrated."""
    monkeypatch.setattr(landmarks, "DETECTOR_OFFSETS", {37: (0.0, 2.0), 41: (0.0, -2.0)})
    corners, weights = calibrated(vertices, head, *embedding)
    cover = {frozenset(triangle) for triangle in _eye_cover(vertices, head, -1).tolist()}
    assert all(frozenset(corners[number].tolist()) in cover for number in (37, 41))
    rest = vertices[head.landmark_vertices[[36, 39]], 1].mean()
    shut = vertices * [1, 0, 1] + [0, rest, 0]
    points = landmark_positions(shut, corners, weights)
    assert points[37, 1] == pytest.approx(points[41, 1])
    half_shut = landmark_positions((vertices + shut) / 2, corners, weights)
    opened = landmark_positions(vertices, corners, weights)
    assert half_shut[37, 1] - half_shut[41, 1] == pytest.approx((opened[37, 1] - opened[41, 1]) / 2)


def test_the_jaw_moves_but_for_the_chin(head, vertices, contour: MovingContour):
    assert contour.landmarks.tolist() == [*range(8), *range(9, 17)]
    np.testing.assert_allclose(np.degrees(contour.yaws_rad), CONTOUR_YAWS_DEG)
    assert contour.vertices.shape == contour.barycentrics.shape == (41, 16, 3)
    np.testing.assert_allclose(contour.barycentrics.sum(axis=2), 1)
    skin = {frozenset(triangle) for triangle in skin_triangles(head).tolist()}
    assert {frozenset(c) for c in contour.vertices.reshape(-1, 3).tolist()} <= skin


def places(vertices: np.ndarray, contour: MovingContour) -> np.ndarray:
    """(41, 16, 3) positions of the jaw's landmarks at each yaw."""
    return (vertices[contour.vertices] * contour.barycentrics[..., None]).sum(axis=2)


def test_the_moving_jaw_is_mirror_symmetric(vertices, contour: MovingContour):
    here = places(vertices, contour)
    np.testing.assert_allclose(here[::-1, ::-1] * MIRROR, here, atol=2e-3)


def test_where_the_side_turns_towards_the_camera_nothing_moves(vertices, contour: MovingContour):
    here = places(vertices, contour)
    front = CONTOUR_YAWS_DEG.tolist().index(0)
    right = contour.landmarks < 8  # at -x; a positive yaw turns it towards the camera
    far = CONTOUR_YAWS_DEG >= 30
    drift = here[far][:, right] - here[front][right]
    spread = np.abs(drift).max()
    assert spread < 0.02
    assert np.abs(here[~far][:, right] - here[front][right]).max() > 5 * spread


def test_where_it_turns_away_the_jaw_lies_on_the_outline(head, vertices, contour: MovingContour):
    """No skin of the cheek at the landmark's height, in front of it, is much further out."""
    here = places(vertices, contour)
    skin = np.unique(skin_triangles(head))
    rest = here[CONTOUR_YAWS_DEG.tolist().index(0)]
    for row in np.flatnonzero(np.abs(CONTOUR_YAWS_DEG) >= 30):
        yaw = contour.yaws_rad[row]
        turned = vertices[skin] @ Rotation.from_euler("y", yaw).as_matrix().T
        mine = here[row] @ Rotation.from_euler("y", yaw).as_matrix().T
        for column in range(16):
            side = np.sign(rest[column, 0])
            if side * yaw < 0:
                continue
            level = np.abs(vertices[skin, 1] - rest[column, 1]) < 0.03
            level &= vertices[skin, 2] > rest[column, 2]
            level &= side * vertices[skin, 0] > CONTOUR_INNERMOST * abs(rest[column, 0])
            if level.any():
                outermost = (side * turned[level, 0]).max()
                assert side * mine[column, 0] > outermost - 0.03, (np.degrees(yaw), column)


def test_the_jaw_moves_smoothly_and_keeps_its_height(vertices, contour: MovingContour):
    here = places(vertices, contour)
    assert np.abs(np.diff(here, axis=0)).max() < 0.12
    rest = here[CONTOUR_YAWS_DEG.tolist().index(0)]
    assert np.abs(here[..., 1] - rest[:, 1]).max() < 0.05
