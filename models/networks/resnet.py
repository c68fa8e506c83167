"""Residual networks 18, 34 and 50 with torchvision's parameter names.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. As in torchvision (and unlike
the paper) the stride of a bottleneck sits in its 3x3 convolution ("v1.5"), so that ImageNet weights
and the published reconstruction checkpoints fit key by key.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Bias-free convolution that keeps the size at stride 1."""
    return nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Projection for a block whose input and output differ in size; None where they agree."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        _convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 around a shortcut (ResNet-50)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = _convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _convolution(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return functional.relu(y + shortcut, inplace=True)


class ResNet(nn.Module):
    """Residual network that ends in pooled features, or in one linear layer if asked to.

    Args:
        block: kind of residual block.
        depths: number of blocks in each of the four stages.
        last_fc_outputs: width of a final, zero-initialised linear layer `fc`; None leaves it out.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        last_fc_outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.feature_count = 512 * block.expansion
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        in_channels = 64
        for stage, depth in enumerate(depths):
            channels = 64 * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(in_channels, channels, stride))
                in_channels = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = None if last_fc_outputs is None else nn.Linear(in_channels, last_fc_outputs)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation of the convolutions; zero for the last layer."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.fc is not None:
            nn.init.zeros_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Tensor:
        """Compute pooled features.

        Args:
            images: RGB in [0, 1], without the ImageNet normalisation: the public reconstruction
                networks were trained that way.

        Returns:
            (B, feature_count, 1, 1), or (B, last_fc_outputs) with the final linear layer.
        """
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        x = functional.adaptive_avg_pool2d(x, 1)
        return x if self.fc is None else self.fc(torch.flatten(x, 1))


def resnet18(last_fc_outputs: int | None = None) -> ResNet:
    """ResNet-18: 11.2 M parameters, 512 features."""
    return ResNet(BasicBlock, (2, 2, 2, 2), last_fc_outputs)


def resnet34(last_fc_outputs: int | None = None) -> ResNet:
    """ResNet-34: 21.3 M parameters, 512 features."""
    return ResNet(BasicBlock, (3, 4, 6, 3), last_fc_outputs)


def resnet50(last_fc_outputs: int | None = None) -> ResNet:
    """ResNet-50: 23.5 M parameters, 2048 features."""
    return ResNet(Bottleneck, (3, 4, 6, 3), last_fc_outputs)
