"""Methods of benchmarks: what their numbers mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from util.evaluation.aflw2000_methods import label_angles_deg


def test_angles_of_the_labels_rotation():
    """Against scipy: Rx, Ry, Rz of the labels turn the other way than the usual ones."""
    random = np.random.default_rng(0)
    angles = random.uniform(-80, 80, (200, 3))
    # R = Rx(pitch) Ry(yaw) Rz(roll) is, in scipy's words, intrinsic xyz by the negative angles.
    matrices = Rotation.from_euler("XYZ", -angles, degrees=True).as_matrix()
    np.testing.assert_allclose(label_angles_deg(matrices), angles, atol=1e-9)


def test_the_public_yaw_is_exact_only_without_roll_and_pitch():
    yaw_only = np.column_stack([np.zeros(5), np.linspace(-80, 80, 5), np.zeros(5)])
    matrices = Rotation.from_euler("XYZ", -yaw_only, degrees=True).as_matrix()
    np.testing.assert_allclose(label_angles_deg(matrices, public=True), yaw_only, atol=1e-9)
    tilted = np.array([[20.0, 30.0, 25.0]])
    matrix = Rotation.from_euler("XYZ", -tilted, degrees=True).as_matrix()
    public = label_angles_deg(matrix, public=True)
    assert abs(public[0, 1] - 30) > 4
    np.testing.assert_allclose(public[0, [0, 2]], [20, 25])
    # By hand: R20 = sin pitch sin roll + cos pitch sin yaw cos roll, signs as above.
    p, y, r = np.radians(tilted[0])
    by_hand = np.sin(p) * np.sin(r) + np.cos(p) * np.sin(y) * np.cos(r)
    assert np.sin(np.radians(public[0, 1])) == pytest.approx(by_hand)
