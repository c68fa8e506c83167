"""Pictures of a training over time: small JPEGs in `pictures/` of the run's folder."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from util.atomic import write_bytes
from util.reports.report_parts import jpeg_bytes

MOST_PICTURES = 36
"""Of a phase; of more, those nearest to their neighbours go."""
FACES, LONGEST_PX, QUALITY = 4, 640, 78
_NAME = re.compile(r"(train|val)_(\d{9})\.jpg")


class RunPictures:
    """The folder of one run's pictures."""

    def __init__(self, folder: Path) -> None:
        """Take the run's folder; nothing is read or made yet."""
        self._folder = folder / "pictures"

    def add(self, phase: str, step: int, pictures: Tensor) -> None:
        """Keep the first faces (B, 3, H, W) of a phase ("train" or "val"), below each other.

        Raises:
            OSError: no space, no permission.
        """
        sheet = torch.cat(list(pictures[:FACES]), dim=1).permute(1, 2, 0)
        levels = (255 * sheet).round().byte().numpy()
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{phase}_{step:09d}.jpg"
        write_bytes(path, jpeg_bytes(levels, LONGEST_PX, QUALITY))
        paths = self.of(phase)
        while len(paths) > MOST_PICTURES:
            steps = sorted(paths)
            gaps = {b: c - a for a, b, c in zip(steps, steps[1:], steps[2:], strict=False)}
            paths.pop(min(gaps, key=lambda number: gaps[number])).unlink(missing_ok=True)

    def of(self, phase: str) -> dict[int, Path]:
        """Step -> file, in the order of steps."""
        if not self._folder.is_dir():
            return {}
        found = {
            int(match[2]): path
            for path in self._folder.iterdir()
            if (match := _NAME.fullmatch(path.name)) and match[1] == phase
        }
        return dict(sorted(found.items()))

    def forget_after(self, step: int) -> None:
        """Remove those that a run that is resumed after `step` makes again."""
        for phase in ("train", "val"):
            for number, path in self.of(phase).items():
                if number > step:
                    path.unlink(missing_ok=True)
