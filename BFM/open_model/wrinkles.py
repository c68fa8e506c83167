"""Where wrinkles run: curves through points around the landmarks of the mean head, in dm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CURVE_POINTS = 40
WAVINESS_DM = 0.0012  # of a step along a curve


@dataclass(frozen=True)
class Wrinkle:
    """A curve near the skin.

    Attributes:
        knots: (N, 3) places that it passes near; their depth is a guess.
        depth: darkness, 1 for the deepest.
        width: as a factor.
    """

    knots: np.ndarray
    depth: float
    width: float = 1.0

    def mirrored(self) -> Wrinkle:
        """The same on the other side of the face."""
        return Wrinkle(self.knots * [-1, 1, 1], self.depth, self.width)

    def line(self, rng: np.random.Generator) -> np.ndarray:
        """Points (CURVE_POINTS, 3) along a smooth curve, a little crooked."""
        degree = min(3, len(self.knots) - 1)
        places = np.linspace(0, 1, len(self.knots))
        powers = np.polynomial.polynomial.polyfit(places, self.knots, degree)
        line = np.polynomial.polynomial.polyval(np.linspace(0, 1, CURVE_POINTS), powers).T
        return line + np.cumsum(rng.normal(0, WAVINESS_DM, line.shape), axis=0)


def wrinkles(landmarks: np.ndarray) -> list[Wrinkle]:
    """All wrinkles of a head with landmarks (68, 3): the right side's, the left side's, the brow's.

    The left half's landmarks place both sides'.
    """
    left = [
        *_beside_the_eye(landmarks),
        *_below_the_eye(landmarks),
        *_beside_the_mouth(landmarks),
        _between_the_brows(landmarks),
        *_above_the_lip(landmarks),
    ]
    return [*(wrinkle.mirrored() for wrinkle in left), *left, *_on_the_forehead(landmarks)]


def _beside_the_eye(landmarks: np.ndarray) -> list[Wrinkle]:
    """A fan of four crow's feet."""
    x, y, z = landmarks[45]
    fan = []
    for lift, reach in ((0.10, 0.17), (0.035, 0.2), (-0.03, 0.2), (-0.1, 0.16)):
        start = [x + 0.05, y + 0.35 * lift, z - 0.06]
        middle = [x + 0.05 + reach / 2, y + 0.75 * lift, z - 0.09 - reach / 2]
        end = [x + 0.05 + reach, y + 1.25 * lift + 0.02, z - 0.12 - reach]
        fan.append(Wrinkle(np.array([start, middle, end]), 0.7))
    return fan


def _below_the_eye(landmarks: np.ndarray) -> list[Wrinkle]:
    """Two folds of the lower lid and the edge of the bag."""
    outer, inner, lid = landmarks[45], landmarks[42], landmarks[46]
    folds = []
    for drop, depth in ((0.045, 0.55), (0.085, 0.6), (0.15, 0.45)):
        start = [inner[0] + 0.01, inner[1] - 0.03 - 0.5 * drop, inner[2]]
        middle = [lid[0], lid[1] - drop, lid[2]]
        end = [outer[0] - 0.01, outer[1] - 0.6 * drop, outer[2]]
        folds.append(Wrinkle(np.array([start, middle, end]), depth, 1.0 + 4 * drop))
    return folds


def _beside_the_mouth(landmarks: np.ndarray) -> list[Wrinkle]:
    """From the nose to the mouth, and from the mouth's corner down."""
    wing, corner = landmarks[35], landmarks[54]
    fold = np.array(
        [
            [wing[0] + 0.03, wing[1] + 0.07, wing[2] - 0.07],
            [wing[0] + 0.09, wing[1] - 0.05, wing[2] - 0.07],
            [corner[0] + 0.06, corner[1] + 0.03, corner[2] - 0.02],
        ]
    )
    below = np.array(
        [
            [corner[0] + 0.02, corner[1] - 0.02, corner[2]],
            [corner[0] + 0.04, corner[1] - 0.15, corner[2] - 0.02],
        ]
    )
    return [Wrinkle(fold, 0.75, 2.8), Wrinkle(below, 0.6, 2.2)]


def _between_the_brows(landmarks: np.ndarray) -> Wrinkle:
    x, y, z = landmarks[22]
    knots = [[x - 0.08, y - 0.06, z + 0.03], [x - 0.075, y + 0.08, z + 0.02]]
    return Wrinkle(np.array(knots), 0.7, 1.3)


def _above_the_lip(landmarks: np.ndarray) -> list[Wrinkle]:
    """Three fine lines."""
    _, y, z = landmarks[52]
    lines = []
    for x in (0.045, 0.085, 0.125):
        knots = [[x, y + 0.02 - 0.2 * x, z], [1.1 * x, y + 0.09 - 0.2 * x, z - 0.02]]
        lines.append(Wrinkle(np.array(knots), 0.35, 0.8))
    return lines


def _on_the_forehead(landmarks: np.ndarray) -> list[Wrinkle]:
    """Three lines across, above the brows."""
    brow_y = landmarks[17:27, 1].max()
    lines = []
    for height, half, depth in ((0.16, 0.36, 0.7), (0.28, 0.42, 1.0), (0.41, 0.38, 0.75)):
        x = np.linspace(-half, half, 7)
        y = brow_y + height + 0.03 * np.cos(5 * x) - 0.25 * x**2
        z = np.full(7, landmarks[27, 2] - 0.05) - 0.5 * x**2
        lines.append(Wrinkle(np.stack([x, y, z], axis=1), depth, 1.3))
    return lines
