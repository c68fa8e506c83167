"""Smooth motions: the one-euro filter, forward and, where the whole motion is known, backward too.

Casiez, Roussel and Vogel, "1 euro filter" (CHI 2012): a first-order low pass whose cutoff rises
with the speed, so that rest is calm and fast motion does not lag:

    x^_i = a x_i + (1 - a) x^_(i-1),    a = 1 / (1 + 1 / (2 pi f_c dt)),
    f_c = f_min + beta |v^_i|,          v^ the speed, low-passed at a fixed cutoff
"""

from __future__ import annotations

import math

import numpy as np

from options.fitting_weights import SmoothingOptions

SPEED_HZ = 1.0
"""Cutoff of the speed."""


def one_euro(
    values: np.ndarray, times_s: np.ndarray, scale: float, options: SmoothingOptions
) -> np.ndarray:
    """Filter forward, as it can be done while a motion goes on.

    Args:
        values: (N, ...) numbers of each frame; one speed is taken for all, the root mean square.
        times_s: (N,) rising.
        scale: what counts as a motion of 1, such as the width of the face.
        options: of the filter.
    """
    smoothed = values.astype(np.float64).copy()
    speed = np.zeros_like(smoothed[:1])[0]
    for i in range(1, len(values)):
        step_s = max(float(times_s[i] - times_s[i - 1]), 1e-6)
        raw = (values[i] - values[i - 1]) / step_s
        speed = speed + _share(SPEED_HZ, step_s) * (raw - speed)
        size = math.sqrt(float(np.mean(speed**2))) / scale
        share = _share(options.smooth_min_hz + options.smooth_beta * size, step_s)
        smoothed[i] = smoothed[i - 1] + share * (values[i] - smoothed[i - 1])
    return smoothed


def smooth_motion(
    values: np.ndarray, times_s: np.ndarray, scale: float, options: SmoothingOptions
) -> np.ndarray:
    """The mean of the filter forward and backward: as calm, and without its delay.

    Args:
        values: (N, ...) of an unbroken motion.
        times_s: (N,) rising.
        scale: what counts as a motion of 1.
        options: of the filter.
    """
    if options.smooth_min_hz == 0 or len(values) < 3:
        return values.astype(np.float64)
    forward = one_euro(values, times_s, scale, options)
    backward = one_euro(values[::-1], -times_s[::-1], scale, options)[::-1]
    return (forward + backward) / 2


def _share(cutoff_hz: float, step_s: float) -> float:
    """Weight of the new value."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))
