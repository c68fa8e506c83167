"""ArcFace's improved residual networks (iresnet) with insightface's parameter names.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019; the block
(batch norm, convolution, batch norm, PReLU, convolution, batch norm) is that of Han et al., "Deep
Pyramidal Residual Networks", CVPR 2017. Stride 2 sits in the second convolution of the first block
of all four stages: 112 px become 56, 28, 14, 7.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

INPUT_SIZE = 112
"""Side of the aligned face in pixels."""
EMBEDDING_SIZE = 512
"""Length of the feature vector."""

IRESNET_DEPTHS: dict[str, tuple[int, int, int, int]] = {
    "r18": (2, 2, 2, 2),
    "r34": (3, 4, 6, 3),
    "r50": (3, 4, 14, 3),
    "r100": (3, 13, 30, 3),
}
"""Number of blocks in each stage, by the name of `--net_recog`."""

_STAGE_CHANNELS = (64, 128, 256, 512)
_FINAL_SIDE = INPUT_SIZE // 2 ** len(_STAGE_CHANNELS)


class IBasicBlock(nn.Module):
    """Pre-activated block: normalisations around two 3x3 convolutions, no activation at its end."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + shortcut


class IResNet(nn.Module):
    """The whole embedder; its state dict has the names of insightface's `backbone.pth`.

    Args:
        depths: number of blocks in each of the four stages.
    """

    def __init__(self, depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        channels = _STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.layer1 = _stage(channels, _STAGE_CHANNELS[0], depths[0])
        self.layer2 = _stage(_STAGE_CHANNELS[0], _STAGE_CHANNELS[1], depths[1])
        self.layer3 = _stage(_STAGE_CHANNELS[1], _STAGE_CHANNELS[2], depths[2])
        self.layer4 = _stage(_STAGE_CHANNELS[2], _STAGE_CHANNELS[3], depths[3])
        self.bn2 = nn.BatchNorm2d(_STAGE_CHANNELS[3])
        self.fc = nn.Linear(_STAGE_CHANNELS[3] * _FINAL_SIDE**2, EMBEDDING_SIZE)
        self.features = nn.BatchNorm1d(EMBEDDING_SIZE)

    def forward(self, faces: Float[Tensor, "batch 3 112 112"]) -> Float[Tensor, "batch 512"]:
        """Compute feature vectors, not normalised.

        Args:
            faces: aligned faces, RGB in [-1, 1].
        """
        x = self.prelu(self.bn1(self.conv1(faces)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def _stage(in_channels: int, channels: int, depth: int) -> nn.Sequential:
    """Blocks of one resolution; the first halves the map."""
    first = IBasicBlock(in_channels, channels, stride=2)
    return nn.Sequential(first, *(IBasicBlock(channels, channels, 1) for _ in range(depth - 1)))


def create_iresnet(name: str) -> IResNet:
    """Build an iresnet by its name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in IRESNET_DEPTHS:
        raise ValueError(f"iresnet {name!r} is unknown; take one of {', '.join(IRESNET_DEPTHS)}")
    return IResNet(IRESNET_DEPTHS[name])


def iresnet_depth_from_keys(names: Iterable[str]) -> str:
    """Recognise the depth of an iresnet from the names of its parameters.

    Args:
        names: of a state dict.

    Returns:
        `r18`, `r34`, `r50` or `r100`.

    Raises:
        ValueError: they are not those of one of these networks.
    """
    names = set(names)
    depths = tuple(
        len({name.split(".")[1] for name in names if name.startswith(f"layer{stage}.")})
        for stage in range(1, len(_STAGE_CHANNELS) + 1)
    )
    is_iresnet = {"prelu.weight", "features.weight", "layer1.0.prelu.weight"} <= names
    for name, known in IRESNET_DEPTHS.items():
        if is_iresnet and depths == known:
            return name
    raise ValueError(
        f"not an iresnet: {'stages of ' + str(depths) + ' blocks' if is_iresnet else 'other names'}"
    )
