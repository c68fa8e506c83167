"""Put a face into the network's 224 x 224 crop by scale and shift, without rotation.

The five landmarks are matched with five points of the 3D face under scaled orthographic
projection (POS); the photo is then scaled so that the face has a fixed size and cropped around
it. Numbers are those of the public code, including its truncations to whole pixels; only the order
of work differs: the crop is taken before resizing, so that a large photo costs no more than a
small one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data.landmarks import five_points
from options.face_options import CROP_PX
from util.errors import InputError

FACE_SCALE_PX = 102.0
"""Pixels of the crop for one decimetre of the 3D face in the plane of the image."""


def pos(points: np.ndarray, standard_points: np.ndarray) -> tuple[float, np.ndarray]:
    """Scaled orthographic pose from point pairs, by least squares.

    With `x` the image point and `X` the 3D point, solves `x_i ~ P [X_i, 1]` for the (2, 4) matrix
    P: as many unknowns as the 2n x 8 system of the public code, which falls apart into one n x 4
    system for each image axis. The scale is the mean length of the two rows of P's left part
    (a scaled rotation's first two rows), the translation is P's last column.

    Args:
        points: (n, 2) image points, y up.
        standard_points: (n, 3) 3D points, not in one plane.

    Returns:
        scale in pixels per unit of the 3D points; translation (2,) in pixels, y up.

    Raises:
        ValueError: the points are degenerate: coincident, in one line, or not finite.
    """
    design = np.concatenate([standard_points, np.ones((len(points), 1))], axis=1)
    if not np.isfinite(points).all():
        raise ValueError("landmarks must be finite")
    solution = np.linalg.lstsq(design.astype(np.float64), points.astype(np.float64), rcond=None)[0]
    lengths = np.linalg.norm(solution[:3], axis=0)
    if lengths.min() < 0.02 * lengths.max() or lengths.max() < 1e-6:
        raise ValueError("landmarks coincide or lie in one line")
    return float(lengths.mean()), solution[3]


@dataclass(frozen=True)
class Alignment:
    """How a photo became a crop: resize to `resized_size`, cut a square at (left, top).

    The matrices act on continuous pixels (centre of pixel i at i + 0.5), y down.
    """

    photo_size: tuple[int, int]
    """Width and height of the photo."""
    scale: float
    """Pixels of the crop for one pixel of the photo, before truncation."""
    translation_px: tuple[float, float]
    """Image of the 3D origin in the photo: pixel indices, y up (row = height - 1 - y)."""
    resized_size: tuple[int, int]
    """Width and height of the whole photo after resizing, truncated."""
    left: int
    """First column of the crop in the resized photo; may be negative."""
    top: int
    """First row of the crop in the resized photo; may be negative."""
    crop_px: int = CROP_PX
    """Side of the crop."""

    @classmethod
    def from_landmarks(
        cls,
        landmarks: np.ndarray,
        photo_size: tuple[int, int],
        standard_points: np.ndarray,
        *,
        crop_px: int = CROP_PX,
        face_scale_px: float = FACE_SCALE_PX,
    ) -> Alignment:
        """Choose scale and position from landmarks.

        Args:
            landmarks: (5 | 68, 2) pixel indices of the photo, y down.
            photo_size: width and height.
            standard_points: (5, 3) points of the 3D face in decimetres: eye centres, nose tip,
                mouth corners.
            crop_px: side of the crop.
            face_scale_px: pixels of the crop for one decimetre.

        Raises:
            InputError: degenerate landmarks, or ones that put the crop outside of the photo.
        """
        width, height = photo_size
        # The public code keeps landmarks in single precision; so do the truncations below.
        points = five_points(np.asarray(landmarks, dtype=np.float32)).astype(np.float64)
        points = np.stack([points[:, 0], height - 1 - points[:, 1]], axis=1)
        try:
            face_scale, translation = pos(points, standard_points)
        except ValueError as error:
            raise InputError(f"{error}; a face cannot be aligned with them") from error
        scale = face_scale_px / face_scale
        resized = (int(width * scale), int(height * scale))
        # int() truncates towards zero, as in the public code; its weights have learned it.
        shift_x = (translation[0] - width / 2) * scale
        shift_y = (height / 2 - translation[1]) * scale
        left = int(resized[0] / 2 - crop_px / 2 + shift_x)
        top = int(resized[1] / 2 - crop_px / 2 + shift_y)
        inside_x = -crop_px < left < resized[0]
        inside_y = -crop_px < top < resized[1]
        if min(resized) < 1 or not (inside_x and inside_y):
            raise InputError(
                f"the landmarks put the face outside of the photo of {width} x {height} pixels; "
                "correct them or delete their file to have them detected"
            )
        return cls(
            photo_size=photo_size,
            scale=scale,
            translation_px=(float(translation[0]), float(translation[1])),
            resized_size=resized,
            left=left,
            top=top,
            crop_px=crop_px,
        )

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) photo px -> crop px, exactly as the image content moves."""
        x_scale = self.resized_size[0] / self.photo_size[0]
        y_scale = self.resized_size[1] / self.photo_size[1]
        return np.array([[x_scale, 0.0, -self.left], [0.0, y_scale, -self.top]])

    @property
    def inverse_matrix(self) -> np.ndarray:
        """(2, 3) crop px -> photo px, the inverse of `matrix`."""
        x_scale = self.photo_size[0] / self.resized_size[0]
        y_scale = self.photo_size[1] / self.resized_size[1]
        return np.array([[x_scale, 0.0, self.left * x_scale], [0.0, y_scale, self.top * y_scale]])

    @property
    def public_parameters(self) -> np.ndarray:
        """(5,) the public code's `trans_params`: photo width and height, scale, translation."""
        return np.array([*self.photo_size, self.scale, *self.translation_px])

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop of a photo or mask: (H, W) or (H, W, 3) uint8 -> (crop, crop[, 3]) uint8.

        Bicubic with antialiasing; black outside of the photo. Equal to resizing the whole photo
        and cropping then, but for one grey level in a few pixels that lie on the edge of rounding.
        """
        width, height = self.photo_size
        if image.shape[:2] != (height, width):
            raise ValueError(f"image is {image.shape}, the alignment is for {height} x {width}")
        x = _Window.of(self.left, self.crop_px, self.resized_size[0], width)
        y = _Window.of(self.top, self.crop_px, self.resized_size[1], height)
        region = image[y.source_start : y.source_stop, x.source_start : x.source_stop]
        rows, columns = y.stop - y.start, x.stop - x.start
        # One axis at a time: the order, which decides roundings, differs between Pillow versions.
        resized = Image.fromarray(region).resize(
            (columns, len(region)),
            Image.Resampling.BICUBIC,
            box=(x.box_start, 0, x.box_stop, len(region)),
        )
        resized = resized.resize(
            (columns, rows), Image.Resampling.BICUBIC, box=(0, y.box_start, columns, y.box_stop)
        )
        crop = np.zeros((self.crop_px, self.crop_px, *image.shape[2:]), dtype=np.uint8)
        from_rows, to_rows = y.overlap(self.top, self.crop_px)
        from_columns, to_columns = x.overlap(self.left, self.crop_px)
        crop[to_rows, to_columns] = np.asarray(resized)[from_rows, from_columns]
        return crop

    def crop_landmarks(self, landmarks: np.ndarray, *, exact: bool = False) -> np.ndarray:
        """Landmarks of the photo in the crop: (..., 2) pixel indices to pixel indices, y down.

        The public rule leaves out the truncations of the image's own way, so that points and
        image differ by up to one pixel; the published weights have learned with it. `exact` moves
        the points as the image content moves.
        """
        if exact:
            return (landmarks + 0.5) @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5
        size = np.array(self.photo_size)
        y_up = np.stack([landmarks[..., 0], size[1] - 1 - landmarks[..., 1]], axis=-1)
        middle = (np.array(self.resized_size) - self.crop_px) / 2
        moved = (y_up - np.array(self.translation_px) + size / 2) * self.scale - middle
        return np.stack([moved[..., 0], self.crop_px - 1 - moved[..., 1]], axis=-1)


@dataclass(frozen=True)
class AlignedFace:
    """A face in the network's crop."""

    image: np.ndarray
    """(224, 224, 3) uint8 RGB."""
    landmarks: np.ndarray | None
    """(68, 2) float64 pixel indices of the crop, y down; None where only five were given."""
    mask: np.ndarray | None
    """(224, 224) uint8 skin mask; None where none was given."""
    alignment: Alignment


def align_face(
    image: np.ndarray,
    landmarks: np.ndarray,
    standard_points: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    exact_landmarks: bool = False,
) -> AlignedFace:
    """Crop a face as the R-Net expects it.

    Args:
        image: (H, W, 3) uint8 photo.
        landmarks: (5 | 68, 2) pixel indices, y down.
        standard_points: (5, 3) `alignment_points` of the face model, decimetres.
        mask: (H, W) uint8 skin mask of the photo.
        exact_landmarks: move landmarks as the image moves, not by the public rule
            (`Alignment.crop_landmarks`).

    Raises:
        InputError: landmarks that no face can have; mask of another size.
    """
    height, width = image.shape[:2]
    if mask is not None and mask.shape != (height, width):
        raise InputError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}; "
            "prepare the folder again with --overwrite"
        )
    alignment = Alignment.from_landmarks(landmarks, (width, height), standard_points)
    return AlignedFace(
        image=alignment.cut(image),
        landmarks=(
            alignment.crop_landmarks(landmarks, exact=exact_landmarks)
            if len(landmarks) == 68
            else None
        ),
        mask=None if mask is None else alignment.cut(mask),
        alignment=alignment,
    )


