"""Rows and pictures of AFLW2000-3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.aflw2000 import Aflw2000, to_crop
from data.images import write_image
from models.landmark_scores import (
    BIN_NAMES,
    BinnedError,
    PoseError,
    box_sizes_px,
    outer_eye_px,
    point_errors_px,
    worst,
)
from util.atomic import write_text
from util.evaluation.aflw2000_predictions import Predictions
from util.evaluation.tables import Column

LABELS = ("original", "reannotated")
NORMALISERS = ("box", "outer_eye")
FIRST, WORST = 50, 20
"""Pictures of the first and of the worst images."""
_ZOOM = 4
_GIVEN, _PREDICTED = (64, 128, 255), (255, 48, 48)


@dataclass(frozen=True)
class LandmarkRow:
    """Landmarks of one method against one set of labels, in percent of one length."""

    method: str
    data: str
    """Fingerprint of the labels' files."""
    images: int
    labels: str
    normaliser: str
    nme_0_30: float
    nme_30_60: float
    nme_60_90: float
    balanced: float
    std: float
    all: float


@dataclass(frozen=True)
class PoseRow:
    """Angles of one method by one formula, in degrees."""

    method: str
    data: str
    """Fingerprint of the labels' files."""
    images: int
    """That are compared."""
    excluded: int
    """That the custom leaves out: an angle beyond 99 degrees."""
    yaw_formula: str
    """`exact`, or `public`: that of SynergyNet's code."""
    yaw: float
    pitch: float
    roll: float
    mean: float


def image_errors(data: Aflw2000, predictions: Predictions) -> dict[tuple[str, str], np.ndarray]:
    """Errors (N,) in percent, by labels and normaliser.

    The outer-eye distance is that of the original labels, which alone have a depth.
    """
    errors = {}
    for labels in LABELS:
        points = data.labels(labels)
        distances = point_errors_px(predictions.landmarks, points)
        lengths = {"box": box_sizes_px(points), "outer_eye": outer_eye_px(data.original)}
        for normaliser in NORMALISERS:
            errors[labels, normaliser] = 100 * distances / lengths[normaliser]
    return errors


def landmark_rows(data: Aflw2000, predictions: Predictions) -> list[LandmarkRow]:
    """The rows of a method."""
    rows = []
    for (labels, normaliser), errors in image_errors(data, predictions).items():
        binned = BinnedError.of(errors, data.yaw_deg)
        rows.append(
            LandmarkRow(
                predictions.method,
                data.fingerprint,
                len(data),
                labels,
                normaliser,
                *binned.bins,
                binned.balanced,
                binned.spread,
                binned.overall,
            )
        )
    return rows


def pose_rows(data: Aflw2000, predictions: Predictions) -> list[PoseRow]:
    """The rows of a method; none where the benchmark or the method has no angles."""
    if data.angles_deg is None:
        return []
    rows = []
    formulas = {"exact": predictions.angles_deg, "public": predictions.public_angles_deg}
    for formula, angles in formulas.items():
        if angles is None:
            continue
        error = PoseError.of(angles[data.kept], data.angles_deg)
        rows.append(
            PoseRow(
                predictions.method,
                data.fingerprint,
                len(data.kept),
                data.excluded,
                formula,
                error.yaw,
                error.pitch,
                error.roll,
                error.mean,
            )
        )
    return rows


def landmark_columns(counts: Sequence[int]) -> list[Column]:
    """What people read of the rows, with the images of the bins in the header."""
    bins = zip(BIN_NAMES, ("nme_0_30", "nme_30_60", "nme_60_90"), counts, strict=True)
    return [
        *(Column(name, name) for name in ("method", "labels", "normaliser")),
        *(Column(f"{name} ({count})", field) for name, field, count in bins),
        *(Column(name, name) for name in ("balanced", "std", "all")),
    ]


POSE_COLUMNS = (
    Column("method", "method"),
    Column("yaw formula", "yaw_formula"),
    *(Column(name, name) for name in ("yaw", "pitch", "roll", "mean")),
)


def write_image_errors(path: Path, data: Aflw2000, predictions: Predictions) -> None:
    """A .csv with a line for each image."""
    errors = image_errors(data, predictions)
    columns = [f"nme_{labels}_{normaliser}" for labels, normaliser in errors]
    lines = [",".join(["image", "yaw_deg", *columns])]
    table = np.stack(list(errors.values()), axis=1)
    for image, yaw, row in zip(data.images, data.yaw_deg, table, strict=True):
        lines.append(",".join([f'"{image.name}"', f"{yaw:.2f}", *(f"{v:.4f}" for v in row)]))
    write_text(path, "\n".join(lines) + "\n")


def draw_pictures(folder: Path, data: Aflw2000, predictions: Predictions) -> None:
    """The first 50 crops and the 20 worst, labels in blue under predictions in red.

    `first/00.jpg` .. and `worst/00_<image>.jpg` .., by the original labels and their box.
    """
    errors = image_errors(data, predictions)["original", "box"]
    given = to_crop(data.original, data.boxes)
    predicted = to_crop(predictions.landmarks, data.boxes)

    def draw(number: int, path: Path) -> None:
        crop = Image.fromarray(data.read_crop(number))
        size = (crop.width * _ZOOM, crop.height * _ZOOM)
        picture = np.array(crop.resize(size, Image.Resampling.BICUBIC))
        for points, colour in ((given[number], _GIVEN), (predicted[number], _PREDICTED)):
            # The centre of pixel 1 of a crop lies half a pixel from its edge.
            _dots(picture, (points - 0.5) * _ZOOM, colour)
        write_image(path, picture)

    for number in range(min(FIRST, len(data))):
        draw(number, folder / "first" / f"{number:02d}.jpg")
    for place, number in enumerate(worst(errors, WORST)):
        stem = data.images[number].stem
        draw(number, folder / "worst" / f"{place:02d}_{stem}_{errors[number]:.1f}.jpg")


def _dots(picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw squares of 3 px side at continuous pixels (P, 2); those outside are left out."""
    height, width = picture.shape[:2]
    for x, y in np.floor(points).astype(int):
        if 0 <= x < width and 0 <= y < height:
            picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = colour
