"""insightface's face detectors (SCRFD) from a local folder; dlib adds the 68 landmarks.

Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022. The
package insightface itself is not used: it needs a C++ compiler on many systems, brings OpenCV, and
downloads models by itself, while its detectors are one network and the decoding below.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.detection import DlibDetector, Face
from data.onnx_model import OnnxModel
from options.data_options import DetectionOptions
from util.errors import InputError

_PATTERNS = ("det_*.onnx", "scrfd_*.onnx")
_STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Detection:
    """A face as the network finds it; pixel indices, y down."""

    box: np.ndarray
    """(4,) left, top, right, bottom."""
    five: np.ndarray
    """(5, 2) eye centres, nose tip, mouth corners, image left first."""
    score: float
    """Confidence in [0, 1]."""


class InsightfaceDetector:
    """SCRFD finds faces and five points, dlib's predictor the 68 landmarks.

    Raises:
        InputError: no folder, or no detection model in it.
    """

    def __init__(self, options: DetectionOptions) -> None:
        self._finder = Scrfd(OnnxModel(find_detection_model(options.insightface_root)))
        self._finder.input_size()  # what cannot run should be said before the first photo
        self._predictor = DlibDetector(options)

    def detect(
        self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
    ) -> list[Face]:
        """The faces of an (H, W, 3) uint8 image, largest first; empty where none is found.

        Tilted heads are found in one search with the others, so that `tilted` changes nothing.
        """
        found = self._finder.detect(image)
        faces = sorted(found, key=lambda d: np.prod(d.box[2:] - d.box[:2]), reverse=True)
        return [
            Face(
                tuple(face.box.tolist()),  # pyright: ignore
                self.landmarks_from_five(image, face.five),
                face.score,
            )
            for face in (faces[:1] if largest_only else faces)
        ]

    def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        """The 68 landmarks (68, 2) of the face marked by five points (5, 2)."""
        return self._predictor.landmarks_from_five(image, five)


class Scrfd:
    """One of insightface's detection networks with five points, such as det_10g.onnx."""

    SIDE = 640
    """Size of the input where the network leaves it open, as insightface's."""
    MIN_SCORE = 0.5
    MAX_OVERLAP = 0.4
    """Intersection over union above which two boxes are one face."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model

    def detect(self, image: np.ndarray) -> list[Detection]:
        """All faces of an (H, W, 3) uint8 image, surest first.

        Where there is none a border is added, since faces that fill the image are missed.
        """
        found = self._search(image)
        if found:
            return found
        margin = min(image.shape[:2]) // 2
        bordered = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        return [Detection(d.box - margin, d.five - margin, d.score) for d in self._search(bordered)]

    def _search(self, image: np.ndarray) -> list[Detection]:
        height, width = self.input_size()
        zoom = min(height / image.shape[0], width / image.shape[1])
        size = np.maximum((np.array(image.shape[1::-1]) * zoom).astype(int), 1)
        # At the top left, the rest black; colours as in training.
        canvas = np.zeros((height, width, 3), dtype=np.float32)
        resized = Image.fromarray(image).resize(tuple(size.tolist()), Image.Resampling.BILINEAR)
        canvas[: size[1], : size[0]] = np.asarray(resized)
        blob = ((canvas - 127.5) / 128).transpose(2, 0, 1)[None]
        outputs = self.model.run(np.ascontiguousarray(blob, dtype=np.float32))
        ratio = size / image.shape[1::-1]

        boxes, points, scores = self._decode(outputs, height, width)
        kept = _suppress(boxes, scores, self.MAX_OVERLAP)
        return [
            Detection(boxes[k] / np.tile(ratio, 2), points[k] / ratio, float(scores[k]))
            for k in kept
        ]

    def input_size(self) -> tuple[int, int]:
        """Height and width that the network takes."""
        shape = self.model.input_shape
        if len(shape) != 4 or (shape[1] not in (3, None) and isinstance(shape[1], int)):
            raise self._other_network(f"its input is {shape}")
        height, width = (n if isinstance(n, int) and n > 0 else self.SIDE for n in shape[2:])
        return height, width

    def _decode(
        self, outputs: list[np.ndarray], height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (n, 4), points (n, 5, 2) and scores (n,) above the threshold, in input pixels.

        The network looks at every cell of grids of 8, 16, 32 (64, 128) pixels once or twice
        ("anchors") and says for each how sure it is of a face, how far the box's edges are from
        the cell's corner, and where the points are from there, in units of the grid.
        """
        boxes, points, scores = [], [], []
        for stride, anchors, level in self._levels(outputs, height, width):
            sure = level[1][:, 0] >= self.MIN_SCORE
            rows, columns = np.mgrid[: height // stride, : width // stride]
            corners = np.stack([columns, rows], axis=-1).reshape(-1, 2) * float(stride)
            corners = np.repeat(corners, anchors, axis=0)[sure]
            edges, offsets = level[4][sure] * stride, level[10][sure] * stride
            boxes.append(np.hstack([corners - edges[:, :2], corners + edges[:, 2:]]))
            points.append(corners[:, None] + offsets.reshape(-1, 5, 2))
            scores.append(level[1][sure, 0])
        return np.concatenate(boxes), np.concatenate(points), np.concatenate(scores)

    def _levels(
        self, outputs: list[np.ndarray], height: int, width: int
    ) -> Iterator[tuple[int, int, dict[int, np.ndarray]]]:
        """Stride, anchors a cell and outputs by their last size (1, 4, 10), finest grid first.

        Told apart by their sizes: their names and order differ between exports.
        """
        levels: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
        for output in outputs:
            if output.ndim not in (2, 3) or output.shape[-1] not in (1, 4, 10):
                raise self._other_network(f"one of its outputs is {output.shape}")
            flat = output.reshape(-1, output.shape[-1]).astype(np.float64)
            levels[len(flat)][output.shape[-1]] = flat
        strides = _STRIDES[: len(levels)]
        for stride, count in zip(strides, sorted(levels, reverse=True), strict=True):
            if 10 not in levels[count]:
                raise self._other_network("it finds boxes without the five points")
            cells = (height // stride) * (width // stride)
            if levels[count].keys() != {1, 4, 10} or count not in (cells, 2 * cells):
                raise self._other_network(f"{count} places where {cells} cells were expected")
            yield stride, count // cells, levels[count]

    def _other_network(self, reason: str) -> InputError:
        return InputError(
            f"{self.model.path}: not one of insightface's face detectors with five points "
            f"({reason}); give det_10g.onnx, det_500m.onnx or a scrfd_*_kps.onnx"
        )


def _suppress(boxes: np.ndarray, scores: np.ndarray, max_overlap: float) -> list[int]:
    """Indices of the boxes that stay, surest first: non-maximum suppression.

    Sizes count pixels (+1), as insightface's do.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
        left = rest[shared / (areas[best] + areas[rest] - shared) <= max_overlap]
    return kept


def find_detection_model(root: str | None) -> Path:
    """The detection model in a folder of insightface's; the largest file of several.

    Args:
        root: a folder as `~/.insightface`, its `models`, one pack such as `buffalo_l`, or a file.

    Raises:
        InputError: no folder is given, or it holds none; nothing is downloaded.
    """
    belongs = (
        "the pack buffalo_l, published by the insightface project, holds det_10g.onnx, which "
        "belongs into"
    )
    if not root:
        raise InputError(
            f"--detector insightface needs --insightface_root, a folder of its models; {belongs} "
            "<folder>/models/buffalo_l; nothing is downloaded"
        )
    folder = Path(root).expanduser()
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"--insightface_root {root}: no such folder; {belongs} it")
    found = {
        path
        for place in (".", "*", "models/*")
        for pattern in _PATTERNS
        for path in folder.glob(f"{place}/{pattern}" if place != "." else pattern)
        if path.is_file()
    }
    if not found:
        raise InputError(
            f"--insightface_root {root}: holds no detection model ({' or '.join(_PATTERNS)}), "
            f"neither itself nor in models/<pack>; {belongs} {folder / 'models' / 'buffalo_l'}"
        )
    return max(sorted(found), key=lambda path: path.stat().st_size)
