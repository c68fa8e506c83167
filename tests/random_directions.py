"""Unit vectors without a preferred direction."""

from __future__ import annotations

import numpy as np


def directions(count: int) -> np.ndarray:
    """(count, 3), always the same."""
    vectors = np.random.default_rng(0).standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
