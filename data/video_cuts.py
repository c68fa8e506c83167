"""Find the cuts of a video while it is read: where one frame shows another scene than the last.

Two small views are compared: how far the luminance agrees in its best shifted position, which
neither brightness nor a moving camera changes much, and the distributions of luminance and colour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from data.video import VideoFrame

_WIDTH = 64
"""Of the pictures that are compared."""
_BINS = 32
_COLOUR_WEIGHT = 3.0
"""Of the distributions beside the agreement. On 136 pairs of different photos the difference is
then 0.36 and more; on photos that are moved by an eighth of their width at most 0.27."""
_DIFFERENT = 0.3
"""Least difference of two scenes."""
_ABOVE_USUAL = 2.0
"""How many times the usual difference of neighbours is added to that: where everything moves, more
is needed."""
_USUAL_FRAMES = 24
"""Neighbouring differences whose median is the usual one."""
_SAME = 0.2
"""Most difference of frames of one scene that are a few frames apart, where nothing moves; with
each frame the usual difference is added, up to _DIFFERENT."""
_FLASH_FRAMES = 6
"""A flash, or somebody who passes the camera, is gone after so many frames; also the shortest
scene."""
_LARGEST_SHIFT = (12, 12)
"""Rows and columns, in the small picture, by which scenes are shifted to agree."""
_NOISE_LEVELS = 3.0
"""Grey levels that are nothing in an even picture."""


@dataclass(frozen=True)
class SmallView:
    """What is kept of a frame to compare it with others."""

    luminance: np.ndarray
    """(h, 64) float32, 0 to 255, less its mean."""
    distributions: np.ndarray
    """(3, 32) float32: share of pixels up to a level of luminance, of red and of blue above it."""

    @classmethod
    def of(cls, image: np.ndarray) -> SmallView:
        """Reduce a picture: (H, W, 3) uint8 RGB."""
        height, width = image.shape[:2]
        size = _WIDTH, max(round(height * _WIDTH / width), 1)
        # By whole pixels first, which is many times as fast.
        whole = max(min(width // size[0], height // size[1]), 1)
        small = Image.fromarray(image).reduce(whole).resize(size, Image.Resampling.BOX)
        red, green, blue = np.moveaxis(np.asarray(small, np.float32), 2, 0)
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        planes = np.stack([luminance, (red - luminance + 255) / 2, (blue - luminance + 255) / 2])
        bins = np.clip(planes * (_BINS / 256), 0, _BINS - 1).astype(np.int64)
        counts = [np.bincount(plane.ravel(), minlength=_BINS) for plane in bins]
        shares = np.cumsum(counts, axis=1) / luminance.size
        return cls(luminance - luminance.mean(), shares.astype(np.float32))


def difference(a: SmallView, b: SmallView) -> float:
    """How much two frames differ: 0 for equal ones, about 0.3 to 2 for different scenes.

    The first part is one less the correlation of the luminances at the shift where they agree best;
    the second is the mean distance of the distributions (their first Wasserstein distance), which
    alone tells even pictures apart.
    """
    noise = _NOISE_LEVELS**2 * a.luminance.size
    energy = float(np.sqrt((a.luminance**2).sum() * (b.luminance**2).sum()))
    agreement = (_best_product(a.luminance, b.luminance) + noise) / (energy + noise)
    colour = float(np.abs(a.distributions - b.distributions).mean())
    return 1 - agreement + _COLOUR_WEIGHT * colour


class CutFinder:
    """Takes the frames of a video one after the other; keeps twelve small views of them."""

    def __init__(self) -> None:
        self._numbers: deque[int] = deque(maxlen=2 * _FLASH_FRAMES)
        self._views: deque[SmallView] = deque(maxlen=2 * _FLASH_FRAMES)
        self._steps: deque[float] = deque(maxlen=_USUAL_FRAMES)
        self._last_cut: int | None = None

    def add(self, number: int, image: np.ndarray) -> int | None:
        """Look at the next frame.

        Args:
            number: of the frame; numbers rise, some may be missing.
            image: (H, W, 3) uint8 RGB, all of one size.

        Returns:
            The number of the first frame of a scene, once that is certain: five frames later.
        """
        view = SmallView.of(image)
        if self._views:
            self._steps.append(difference(self._views[-1], view))
        self._views.append(view)
        self._numbers.append(number)
        if len(self._views) <= _FLASH_FRAMES:
            return None
        return self._decide(len(self._views) - _FLASH_FRAMES)

    def finish(self) -> list[int]:
        """Cuts among the last frames, which nothing follows any more."""
        first = max(len(self._views) - _FLASH_FRAMES + 1, 1)
        found = [self._decide(place) for place in range(first, len(self._views))]
        return [number for number in found if number is not None]

    def _decide(self, place: int) -> int | None:
        """The number of the frame at this place among the views, if a scene begins there."""
        others = list(self._steps)
        step = others.pop(place - len(self._views))
        usual = float(np.median(others)) if others else 0.0
        if step <= _DIFFERENT + _ABOVE_USUAL * usual:
            return None
        number = self._numbers[place]
        if self._last_cut is not None and number - self._last_cut < _FLASH_FRAMES:
            return None
        before = range(max(place - _FLASH_FRAMES, 0), place)
        after = range(place, min(place + _FLASH_FRAMES, len(self._views)))
        for a, b in product(before, after):
            limit = min(_SAME + (b - a) * usual, _DIFFERENT)
            if difference(self._views[a], self._views[b]) < limit:
                return None  # what was there before comes back at once
        self._last_cut = number
        return number


def find_cuts(frames: Iterable[VideoFrame]) -> Iterator[int]:
    """The cuts of a video, in constant memory.

    Hard cuts alone; scenes that dissolve into one another are not found, nor are scenes shorter
    than six frames.

    Args:
        frames: in the order of presentation; some may be missing.

    Yields:
        The number of the first frame of each scene but the first one, rising.
    """
    finder = CutFinder()
    for frame in frames:
        number = finder.add(frame.number, frame.image)
        if number is not None:
            yield number
    yield from finder.finish()


def _best_product(a: np.ndarray, b: np.ndarray) -> float:
    """Largest sum of products of two pictures over all small shifts; outside there are zeros."""
    rows, columns = (2 * side for side in a.shape)
    spectrum = np.fft.rfft2(a, (rows, columns)).conj() * np.fft.rfft2(b, (rows, columns))
    products = np.fft.irfft2(spectrum, (rows, columns))
    most = [min(shift, side // 3) for shift, side in zip(_LARGEST_SHIFT, a.shape, strict=True)]
    near = [np.arange(-shift, shift + 1) for shift in most]
    return float(products[np.ix_(*near)].max())
