"""MobileNets without a classifier: pooled features for the heads of others.

Version 2 (Sandler et al., CVPR 2018) has torchvision's parameter names, version 1 (Howard et al.
2017) those of 3DDFA, so that weights trained elsewhere fit.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Version 2: expansion, channels, blocks, stride of the first block."""

_SEPARABLE = (
    ("dw2_1", 64, 1),
    ("dw2_2", 128, 2),
    ("dw3_1", 128, 1),
    ("dw3_2", 256, 2),
    ("dw4_1", 256, 1),
    ("dw4_2", 512, 2),
    *((f"dw5_{number}", 512, 1) for number in range(1, 6)),
    ("dw5_6", 1024, 2),
    ("dw6", 1024, 1),
)
"""Version 1: name, channels at width 1, stride."""


def _unit(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter by 3x3 within each channel, narrow by 1x1 without a nonlinearity."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.has_shortcut = stride == 1 and inputs == outputs
        wide = inputs * expansion
        widen = [] if expansion == 1 else [_unit(inputs, wide, 1)]
        self.conv = nn.Sequential(
            *widen,
            _unit(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Version 2 of width 1: 2.2 M parameters, 1280 features."""

    feature_count = 1280

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, 32, 3, 2)]
        inputs = 32
        for expansion, outputs, blocks, stride in _INVERTED:
            for block in range(blocks):
                first = block == 0
                layers.append(InvertedResidual(inputs, outputs, stride if first else 1, expansion))
                inputs = outputs
        layers.append(_unit(inputs, self.feature_count, 1))
        self.features = nn.Sequential(*layers)
        initialise(self)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features averaged over the image."""
        return functional.adaptive_avg_pool2d(self.features(images), 1).flatten(1)


class SeparableConvolution(nn.Module):
    """3x3 within each channel, then 1x1 over the channels, each normalised, with ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn_dw = nn.BatchNorm2d(inputs)
        self.conv_sep = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        x = functional.relu(self.bn_dw(self.conv_dw(x)), inplace=True)
        return functional.relu(self.bn_sep(self.conv_sep(x)), inplace=True)


class MobileNetV1(nn.Module):
    """Version 1 of any width: 3.2 M parameters and 1024 features at width 1."""

    def __init__(self, width: float = 1.0) -> None:
        """Choose the width, a factor on all channels; 3DDFA has 2, 1, 0.75, 0.5 and 0.25."""
        super().__init__()
        inputs = int(32 * width)
        self.conv1 = nn.Conv2d(3, inputs, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for name, channels, stride in _SEPARABLE:
            outputs = int(channels * width)
            self.add_module(name, SeparableConvolution(inputs, outputs, stride))
            inputs = outputs
        self.feature_count = inputs
        initialise(self)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features averaged over the image."""
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        for name, _, _ in _SEPARABLE:
            x = self.get_submodule(name)(x)
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


def initialise(network: nn.Module) -> None:
    """He initialisation of convolutions by their outputs, N(0, 0.01) of linear layers."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            with torch.no_grad():
                module.weight.fill_(1)
                module.bias.fill_(0)
