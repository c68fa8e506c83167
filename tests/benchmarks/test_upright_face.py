"""The table of upright faces: symmetric, and made of what lies in the detector's boxes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.upright_face import UprightOptions, landmarks_in_boxes, report, symmetric_mean
from data.landmark_looks import UPRIGHT_FACE
from util.errors import InputError


def test_the_mean_is_symmetric():
    """A head that turns moves all landmarks to one side."""
    turned = UPRIGHT_FACE + np.array([0.05, 0.0])
    np.testing.assert_allclose(symmetric_mean(turned[None]), UPRIGHT_FACE, atol=1e-9)


def test_what_differs_from_the_table_is_named(capsys: pytest.CaptureFixture[str]):
    other = UPRIGHT_FACE.copy()
    other[8, 1] += 0.02
    report(other[None])
    printed = capsys.readouterr().out
    assert "        [-0.479, -0.231],\n" in printed
    assert "1 faces; largest difference from UPRIGHT_FACE 0.0200, the y of landmark 8" in printed


def test_no_renders_are_refused():
    with pytest.raises(InputError, match="--renders is 0"):
        UprightOptions(renders=0)


@pytest.mark.slow
def test_renders_give_the_table(open_face_model):
    found = symmetric_mean(landmarks_in_boxes(open_face_model, UprightOptions(renders=60)))
    assert np.abs(found - UPRIGHT_FACE).max() < 0.015
