"""Builds a small open model of a wheel: python -m tests.BFM.small_build WHEEL OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

from BFM.build_open_face_model import Recipe, write_open_model
from BFM.open_model.sampling import Sampling
from BFM.open_model.source import AnnyWheel

SMALL = Recipe(
    identity=Sampling(size=12, samples=60, seed=1),
    expression=Sampling(size=64, samples=80, seed=2),
    albedo=Sampling(size=40, samples=56, seed=3),
    texture_size=160,
    photographed=300,
)

if __name__ == "__main__":
    write_open_model(Path(sys.argv[2]), AnnyWheel(Path(sys.argv[1])), SMALL)
