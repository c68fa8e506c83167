"""Smoothing: calm at rest, quick in motion, and without delay where all is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.one_euro import one_euro, smooth_motion
from options.fitting_weights import SmoothingOptions

TIMES = np.arange(100) / 25


def test_by_hand():
    """Two steps; the filter's own formulas."""
    options = SmoothingOptions(smooth_min_hz=1.0, smooth_beta=0.5)
    values, times = np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.1, 0.2])

    def share(cutoff: float) -> float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff * 0.1))

    speed = share(1.0) * 10
    first = share(1.0 + 0.5 * speed) * 1.0
    speed = speed + share(1.0) * (0 - speed)
    second = first + share(1.0 + 0.5 * speed) * (1 - first)
    np.testing.assert_allclose(one_euro(values, times, 1.0, options), [0, first, second])


def test_noise_at_rest_is_calmed():
    noise = np.random.default_rng(0).normal(0, 0.01, (100, 4))
    smoothed = smooth_motion(noise, TIMES, 1.0, SmoothingOptions())
    before = np.diff(noise, 2, axis=0).std()
    assert np.diff(smoothed, 2, axis=0).std() < 0.25 * before


def test_a_motion_is_not_delayed():
    """The filter forward lags behind a swing, both ways together do not."""
    swing = np.sin(2 * np.pi * 0.5 * TIMES)[:, None]
    options = SmoothingOptions(smooth_beta=0.3)

    def delay(smoothed: np.ndarray) -> int:
        inner = slice(20, 80)
        shifts = range(-8, 9)
        errors = [np.abs(np.roll(smoothed, -k, axis=0) - swing)[inner].mean() for k in shifts]
        return list(shifts)[int(np.argmin(errors))]

    assert delay(one_euro(swing, TIMES, 1.0, options)) > 0
    assert delay(smooth_motion(swing, TIMES, 1.0, options)) == 0


def test_constant_and_short_motions_stay():
    still = np.full((10, 3), 7.0)
    np.testing.assert_allclose(smooth_motion(still, TIMES[:10], 1.0, SmoothingOptions()), still)
    two = np.array([[0.0], [5.0]])
    np.testing.assert_array_equal(smooth_motion(two, TIMES[:2], 1.0, SmoothingOptions()), two)
    off = SmoothingOptions(smooth_min_hz=0.0)
    noise = np.random.default_rng(0).normal(size=(10, 2))
    np.testing.assert_array_equal(smooth_motion(noise, TIMES[:10], 1.0, off), noise)


def test_uneven_times_and_inputs_are_kept():
    values = np.random.default_rng(1).normal(size=(20, 2))
    before = values.copy()
    times = np.sort(np.random.default_rng(2).uniform(0, 1, 20))
    assert np.isfinite(smooth_motion(values, times, 1.0, SmoothingOptions())).all()
    np.testing.assert_array_equal(values, before)


def test_bad_options():
    with pytest.raises(ValueError, match="--smooth_min_hz is -1"):
        SmoothingOptions(smooth_min_hz=-1.0)
