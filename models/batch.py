"""The contract between datasets and models: one batch of aligned faces."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class FaceBatch:
    """Aligned face crops with what supervises them; absent supervision is None."""

    images: Float[Tensor, "batch 3 height width"]
    """RGB in [0, 1]."""
    paths: tuple[str, ...]
    """Where each image came from, for messages and results."""
    landmarks_px: Float[Tensor, "batch landmarks 2"] | None = None
    """Given landmarks: continuous pixels, y down, in the run's landmark origin."""
    skin_mask: Float[Tensor, "batch 1 height width"] | None = None
    """Skin probability in [0, 1], the attention of the photometric loss."""
    recognition_transforms: Float[Tensor, "batch 2 3"] | None = None
    """Crop pixels to the recognition net's template, from the given landmarks."""
    coefficients: Float[Tensor, "batch parameters"] | None = None
    """True coefficients of synthetic faces; zeros where a face has none."""
    has_truth: Bool[Tensor, " batch"] | None = None
    """Which faces have true coefficients; None: all, if the batch has any."""

    def to(self, device: torch.device | str) -> FaceBatch:
        """Move every tensor to a device."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def rows(self, numbers: Int[Tensor, " rows"]) -> FaceBatch:
        """Some of the faces."""
        paths = tuple(self.paths[number] for number in numbers.tolist())
        chosen = {
            field.name: value.index_select(0, numbers)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, paths=paths, **chosen)

    def __len__(self) -> int:
        return self.images.shape[0]
