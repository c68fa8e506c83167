"""The contract between datasets and models: one batch of aligned faces."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
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
    """True coefficients of synthetic faces."""

    def to(self, device: torch.device | str) -> FaceBatch:
        """Move every tensor to a device."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def __len__(self) -> int:
        return self.images.shape[0]
