"""The contract between datasets and models: one batch of aligned faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class FaceBatch:
    """Aligned face crops with what supervises them; absent supervision is None."""

    images: Float[Tensor, "batch 3 height width"] | UInt8[Tensor, "batch 3 height width"]
    """RGB in [0, 1]; or bytes, a quarter of them to load and to copy, until `to` a device."""
    paths: tuple[str, ...]
    """Where each image came from, for messages and results."""
    landmarks_px: Float[Tensor, "batch landmarks 2"] | None = None
    """Given landmarks: continuous pixels, y down, in the run's landmark origin."""
    skin_mask: (
        Float[Tensor, "batch 1 height width"] | UInt8[Tensor, "batch 1 height width"] | None
    ) = None
    """Skin probability in [0, 1], or bytes as `images`: the attention of the photometric loss."""
    inside: Bool[Tensor, "batch 1 height width"] | None = None
    """Where a crop shows its photo; elsewhere it reaches beyond, and is black. None: everywhere."""
    recognition_transforms: Float[Tensor, "batch 2 3"] | None = None
    """Crop pixels to the recognition net's template, from the given landmarks."""
    coefficients: Float[Tensor, "batch parameters"] | None = None
    """True coefficients of synthetic faces, fitted ones of photos; zeros where a face has none."""
    has_truth: Bool[Tensor, " batch"] | None = None
    """Which faces have true coefficients; None: all, if the batch has any coefficients."""
    has_fit: Bool[Tensor, " batch"] | None = None
    """Which faces have fitted coefficients; None: none."""

    def to(self, device: torch.device | str) -> FaceBatch:
        """Move every tensor to a device, and make numbers in [0, 1] of bytes there.

        From pinned memory the copy to a GPU runs beside what that computes. The way back waits:
        what arrives on the CPU is read at once.
        """
        to_gpu = torch.device(device).type == "cuda"
        return self._changed(lambda value: _unit(value.to(device, non_blocking=to_gpu)))

    def pin_memory(self) -> FaceBatch:
        """Copy every tensor to where a GPU can fetch it by itself; a DataLoader calls this."""
        # Contiguous: what was expanded cannot be written to as it is.
        return self._changed(lambda value: value.contiguous().pin_memory())

    def _changed(self, change: Callable[[Tensor], Tensor]) -> FaceBatch:
        changed = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **changed)

    def rows(self, numbers: Int[Tensor, " rows"]) -> FaceBatch:
        """Some of the faces."""
        paths = tuple(self.paths[number] for number in numbers.tolist())
        chosen = {
            field.name: value.index_select(0, numbers.to(value.device))
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, paths=paths, **chosen)

    def __len__(self) -> int:
        return self.images.shape[0]


def _unit(values: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1]; other numbers as they are."""
    if values.dtype != torch.uint8:
        return values
    # By a tensor: GPUs multiply by the inverse of a plain number, which rounds otherwise.
    return values.float().div_(torch.full((), 255.0, device=values.device))
