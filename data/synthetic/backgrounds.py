"""Pictures of the user as backgrounds: any folder, photos without faces for choice."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data.images import list_images, read_image, reduce_image
from util.errors import InputError, of_flag

KEPT_PX = 640
"""Longer side of a picture in memory."""
_KEPT = 48
"""Pictures in memory; reading one takes far longer than rendering a face."""
_ATTEMPTS = 10


@dataclass
class PictureFolder:
    """Draws random parts of the pictures of a folder; sent to worker processes."""

    paths: tuple[Path, ...]
    """Sorted, so that numbers mean the same pictures on every machine."""
    bad: dict[str, str] = field(default_factory=dict)
    """Problem of each picture that could not be read, by its path."""
    _kept: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict, repr=False)

    @classmethod
    def open(cls, folder: Path, flag: str = "backgrounds") -> PictureFolder:
        """List the pictures of a folder, which a flag named.

        Raises:
            InputError: no such folder, or no pictures in it; the message names the flag.
        """
        with of_flag(flag):
            return cls(tuple(list_images(folder)))

    @property
    def digest(self) -> str:
        """A hash of the pictures' names and sizes: other pictures make other faces."""
        names = "\n".join(f"{path.name} {_size(path)}" for path in self.paths)
        return hashlib.blake2b(names.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray | None:
        """A random part of a random picture, (H, W, 3) float32 in [0, 1], at times mirrored.

        Pictures that cannot be read are remembered in `bad`, and others tried; None after many.
        """
        candidates = rng.integers(len(self.paths), size=_ATTEMPTS)
        share, mirrored = rng.uniform(0.4, 1.0), rng.uniform() < 0.5
        across, down = rng.uniform(size=2)
        for number in candidates.tolist():
            picture = self._read(number)
            if picture is None:
                continue
            rows, columns = picture.shape[:2]
            zoom = share * min(columns / width, rows / height)
            w, h = width * zoom, height * zoom
            left, top = across * (columns - w), down * (rows - h)
            box = (left, top, min(left + w, columns), min(top + h, rows))
            part = Image.fromarray(picture).resize(
                (width, height), Image.Resampling.BICUBIC, box=box
            )
            scene = np.asarray(part, dtype=np.float32) * np.float32(1 / 255)
            return scene[:, ::-1] if mirrored else scene
        return None

    def _read(self, number: int) -> np.ndarray | None:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        path = self.paths[number]
        if str(path) in self.bad:
            return None
        try:
            picture = reduce_image(read_image(path), KEPT_PX)
        except InputError as error:
            self.bad[str(path)] = str(error)
            return None
        self._kept[number] = picture
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return picture


def _size(path: Path) -> int:
    """Bytes of a file, -1 for a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