@dataclass(frozen=True)
class _Window:
    """One axis of the crop: what part of the resized photo to compute, and from what."""

    start: int
    """First pixel to compute, in the resized photo."""
    stop: int
    source_start: int
    """First pixel of the photo that the filter can reach."""
    source_stop: int
    box_start: float
    """Where `start` begins, in pixels from `source_start`."""
    box_stop: float

    @classmethod
    def of(cls, first: int, length: int, resized: int, source: int) -> _Window:
        """The window for the crop [first, first + length) of a photo resized from `source`."""
        start, stop = max(first, 0), min(first + length, resized)
        # Pillow takes the box in single precision. Where the ratio is a simple fraction, many
        # pixels lie on the edge of rounding: there, widen the window to ends that are whole.
        period = resized // math.gcd(resized, source)
        if period <= 64:
            start = start // period * period
            stop = min(-(-stop // period) * period, resized)
        # A cubic filter reaches two pixels of the coarser grid to each side.
        reach = math.ceil(2 * max(source / resized, 1.0)) + 2
        source_start = max(start * source // resized - reach, 0)
        source_stop = min(-(-stop * source // resized) + reach, source)
        return cls(
            start=start,
            stop=stop,
            source_start=source_start,
            source_stop=source_stop,
            box_start=start * source / resized - source_start,
            box_stop=stop * source / resized - source_start,
        )

    def overlap(self, first: int, length: int) -> tuple[slice, slice]:
        """Where the computed pixels that the crop shows lie in the window and in the crop."""
        low, high = max(first, self.start), min(first + length, self.stop)
        return slice(low - self.start, high - self.start), slice(low - first, high - first)
