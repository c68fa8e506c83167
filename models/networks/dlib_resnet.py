"""dlib's face recognition network as a module: 29 convolutions, 128 numbers out.

It is King's `dlib_face_recognition_resnet_model_v1` (2017): a ResNet-34 with fewer layers and half
the filters, whose batch normalisations are frozen into per-channel affine layers. Weights come from
`util.model_files.dlib_file`.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIZE = 150
"""Side of the face chip in pixels."""
EMBEDDING_SIZE = 128
"""Length of the descriptor."""
STEM_CHANNELS = 32
Network = TypeVar("Network", bound=nn.Module)

BLOCK_CHANNELS: tuple[tuple[int, bool], ...] = (
    *((32, False),) * 3,
    (64, True),
    *((64, False),) * 3,
    (128, True),
    *((128, False),) * 2,
    (256, True),
    *((256, False),) * 2,
    (256, True),
)
"""(output channels, whether the block halves the map) of every residual block, input first."""

# Mean colour of dlib's training images, in 0..255; its input layer then divides by 256.
_MEAN_RGB = (122.782, 117.001, 104.298)


class AffineConv2d(nn.Module):
    """Convolution followed by a per-channel affine map: scale * (weight * x + bias) + shift.

    Both maps are linear, so they run as one convolution with the weights `scale * weight`; the
    feature map is written once. The parameters stay apart, because the published weights are small
    and the scales large (3 to 14 on average): merged parameters would move that much less in
    relation to their size in an Adam step of the same learning rate.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = nn.Parameter(torch.ones(out_channels))
        self.shift = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        weight = self.weight * self.scale[:, None, None, None]
        bias = self.bias * self.scale + self.shift
        return functional.conv2d(x, weight, bias, self.stride, self.padding)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """The same map as one convolution, for a network that is not trained further."""
        out_channels, in_channels, kernel, _ = self.weight.shape
        plain = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            self.stride,
            self.padding,
            device="meta",  # random weights would take numbers that a run's seed meant for others
            dtype=self.weight.dtype,
        ).to_empty(device=self.weight.device)
        plain.weight.copy_(self.weight * self.scale[:, None, None, None])
        assert plain.bias is not None
        plain.bias.copy_(self.bias * self.scale + self.shift)
        return plain


def merge_affine(network: Network) -> Network:
    """A copy of a network with merged convolutions in place of all its `AffineConv2d`."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, AffineConv2d):
                setattr(module, name, child.merged())
    return network


class DlibBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, in dlib's padding.

    A block that halves the map has no padding in its first convolution and a 2x2 average pool as
    its shortcut; where the two differ in size, dlib extends the smaller one by zeros at the bottom,
    at the right and in the last channels before it adds.
    """

    def __init__(self, in_channels: int, channels: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.conv1 = AffineConv2d(
            in_channels, channels, 3, stride=2 if halves else 1, padding=0 if halves else 1
        )
        self.conv2 = AffineConv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H', W')."""
        y = self.conv2(functional.relu(self.conv1(x), inplace=True))
        if not self.halves:
            return functional.relu(y + x, inplace=True)
        shortcut = functional.avg_pool2d(x, 2)
        channels = max(y.shape[1], shortcut.shape[1])
        height = max(y.shape[2], shortcut.shape[2])
        width = max(y.shape[3], shortcut.shape[3])
        total = _extend(y, channels, height, width) + _extend(shortcut, channels, height, width)
        return functional.relu(total, inplace=True)


def _extend(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Pad by zeros at the bottom, at the right and in the last channels."""
    return functional.pad(
        x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])
    )


class DlibTrunk(nn.Module):
    """Stem and the first residual blocks: a chip in, a feature map out.

    Args:
        block_count: number of residual blocks, at most 14. On a 150 px chip the map has 32x35x35
            numbers after 3, 64x17x17 after 7, 128x8x8 after 10, 256x4x4 after 13 and 256x2x2
            after 14.
    """

    mean_rgb: Tensor

    def __init__(self, block_count: int = len(BLOCK_CHANNELS)) -> None:
        super().__init__()
        if not 0 <= block_count <= len(BLOCK_CHANNELS):
            raise ValueError(
                f"dlib's network has {len(BLOCK_CHANNELS)} blocks, {block_count} were asked for"
            )
        mean = torch.tensor(_MEAN_RGB).reshape(1, 3, 1, 1)
        self.register_buffer("mean_rgb", mean, persistent=False)
        self.conv0 = AffineConv2d(3, STEM_CHANNELS, 7, stride=2)
        self.blocks = nn.ModuleList()
        self.channels = [STEM_CHANNELS]
        """Channels of the map after the stem and after each block."""
        for out_channels, halves in BLOCK_CHANNELS[:block_count]:
            self.blocks.append(DlibBlock(self.channels[-1], out_channels, halves))
            self.channels.append(out_channels)

    def forward(
        self, chips: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Compute the last feature map of face chips, RGB in [0, 1]."""
        return self.maps(chips)[-1]

    def maps(self, chips: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Compute the feature maps after the stem and after each block.

        Args:
            chips: RGB in [0, 1].
        """
        x = (chips * 255.0 - self.mean_rgb) / 256.0
        x = functional.max_pool2d(functional.relu(self.conv0(x), inplace=True), 3, stride=2)
        maps = [x]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


class DlibResNet(nn.Module):
    """The whole embedder: trunk, global mean, linear layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = DlibTrunk()
        self.fc = nn.Linear(self.trunk.channels[-1], EMBEDDING_SIZE, bias=False)

    def forward(self, chips: Float[Tensor, "batch 3 150 150"]) -> Float[Tensor, "batch 128"]:
        """Compute descriptors; they are not unit vectors (norms of 1.3 to 1.6).

        Args:
            chips: aligned faces, RGB in [0, 1].
        """
        return self.fc(self.trunk(chips).mean(dim=(2, 3)))
