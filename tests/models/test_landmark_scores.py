"""Scores of landmarks and poses: by hand, at the borders, against another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.landmark_scores import (
    BinnedError,
    PoseError,
    box_sizes_px,
    outer_eye_px,
    point_errors_px,
    worst,
    yaw_bins,
)


def rectangle(width: float, height: float) -> np.ndarray:
    """68 points that fill a box."""
    points = np.full((68, 3), [10.0, 20.0, 5.0])
    points[0], points[1] = [10.0, 20.0, 5.0], [10.0 + width, 20.0 + height, 5.0]
    return points


def test_errors_by_hand():
    labels = np.stack([rectangle(40, 90), rectangle(50, 50)])
    predicted = labels.copy()
    predicted[0, :, 0] += 3
    predicted[0, :, 1] -= 4
    predicted[1, :34, 1] += 2  # half of the points
    predicted[:, :, 2] += 100  # depth does not count
    np.testing.assert_allclose(point_errors_px(predicted, labels), [5, 1])
    np.testing.assert_allclose(box_sizes_px(labels), [60, 50])
    nme = point_errors_px(predicted, labels) / box_sizes_px(labels)
    np.testing.assert_allclose(nme, [5 / 60, 1 / 50])


def test_outer_eye_distance_has_a_depth():
    labels = np.zeros((1, 68, 3))
    labels[0, 45] = [3, 4, 12]
    assert outer_eye_px(labels) == pytest.approx([13])
    assert outer_eye_px(labels[..., :2]) == pytest.approx([5])


def test_bins_and_their_borders():
    yaws = np.array([0, 30, -30, 30.0001, -30.0001, 60, -60, 60.0001, -60.0001, 90])
    assert yaw_bins(yaws).tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_balanced_mean_by_hand():
    errors = np.array([1.0, 2.0, 3.0, 5.0, 9.0])
    binned = BinnedError.of(errors, np.array([0.0, 10.0, -29.0, 45.0, -80.0]))
    assert binned.bins == (2.0, 5.0, 9.0) and binned.counts == (3, 1, 1)
    assert binned.balanced == pytest.approx(16 / 3)
    assert binned.spread == pytest.approx(
        math.sqrt((10 / 3) ** 2 + (1 / 3) ** 2 + (11 / 3) ** 2) / math.sqrt(3)
    )
    assert binned.overall == pytest.approx(4)


def test_an_empty_bin_is_no_number():
    binned = BinnedError.of(np.array([1.0, 3.0]), np.array([0.0, 40.0]))
    assert math.isnan(binned.bins[2]) and math.isnan(binned.balanced)
    assert binned.overall == 2


def test_pose_errors_do_not_wrap():
    predicted = np.array([[1.0, -170.0, 3.0], [-1.0, 5.0, 0.0]])
    labels = np.array([[0.0, 170.0, 0.0], [1.0, 5.0, 1.0]])
    error = PoseError.of(predicted, labels)
    assert (error.pitch, error.yaw, error.roll) == (1.5, 170.0, 2.0)
    assert error.mean == pytest.approx(173.5 / 3)


def test_worst_are_largest_first():
    assert worst(np.array([1.0, 9.0, 3.0, 9.0]), 3) == [1, 3, 2]
