"""Regions of scans, by hand."""

from __future__ import annotations

import numpy as np

from util.evaluation.regions import face_sphere, inside_sphere, kept_triangles


def test_the_sphere_of_now_by_hand():
    seven = np.array(
        [
            [-40.0, 30, 0],
            [-16, 30, 0],
            [16, 30, 0],
            [40, 30, 0],
            [0, -20, 0],
            [-25, -50, 0],
            [25, -50, 0],
        ]
    )
    centre, radius = face_sphere(seven)
    # Nose of 50: 15 above its bottom; 0.7 (80 + 50).
    np.testing.assert_allclose(centre, [0, -5, 0])
    assert radius == 91
    points = np.array([[0, 86, 0], [0, 86.001, 0], [91, -5, 0], [0, -5, -92]])
    assert inside_sphere(points, centre, radius).tolist() == [True, False, True, False]


def test_triangles_of_what_is_kept():
    kept = np.array([True, False, True, True, True])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 3, 2]])
    assert kept_triangles(triangles, kept).tolist() == [[0, 1, 2], [3, 2, 1]]
