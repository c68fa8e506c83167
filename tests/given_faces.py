"""A detector that finds what it is told."""

from __future__ import annotations

import numpy as np

from data.detection import Face


class GivenFaces:
    """Finds the same faces in every picture, largest first."""

    def __init__(self, *faces: np.ndarray, marked: np.ndarray | None = None) -> None:
        """Take landmarks (68, 2) of each face, and those that any five points mark."""
        self.faces = [Face((0, 0, 1, 1), landmarks, 1.0) for landmarks in faces]
        self.marked = marked

    def detect(
        self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
    ) -> list[Face]:
        return self.faces[: 1 if largest_only else None]

    def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        if self.marked is None:
            raise AssertionError("nobody should give five points")
        return self.marked
