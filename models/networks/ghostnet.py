"""GhostNet (Han et al., CVPR 2020) without a classifier: half of each layer's maps are cheap.

A ghost module computes half of its output maps by a 1x1 convolution and the other half from these,
by a 3x3 convolution within each map.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks.mobilenet import initialise

_BLOCKS = (
    ((3, 16, 16, 0.0, 1),),
    ((3, 48, 24, 0.0, 2),),
    ((3, 72, 24, 0.0, 1),),
    ((5, 72, 40, 0.25, 2),),
    ((5, 120, 40, 0.25, 1),),
    ((3, 240, 80, 0.0, 2),),
    (
        (3, 200, 80, 0.0, 1),
        *((3, 184, 80, 0.0, 1),) * 2,
        (3, 480, 112, 0.25, 1),
        (3, 672, 112, 0.25, 1),
    ),
    ((5, 672, 160, 0.25, 2),),
    ((5, 960, 160, 0.0, 1), (5, 960, 160, 0.25, 1)) * 2,
)
"""Stages of blocks: kernel, channels within, channels out, squeeze ratio, stride (table 1)."""


def _normalised(convolution: nn.Conv2d, activate: bool = True) -> nn.Sequential:
    activation = [nn.ReLU(inplace=True)] if activate else []
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), *activation)


def _depthwise(channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, size, stride, size // 2, groups=channels, bias=False)


class GhostModule(nn.Module):
    """A 1x1 convolution at half its price."""

    def __init__(self, inputs: int, outputs: int, activate: bool = True) -> None:
        super().__init__()
        self.outputs = outputs
        half = math.ceil(outputs / 2)
        self.primary_conv = _normalised(nn.Conv2d(inputs, half, 1, bias=False), activate)
        self.cheap_operation = _normalised(_depthwise(half, 3), activate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        own = self.primary_conv(x)
        return torch.cat([own, self.cheap_operation(own)], dim=1)[:, : self.outputs]


class SqueezeExcite(nn.Module):
    """A factor on each channel, from the means of all."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        # Rounded to a multiple of four, as the paper's tables.
        fewer = max(4, int(channels * ratio + 2) // 4 * 4)
        self.conv_reduce = nn.Conv2d(channels, fewer, 1)
        self.conv_expand = nn.Conv2d(fewer, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), scaled."""
        means = functional.adaptive_avg_pool2d(x, 1)
        wanted = self.conv_expand(functional.relu(self.conv_reduce(means), inplace=True))
        return x * functional.relu6(wanted + 3) / 6


class GhostBottleneck(nn.Module):
    """Two ghost modules, between them the stride and the squeeze, around a shortcut."""

    def __init__(
        self, inputs: int, within: int, outputs: int, size: int, stride: int, ratio: float
    ) -> None:
        super().__init__()
        self.ghost1 = GhostModule(inputs, within)
        self.strided = (
            nn.Identity() if stride == 1 else _normalised(_depthwise(within, size, stride), False)
        )
        self.se = SqueezeExcite(within, ratio) if ratio else nn.Identity()
        self.ghost2 = GhostModule(within, outputs, activate=False)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                *_normalised(_depthwise(inputs, size, stride), False),
                *_normalised(nn.Conv2d(inputs, outputs, 1, bias=False), False),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.ghost2(self.se(self.strided(self.ghost1(x)))) + self.shortcut(x)


class GhostNet(nn.Module):
    """GhostNet of width 1: 3.9 M parameters, 1280 features."""

    feature_count = 1280

    def __init__(self) -> None:
        super().__init__()
        self.stem = _normalised(nn.Conv2d(3, 16, 3, 2, 1, bias=False))
        inputs, blocks = 16, []
        for stage in _BLOCKS:
            for size, within, outputs, ratio, stride in stage:
                blocks.append(GhostBottleneck(inputs, within, outputs, size, stride, ratio))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = _normalised(nn.Conv2d(inputs, 960, 1, bias=False))
        self.head = nn.Conv2d(960, self.feature_count, 1)
        initialise(self)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features averaged over the image, then mixed once more."""
        x = functional.adaptive_avg_pool2d(self.last(self.blocks(self.stem(images))), 1)
        return functional.relu(self.head(x), inplace=True).flatten(1)
