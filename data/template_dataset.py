"""A live template for datasets of your own: the smallest thing `train.py` can train on.

Copy this file, rename the classes, and add yours to `data.registry.DATASETS` and its options, which
stand in `options/`, to `options.groups.DATASET_GROUPS`; then
`python train.py --dataset_mode <name>` trains on it. This one draws coloured discs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.base_dataset import FaceDataset, FaceSample
from models.assets import ModelAssets
from options.groups import DATASET_GROUPS
from options.template_options import TemplateDatasetOptions


class TemplateDataset(FaceDataset):
    """Shows every method that a dataset must have."""

    # 1. Name your option dataclasses: their fields become flags.
    option_groups = DATASET_GROUPS["template"]

    def __init__(self, options: Any, assets: ModelAssets | None, is_train: bool) -> None:
        """2. Find your samples, and complain about missing files now, not in an hour."""
        super().__init__(options, assets, is_train)
        self.options: TemplateDatasetOptions = options[TemplateDatasetOptions]

    def __len__(self) -> int:
        """3. Say how many there are."""
        count = self.options.num_discs
        return count if self.is_train else max(count // 4, 1)

    def __getitem__(self, index: int) -> FaceSample:
        """4. Make one sample. Landmarks, mask and coefficients are optional."""
        random = self.random(index)  # the only source of randomness, so that runs repeat
        size = self.options.disc_size_px
        colour = random.integers(0, 256, size=3, dtype=np.uint8)
        rows, columns = np.mgrid[:size, :size]
        middle = (size - 1) / 2
        disc = (rows - middle) ** 2 + (columns - middle) ** 2 < (size / 3) ** 2
        return FaceSample(image=disc[..., None] * colour, path=f"disc {index}")
