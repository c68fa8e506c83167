"""Landmark files: 5 or 68 points of one face as text, checked before anything uses them.

Files hold one point a line, column then row, as pixel indices: the centre of the pixel in column
i is i, rows count from the top. The five points are the eye centres, the nose tip and the mouth
corners, the one on the image's left first of each pair; the 68 points are in iBUG order.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from util.atomic import write_text
from util.errors import InputError
from util.text import decode_text

MIRROR_ORDER = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)
"""`points[MIRROR_ORDER]` puts the 68 points of a mirrored face back into iBUG order."""

_FIVE_POINTS = "left eye, right eye, nose tip, left and right mouth corner, as seen in the image"
_MAX_FILE_BYTES = 100_000
_MIN_EXTENT_PX = 5.0


def read_landmarks(path: Path | str) -> np.ndarray:
    """Read a landmark file: two numbers a line, separated by spaces, tabs or a comma.

    Returns:
        (5, 2) or (68, 2) float64 pixel indices (column, row); not yet checked for sense.

    Raises:
        InputError: not readable as text, a line without exactly two numbers, another count.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"{path} is too long for a landmark file of 5 or 68 lines")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_landmarks(content, str(path))


def parse_landmarks(content: bytes, path: str) -> np.ndarray:
    """`read_landmarks` of a file's content, such as a member of an archive.

    Args:
        content: the whole file.
        path: what to call it in messages.
    """
    if len(content) > _MAX_FILE_BYTES:
        raise InputError(f"{path} is too long for a landmark file of 5 or 68 lines")
    try:
        text = decode_text(content)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; expected 5 or 68 lines `x y`") from error
    points = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = re.split(r"\s*[,;]\s*|\s+", line.strip())
        if fields == [""]:
            continue
        try:
            column, row = (float(field) for field in fields)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: {line.strip()[:60]!r} is not a point; "
                "each line must hold two numbers, x and y in pixels"
            ) from error
        points.append((column, row))
    if len(points) not in (5, 68):
        raise InputError(f"{path} holds {len(points)} points; expected 5 or 68")
    return np.array(points, dtype=np.float64)


def write_landmarks(path: Path | str, points: np.ndarray) -> None:
    """Write (N, 2) pixel indices atomically, one `x y` line a point, to 1/10000 pixel."""
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"landmarks for {path} must be finite and (N, 2), got {points.shape}")
    write_text(Path(path), "".join(f"{x:.4f} {y:.4f}\n" for x, y in points))


def five_from_68(points: np.ndarray) -> np.ndarray:
    """The five points of a 68-point face, in the picture or in space: (..., 68, D) -> (..., 5, D).

    Eye centres are the means of the eye's corners (37 and 40, 43 and 46), then nose tip 31 and
    mouth corners 49 and 55 (iBUG, counted from 1), as in the public code.
    """
    left_eye = (points[..., 36, :] + points[..., 39, :]) / 2
    right_eye = (points[..., 42, :] + points[..., 45, :]) / 2
    corners = (points[..., 30, :], points[..., 48, :], points[..., 54, :])
    return np.stack([left_eye, right_eye, *corners], axis=-2)


def five_points(points: np.ndarray) -> np.ndarray:
    """Five points, whether 5 or 68 are given: (5 | 68, 2) -> (5, 2)."""
    return five_from_68(points) if len(points) == 68 else points


def upright_landmarks(points: np.ndarray, image_height: int) -> np.ndarray:
    """Turn 68 points that count rows from below, as the landmark files of the public code do.

    Its `detections/` count from above, like ours, but the 68 points that its data preparation
    writes have y = height - 1 - row. They show: the mouth is above the eyes while left is left. Of
    a face that really is upside down the sides are swapped too, so that it is not mistaken.

    Args:
        points: (5, 2) or (68, 2) from a file of `landmarks/`.
        image_height: rows of the photo.
    """
    if len(points) != 68:
        return points
    left_eye, right_eye, _, left_mouth, right_mouth = five_from_68(points)
    mouth_above_eyes = (left_mouth + right_mouth - left_eye - right_eye)[1] < 0
    if not (mouth_above_eyes and left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]):
        return points
    return np.stack([points[:, 0], image_height - 1 - points[:, 1]], axis=1)


