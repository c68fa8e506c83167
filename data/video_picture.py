"""Turn decoded video frames into upright RGB pictures with square pixels."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

_YUV_709, _YUV_UNKNOWN, _FULL_RANGE = 1, 2, 2
"""As ISO/IEC 23091-2 numbers them: MatrixCoefficients of BT.709 and unspecified; full range as
libavutil does."""
_COLOUR_SPACES = {_YUV_709: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""MatrixCoefficients -> libswscale's number of the conversion (5 is BT.601)."""
_ITU601, _ITU709 = 5, 1
_LARGEST_SD = (1279, 576)
"""Pictures without a tag are BT.601 up to this width and height and BT.709 above, as players take
them."""
_SCALER_THREADS: dict = {"threads": 2} if int(av.__version__.split(".")[0]) >= 18 else {}
"""PyAV 18 would start one for each core of the machine; older ones do not take a number."""
_ODDEST_PIXEL = 8
"""Pixels longer than this many of their widths are a broken header, not a format."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a camera may have been held, as what undoes it.

    Rows and columns are exchanged first, then reversed.
    """

    exchange: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False

    @classmethod
    def of(cls, matrix: np.ndarray) -> Orientation:
        """The nearest one to a display matrix.

        Args:
            matrix: (9,) integers as containers store it (ISO/IEC 14496-12, 6.2.2): a pixel at
                column x and row y is shown at column m0 x + m3 y and row m1 x + m4 y, up to a
                shift.
        """
        along, across = matrix[[0, 4]], matrix[[3, 1]]
        exchange = bool(np.abs(across).sum() > np.abs(along).sum())
        column_sign, row_sign = across if exchange else along
        return cls(exchange, bool(row_sign < 0), bool(column_sign < 0))

    @property
    def rotation_deg(self) -> int:
        """Counter-clockwise turn of the shown picture against the stored one, mirroring aside."""
        turns = {(False, False): 0, (False, True): 180, (True, True): 90, (True, False): 270}
        return turns[self.exchange, self.reverse_rows]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Show a stored picture upright: (H, W, ...) -> (H, W, ...) or (W, H, ...), contiguous."""
        if self.exchange:
            image = image.swapaxes(0, 1)
        if self.reverse_rows:
            image = image[::-1]
        if self.reverse_columns:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)


@dataclass(frozen=True)
class PictureForm:
    """What the frames of a stream become: all of one size, whatever each is stored as."""

    width: int
    """Of the stored picture with square pixels, before it is turned upright."""
    height: int
    orientation: Orientation = Orientation()

    @classmethod
    def of(cls, frame: av.VideoFrame, pixel_ratio: Fraction | None) -> PictureForm:
        """As the first frame of a stream asks for.

        Args:
            frame: it carries the size and the display matrix.
            pixel_ratio: width of a stored pixel by its height; None or 0 if unknown.
        """
        width, height = frame.width, frame.height
        ratio = pixel_ratio or Fraction(1)
        # Only ever enlarged, so that no detail is lost.
        if 1 < ratio <= _ODDEST_PIXEL:
            width = round(width * ratio)
        elif 1 > ratio >= Fraction(1, _ODDEST_PIXEL):
            height = round(height / ratio)
        return cls(width, height, _orientation(frame))

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        if self.orientation.exchange:
            return self.height, self.width
        return self.width, self.height


class PictureConverter:
    """Converts the frames of one stream; keeps the tables that this needs from frame to frame."""

    def __init__(self, form: PictureForm) -> None:
        self._form = form
        self._reformatter = VideoReformatter()

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a frame by its own colour tags.

        Returns:
            (H, W, 3) uint8 RGB of full range. Transfer functions are left as they are: high
            dynamic range looks pale.

        Raises:
            av.error.FFmpegError: the frame cannot be converted.
        """
        converted = self._reformatter.reformat(
            frame,
            width=self._form.width,
            height=self._form.height,
            format="rgb24",
            interpolation=Interpolation.BICUBIC,
            **_colours(frame),
            **_SCALER_THREADS,
        )
        return self._form.orientation.apply(converted.to_ndarray())


def _colours(frame: av.VideoFrame) -> dict[str, int]:
    """How the conversion takes a frame's colours."""
    if frame.format.is_rgb:
        return {"dst_color_range": ColorRange.JPEG}
    tag = frame.colorspace
    if tag == _YUV_UNKNOWN:
        small = frame.width <= _LARGEST_SD[0] and frame.height <= _LARGEST_SD[1]
        space = _ITU601 if small else _ITU709
    else:
        space = _COLOUR_SPACES.get(tag, _ITU601)
    # The old `yuvj` formats are full by their name.
    full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return {
        "src_colorspace": space,
        # RGB has none; but PyAV before 17 looks at the others only where this one differs.
        "dst_colorspace": _ITU601 if space == _ITU709 else _ITU709,
        "src_color_range": ColorRange.JPEG if full else ColorRange.MPEG,
        "dst_color_range": ColorRange.JPEG,
    }


def _orientation(frame: av.VideoFrame) -> Orientation:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return Orientation() if matrix is None else Orientation.of(np.frombuffer(matrix, np.int32))
