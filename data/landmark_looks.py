"""Several looks of dlib's 68-point predictor at one face.

The predictor starts from a mean shape in a box and walks to what it takes for the face. Where it
ends depends on the box: by a percent of the distance of the eyes on most faces, and on some it
slides to an edge of hair, glasses or cheek, or takes the nostrils for the mouth. So it looks more
than once, at the picture and at its mirror image, from boxes that are turned with the head. The
mean of looks that agree is off by less than each; where they do not, it looks from many boxes, and
where most of them end is the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from data.landmarks import MIRROR_ORDER, five_from_68

FACE_PX = 240
"""Side of the box in the picture that the predictor sees: it rounds to whole pixels of it."""
REACH = 1.1
"""Half the side of that picture, over the box's."""
CONSENSUS = 0.02
"""Mean distance of the landmarks, over that of the outer eye corners, at which the weight that a
look has for another falls to 1 / e."""
_BRIGHTNESS = (1 / 3, 1 / 3, 1 / 3, 0.0)
"""What the predictor makes of colours; it is faster on pictures that have none."""
UPRIGHT_FACE = np.array(
    [
        [-0.479, -0.231],
        [-0.471, -0.102],
        [-0.454, 0.028],
        [-0.428, 0.155],
        [-0.387, 0.278],
        [-0.319, 0.388],
        [-0.227, 0.478],
        [-0.121, 0.546],
        [0.000, 0.566],
        [0.121, 0.546],
        [0.227, 0.478],
        [0.319, 0.388],
        [0.387, 0.278],
        [0.428, 0.155],
        [0.454, 0.028],
        [0.471, -0.102],
        [0.479, -0.231],
        [-0.379, -0.306],
        [-0.323, -0.363],
        [-0.242, -0.387],
        [-0.155, -0.380],
        [-0.078, -0.344],
        [0.078, -0.344],
        [0.155, -0.380],
        [0.242, -0.387],
        [0.323, -0.363],
        [0.379, -0.306],
        [0.000, -0.231],
        [0.000, -0.148],
        [0.000, -0.066],
        [0.000, 0.018],
        [-0.091, 0.081],
        [-0.048, 0.098],
        [0.000, 0.111],
        [0.048, 0.098],
        [0.091, 0.081],
        [-0.284, -0.215],
        [-0.233, -0.238],
        [-0.175, -0.236],
        [-0.122, -0.202],
        [-0.179, -0.189],
        [-0.237, -0.191],
        [0.122, -0.202],
        [0.175, -0.236],
        [0.233, -0.238],
        [0.284, -0.215],
        [0.237, -0.191],
        [0.179, -0.189],
        [-0.170, 0.263],
        [-0.108, 0.220],
        [-0.046, 0.197],
        [0.000, 0.209],
        [0.046, 0.197],
        [0.108, 0.220],
        [0.170, 0.263],
        [0.110, 0.318],
        [0.050, 0.342],
        [0.000, 0.346],
        [-0.050, 0.342],
        [-0.110, 0.318],
        [-0.142, 0.262],
        [-0.046, 0.244],
        [0.000, 0.248],
        [0.046, 0.244],
        [0.142, 0.262],
        [0.047, 0.276],
        [0.000, 0.281],
        [-0.047, 0.276],
    ]
)
"""(68, 2) landmarks in a box from -0.5 to 0.5, y down: the mean of what the predictor finds in the
detector's boxes of faces that look ahead, renders of the open face model, made symmetric
(`python -m benchmarks.upright_face`)."""


@dataclass(frozen=True)
class Place:
    """A square about a face, turned with the head; all positions are pixel indices.

    Raises:
        ValueError: a number that is not finite, or a side that is not positive.
    """

    middle: np.ndarray
    """(2,)"""
    side: float
    """In pixels."""
    tilt_deg: float
    """By how much the head is tilted clockwise in the image."""

    def __post_init__(self) -> None:
        """Refuse what is no place."""
        _check_finite("place", np.array([*self.middle, self.side, self.tilt_deg]))
        if self.side <= 0:
            raise ValueError(f"a face's place must have a side above 0, not {self.side}")

    @classmethod
    def of_box(cls, box: np.ndarray, tilt_deg: float = 0.0) -> Place:
        """About the middle of an upright box (4,): left, top, right, bottom, all finite."""
        _check_finite("box", box)
        side = float(max(box[2] - box[0], box[3] - box[1], 1.0))
        return cls((box[:2] + box[2:]) / 2, side, tilt_deg)

    @classmethod
    def of_points(cls, points: np.ndarray) -> Place:
        """Where the upright face comes nearest to its finite points (5 | 68, 2), by least squares.

        With points as complex numbers, p = a q + b is a similarity; of centred ones
        a = sum(conj(q) p) / sum(|q|^2).
        """
        _check_finite("points", points)
        upright = UPRIGHT_FACE if len(points) == 68 else five_from_68(UPRIGHT_FACE)
        given, face = (shape[:, 0] + 1j * shape[:, 1] for shape in (points, upright))
        centred = face - face.mean()
        turn = (centred.conj() @ (given - given.mean())) / (abs(centred) ** 2).sum()
        middle = given.mean() - turn * face.mean()
        tilt_deg = float(np.degrees(np.angle(turn)))
        return cls(np.array([middle.real, middle.imag]), max(float(abs(turn)), 1.0), tilt_deg)