def check_landmarks(points: np.ndarray, image_shape: tuple[int, ...], source: str) -> None:
    """Refuse landmarks that cannot be those of one upright face in this image.

    Args:
        points: (5, 2) or (68, 2) pixel indices.
        image_shape: (height, width, ...) of the image they belong to.
        source: what to name in messages, usually the file.

    Raises:
        InputError: wrong count, not finite, no extent, far outside the image, wrong order,
            mirrored, upside down, or dlib's other five points.
    """
    if points.shape not in ((5, 2), (68, 2)):
        raise InputError(f"{source} holds {points.shape} numbers; expected 5 x 2 or 68 x 2")
    if not np.isfinite(points).all():
        line = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0]) + 1
        raise InputError(f"{source}: point {line} is {points[line - 1]}; all must be finite")
    extent = np.ptp(points, axis=0).max()
    if extent < _MIN_EXTENT_PX:
        raise InputError(
            f"{source}: the points span only {extent:.2g} pixels; "
            "they must be pixels of the image, not fractions of its size"
        )
    _check_position(points, image_shape, source)
    if len(points) == 5 and _is_dlib_layout(points):
        raise InputError(
            f"{source} looks like dlib's own five points (four eye corners and the base of the "
            f"nose), which have no mouth; needed are {_FIVE_POINTS}. Delete the file to have them "
            "detected"
        )
    if problem := _order_problem(five_points(points)):
        needed = _FIVE_POINTS if len(points) == 5 else "the 68 points in iBUG order"
        raise InputError(f"{source}: {problem}; needed are {needed}")


def _check_position(points: np.ndarray, image_shape: tuple[int, ...], source: str) -> None:
    height, width = image_shape[:2]
    # Medians, so that one stray point does not excuse itself.
    middle = np.median(points, axis=0)
    reach = 3 * np.median(np.linalg.norm(points - middle, axis=1))
    size = np.array([width, height])
    outside = np.maximum(-points, points - (size - 1)).max(axis=1)
    worst = int(outside.argmax())
    if outside[worst] > reach or (middle < 0).any() or (middle > size).any():
        x, y = points[worst]
        raise InputError(
            f"{source}: point {worst + 1} at ({x:.1f}, {y:.1f}) is far outside the image of "
            f"{width} x {height} pixels; do the points belong to another picture or size?"
        )


def _is_dlib_layout(points: np.ndarray) -> bool:
    """Whether points 1-4 lie along one line and point 5 well below its middle.

    dlib's `shape_predictor_5_face_landmarks` gives outer and inner corner of both eyes, then the
    base of the nose. In the layout needed here the fourth point is a mouth corner, never in line
    with eyes and nose.
    """
    corners = points[:4] - points[:4].mean(axis=0)
    _, spread, axes = np.linalg.svd(corners, full_matrices=False)
    along, across = axes
    nose = points[4] - points[:4].mean(axis=0)
    length = spread[0]
    return bool(
        spread[1] < 0.15 * length
        and abs(nose @ across) > 0.25 * length
        and abs(nose @ across) > abs(nose @ along)
    )


def _order_problem(five: np.ndarray) -> str | None:
    """What is wrong with the order of five points, or None.

    Judged in the face's own frame, whose axis runs from between the eyes to between the mouth
    corners, so that rolled, turned and nodding heads pass. Lengths are in units of that axis.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = five
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    down = mouth - eyes
    length = float(np.linalg.norm(down))
    widths = np.linalg.norm([right_eye - left_eye, right_mouth - left_mouth], axis=1)
    if length < 0.2 * widths.max():
        return "eyes and mouth are at the same height"
    if down[1] <= 0:
        return "the mouth is above the eyes; turn the picture upright or put the eyes first"
    down = down / length**2
    right = np.array([down[1], -down[0]])
    pairs = {"eyes": right_eye - left_eye, "mouth corners": right_mouth - left_mouth}
    for name, across in pairs.items():
        # In a full profile both of a pair may coincide, or cross a little.
        if across @ right < -0.2:
            return f"the {name} are swapped (mirrored order)"
    # The line of the eyes and that of the mouth are parallel, and so are their images; of short
    # ones, in a profile, the direction is uncertain.
    (eyes_x, eyes_y), (mouth_x, mouth_y) = pairs.values()
    sine = abs(eyes_x * mouth_y - eyes_y * mouth_x) / max(widths.prod(), 1e-9)
    if sine > 0.6 and widths.min() > 0.3 * length:
        return "eyes and mouth corners are not in line"
    if not -0.5 < (nose - eyes) @ down < 1.5:
        return "the nose tip, third point, is not between eyes and mouth"
    return None
