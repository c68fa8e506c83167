"""How a block of coefficients is estimated from random samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Principal components of random samples."""

    size: int
    """How many components."""
    samples: int
    """How many random faces they are estimated from."""
    seed: int
    """Of all random choices."""
