"""A live template for models of your own: the smallest thing `train.py` can train.

Copy this file, rename the class, and add it to `models.MODELS` and its options, which stand in
`options/`, to `options.groups.MODEL_GROUPS`; then
`python train.py --model <name> --dataset_mode template` trains it. This one learns the mean colour
of the images: one parameter per channel, pulled towards each pixel by a squared loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.assets import ModelAssets
from models.base_model import BaseModel
from models.batch import FaceBatch
from models.schedule import Schedule, create_optimizer
from options.groups import MODEL_GROUPS
from options.network_options import OptimiserOptions
from options.template_options import TemplateOptions


class MeanColour(nn.Module):
    """Predicts the same colour for every image."""

    def __init__(self) -> None:
        """Start at black."""
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to a constant picture of the same shape."""
        return self.colour[None, :, None, None].expand_as(images)


class TemplateModel(BaseModel):
    """Shows every method that a model must have."""

    # 1. Name your option dataclasses: their fields become flags.
    option_groups = MODEL_GROUPS["template"]

    def __init__(self, options: Any, assets: ModelAssets | None, device: torch.device) -> None:
        """2. Build networks, optimisers and schedules."""
        super().__init__(options, assets, device)
        self.options = options[TemplateOptions]
        self.net = MeanColour().to(device)
        self.networks = {"net_colour": self.net}
        training = options[OptimiserOptions]
        groups = [{"params": list(self.net.parameters()), "lr": training.lr}]
        self.optimizers = [create_optimizer(groups, training)]
        self.schedules = [Schedule(self.optimizers[0], training)]

    def set_input(self, batch: FaceBatch) -> None:
        """3. Take a batch."""
        self.batch = batch.to(self.device)

    def forward(self) -> None:
        """4. Compute the outputs."""
        self.output = self.net(self.batch.images)

    def compute_losses(self) -> Mapping[str, Tensor]:
        """5. Weighted terms; the total is summed for you."""
        error = (self.output - self.batch.images).square().mean()
        return {"colour": self.options.w_colour * error}

    def visuals(self) -> Tensor:
        """6. Pictures for the log."""
        return torch.cat([self.batch.images, self.output.detach()], dim=3).clamp(0, 1)
