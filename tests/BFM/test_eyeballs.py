"""Eyeball caps: round, closed, dense where the iris is, and moving with MakeHuman's eyes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from BFM.open_model.eyeballs import (
    EYE_RINGS_DEG,
    EYE_SECTORS,
    LIMBUS_DEG,
    LOOK_DOWN_DEG,
    PUPIL_DEG,
    EyeballPatch,
    both_eyes,
    cap_rows,
    coarse_cap_triangles,
    eye_frames,
    eyeball_patch,
    helper_vertices,
    open_model_patch,
)
from tests.BFM.anny_stand_in import EYE_CENTRE, EYE_RADIUS


@pytest.fixture(scope="module")
def patch() -> EyeballPatch:
    return open_model_patch()


def assert_disc(triangles: np.ndarray) -> None:
    """One piece with one border and one orientation: V - E + F = 1."""
    sides = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert len(np.unique(sides, axis=0)) == len(sides)
    edges, uses = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    assert len(np.unique(triangles)) - len(edges) + len(triangles) == 1
    assert set(uses.tolist()) == {1, 2}
    assert np.bincount(edges.ravel()).max() <= 8


def test_caps_are_round_discs(patch: EyeballPatch):
    radius = np.linalg.norm(patch.points, axis=1)
    np.testing.assert_allclose(
        np.arccos((patch.points[:, 2] / radius).clip(-1, 1)), patch.polar_rad, atol=1e-7
    )
    assert_disc(patch.triangles)
    assert_disc(coarse_cap_triangles(patch))
    for triangles in (patch.triangles, coarse_cap_triangles(patch)):
        a, b, c = (patch.points[triangles[:, i]] for i in range(3))
        assert ((np.cross(b - a, c - a) * (a + b + c)).sum(axis=1) > 0).all()  # seen from outside


def test_caps_are_drawn_in_below_and_outside_alone(patch: EyeballPatch):
    """Where lids cover them: iris, upper half and the nose's side keep the radius."""
    radius = np.linalg.norm(patch.points, axis=1)
    x, y, _ = patch.points.T
    kept = (patch.polar_rad <= np.radians(24.0)) | (y >= 0) | (x > 0.6 * -y)
    np.testing.assert_allclose(radius[kept], 1)
    hidden = (patch.polar_rad > np.radians(36.0)) & (y < 0) & (x < 0.3 * y) & (x > y)
    assert hidden.sum() > 5 and radius[hidden].max() < 0.95 and radius.min() > 0.75


def test_area_of_the_cap_is_that_of_a_sphere():
    patch = eyeball_patch(list(np.radians(EYE_RINGS_DEG)), EYE_SECTORS)
    np.testing.assert_allclose(np.linalg.norm(patch.points, axis=1), 1)
    a, b, c = (patch.points[patch.triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert area == pytest.approx(2 * np.pi * (1 - np.cos(patch.polar_rad.max())), rel=0.03)


def test_rings_enclose_the_edges_of_pupil_and_iris(patch: EyeballPatch):
    rings = np.degrees([patch.polar_rad[ring[0]] for ring in patch.rings])
    for edge in (PUPIL_DEG, LIMBUS_DEG):
        assert np.abs(rings[rings < edge] - edge).min() < 1.5
        assert np.abs(rings[rings > edge] - edge).min() < 1.6


def test_caps_with_other_rings_are_discs_too():
    assert_disc(eyeball_patch([0.2, 0.5], [4, 8]).triangles)
    assert_disc(eyeball_patch([0.2, 0.5, 0.6], [6, 6, 6]).triangles)


def test_eyes_are_where_makehumans_are(reference: np.ndarray, patch: EyeballPatch):
    frames = eye_frames(reference) @ helper_vertices(reference)
    caps = (cap_rows(patch) @ frames).reshape(2, -1, 3)
    helpers = helper_vertices(reference).reshape(2, 72, 3)
    for side, cap, own in zip((-1, 1), caps, helpers, strict=True):
        centre = own.mean(axis=0)
        assert np.sign(centre[0]) == side  # the person's right eye first
        np.testing.assert_allclose(centre, EYE_CENTRE * [side, 1, 1], atol=0.06)
        radius = np.linalg.norm(cap - frames[0 if side < 0 else 4], axis=1)
        np.testing.assert_allclose(
            radius, radius[0] * np.linalg.norm(patch.points, axis=1), rtol=1e-9
        )
        assert radius[0] == pytest.approx(EYE_RADIUS, rel=0.1)
        # They look ahead and a little down, neither inwards nor outwards.
        gaze = (cap[0] - frames[0 if side < 0 else 4]) / radius[0]
        down = np.radians(LOOK_DOWN_DEG)
        np.testing.assert_allclose(gaze, [0, -np.sin(down), np.cos(down)], atol=1e-9)
    np.testing.assert_allclose(caps[0] * [-1, 1, 1], caps[1], atol=1e-9)


def test_eyes_follow_any_affine_motion_exactly(reference: np.ndarray, patch: EyeballPatch):
    fit, rows = eye_frames(reference), cap_rows(patch)
    before = rows @ fit @ helper_vertices(reference)
    turn = Rotation.from_rotvec([0.2, -0.4, 0.1]).as_matrix()
    stretch = np.diag([1.1, 0.9, 1.3])
    for matrix in (turn, 0.8 * turn, turn @ stretch):
        moved = helper_vertices(reference @ matrix.T + [0.1, -0.2, 0.3])
        np.testing.assert_allclose(
            rows @ fit @ moved, before @ matrix.T + [0.1, -0.2, 0.3], atol=1e-9
        )


def test_each_eye_follows_its_own_helpers_only(reference: np.ndarray):
    fit = eye_frames(reference)
    assert not fit[:4, 72:].any() and not fit[4:, :72].any()
    np.testing.assert_allclose(fit.sum(axis=1), 1)


def test_the_left_eyes_triangles_are_the_mirror_image(patch: EyeballPatch):
    triangles = both_eyes(patch.triangles, patch, 100)
    right, left = np.split(triangles, 2)
    assert right.min() == 100 and left.min() == 100 + len(patch.points)
    points = np.concatenate([patch.points, patch.points * [-1, 1, 1]])
    for eye in (right, left):
        a, b, c = (points[eye[:, i] - 100] for i in range(3))
        assert ((np.cross(b - a, c - a) * (a + b + c)).sum(axis=1) > 0).all()