def _check_finite(what: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        wrong = values[~np.isfinite(values)][0]
        raise ValueError(f"a face's {what} must be finite, and holds {wrong}")


@dataclass(frozen=True)
class Start:
    """Where a look starts from, beside the place it is asked for."""

    zoom: float
    """Side of the box over the place's."""
    mirrored: bool
    """Whether the mirror image is looked at."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Over the place's side, to the face's right in the image and down."""


def starts(zooms: Sequence[float], shifts: Sequence[float] = (0.0,)) -> list[Start]:
    """All combinations of sizes and of shifts in both directions, each mirrored too."""
    return [
        Start(zoom, mirrored, (x, y))
        for x in shifts
        for y in shifts
        for zoom in zooms
        for mirrored in (False, True)
    ]


class UprightPicture:
    """A face turned upright, at the size that the predictor is asked at."""

    def __init__(self, image: np.ndarray, place: Place) -> None:
        """Cut it out of an image; black beyond its edges.

        Args:
            image: (H, W, 3) uint8, at least one pixel.
            place: anywhere, also beyond the image.

        Raises:
            ValueError: an image of another shape or kind.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"no (H, W, 3) uint8 image: {image.shape} {image.dtype}")
        self._place = place
        # Odd, so that its middle is a pixel's, and boxes about it are rounded alike on both sides.
        self._size = 2 * round(REACH * FACE_PX) + 1
        self._unit = place.side / FACE_PX  # pixels of the image in one of the picture
        reach = 2**0.5 * REACH * place.side + 2
        # Of what lies within the image only, at least one pixel: Pillow would convert all of it.
        last = np.array(image.shape[1::-1]) - 1
        low = np.clip(np.floor(place.middle - reach), 0, last).astype(int)
        high = np.clip(np.ceil(place.middle + reach), low, last).astype(int)
        part = Image.fromarray(image[low[1] : high[1] + 1, low[0] : high[0] + 1])
        part = part.convert("L", _BRIGHTNESS)
        # Faces of two pixels of the image in one of the picture and more are averaged first, since
        # what follows interpolates between four pixels. Between one and two it leaves some out,
        # which landmarks do not show.
        factor = int(np.clip(self._unit, 1, max(part.size)))
        if factor > 1:
            part = part.reduce(factor)
        (a, b), (c, d) = self._axes() / factor
        x, y = (self._from_picture(np.zeros(2)) + 0.5 - low) / factor
        upright = part.transform(
            (self._size, self._size),
            Image.Transform.AFFINE,
            (a, b, x, c, d, y),
            Image.Resampling.BILINEAR,
        )
        self._pixels = np.asarray(upright)
        self._mirror_image = np.ascontiguousarray(self._pixels[:, ::-1])

    def look(self, predictor: Any, start: Start) -> np.ndarray:
        """Landmarks (68, 2) in pixel indices of the image, predicted from a start."""
        import dlib

        x, y = self._size / 2 + FACE_PX * np.array(start.shift)
        if start.mirrored:
            x = self._size - x
        half = FACE_PX * start.zoom / 2
        edges = [round(v - 0.5) for v in (x - half, y - half, x + half, y + half)]
        rectangle = dlib.rectangle(*edges)  # pyright: ignore[reportAttributeAccessIssue]
        shape = predictor(self._mirror_image if start.mirrored else self._pixels, rectangle)
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64) + 0.5
        if start.mirrored:
            points = (points * (-1, 1) + (self._size, 0))[MIRROR_ORDER]
        return self._from_picture(points)

    def _axes(self) -> np.ndarray:
        """(2, 2) from the picture's directions to the image's."""
        turn = np.radians(self._place.tilt_deg)
        return self._unit * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def _from_picture(self, points: np.ndarray) -> np.ndarray:
        """Pixel indices (..., 2) of the image, of continuous pixels of the picture."""
        return (points - self._size / 2) @ self._axes().T + self._place.middle


def disagreement(looks: np.ndarray) -> float:
    """Mean distance between two of at least two looks (N, 68, 2), over that of the eye corners."""
    return float(_distances(looks).sum() / (len(looks) * (len(looks) - 1)))


def consensus(looks: np.ndarray) -> np.ndarray:
    """Landmarks (68, 2) about which looks (N, 68, 2) are densest: a mode, not a mean.

    From the look that has most others nearby the weighted mean of those nearby is taken, and once
    more from there (mean shift).

    Args:
        looks: at least one, finite.
    """
    weights = np.exp(-((_distances(looks) / CONSENSUS) ** 2))
    weights = weights[weights.sum(axis=1).argmax()]
    found = np.average(looks, axis=0, weights=weights)
    weights = np.exp(-((_distances(looks, found[None])[:, 0] / CONSENSUS) ** 2))
    return np.average(looks, axis=0, weights=weights)


def _distances(looks: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """(N, M) mean distances of landmarks, over the usual one of the outer eye corners."""
    others = looks if others is None else others
    unit = np.median(np.linalg.norm(looks[:, 36] - looks[:, 45], axis=1))
    apart = np.linalg.norm(looks[:, None] - others[None], axis=3).mean(axis=2)
    return apart / max(float(unit), 1e-9)
