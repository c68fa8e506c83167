"""A backbone that learns in minutes on a CPU: dlib's recognition network with a landmark head.

    crop 224 -> central 200 px -> 150 px -> stem, blocks 0..2    frozen   32 x 35 x 35
                                         -> blocks 3..6          tuned    64 x 17 x 17 -+
                                         -> blocks 7..9          tuned   128 x  8 x  8  |
                                                                            |           |
                                                                      what is there   where it is
                                                                      1024 numbers    68 keypoints
                                                                            +-----------+
                                                                                  |
                                                                            648 features

Pose and expression are about where things are. A network that pools its map must learn places from
what a cell contains; the expectation of a heat map is a place from the start, to a fraction of a
cell (spatial soft-argmax: Levine et al., JMLR 2016, section 5.2; Sun et al., ECCV 2018, eq. 4), and
the landmarks of each photo can supervise it directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks.dlib_resnet import INPUT_SIZE as CHIP_SIZE
from models.networks.dlib_resnet import DlibTrunk
from options.face_options import CROP_PX

KEYPOINTS = 68
"""The head locates the landmarks that photos come with."""


@dataclass(frozen=True)
class DlibFeatures:
    """What the backbone finds in a crop."""

    features: Float[Tensor, "batch features 1 1"]
    """For the linear heads that predict coefficients."""
    keypoints_px: Float[Tensor, "batch 68 2"]
    """Where the landmarks seem to be, continuous pixels of the crop, y down. Nothing holds them to
    a face's shape: they serve the coefficients."""


class DlibBackbone(nn.Module):
    """Features of the R-Net on the first layers of dlib's recognition network.

    The trunk already knows faces and sees 150 px instead of 224. Its first layers stay as they
    are: tuned on rendered faces alone they lose more than they gain, and leaving out their backward
    pass shows the rest half as many faces again in the same time.
    """

    TRUNK_BLOCKS = 10
    FROZEN_BLOCKS = 3
    """The stem and so many blocks keep dlib's weights."""
    KEYPOINT_BLOCKS = 7
    """Blocks on whose map the keypoints are located."""
    KEYPOINT_MAP = (17, 17)
    """Rows and columns of this map."""
    FACE_PX = 200
    """Side of the central part of the crop that is used; dlib's chips are framed as tightly."""
    TRUNK_LEARNING_RATE = 0.3
    """Learning rate of the pretrained trunk, relative to that of the new layers."""

    OUTPUT_SIGMAS: dict[str, float | tuple[float, ...]] = {  # noqa: RUF012 - a constant
        "identity": 1.0,
        "expression": 0.65,
        "texture": 0.9,
        "angles_rad": (0.2, 0.43, 0.14),
        "gamma": 0.15,
        "translation_dm": (0.03, 0.06, 0.6),
    }
    """Spread of each coefficient over training faces; the heads' outputs are in these units, so
    that all of them are of order one."""

    def __init__(self, last_fc_outputs: int | None = None) -> None:
        super().__init__()
        if last_fc_outputs is not None:
            raise ValueError("--use_last_fc needs a resnet: --net_recon dlib has heads only")
        self.trunk = DlibTrunk(self.TRUNK_BLOCKS)
        for part in (self.trunk.conv0, *self.trunk.blocks[: self.FROZEN_BLOCKS]):
            part.requires_grad_(False)
        self.keypoints = KeypointHead(
            self.trunk.channels[self.KEYPOINT_BLOCKS], KEYPOINTS, self.KEYPOINT_MAP
        )
        self.reduce = nn.Conv2d(self.trunk.channels[-1], 64, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(64)
        self.linear = nn.Linear(64 * 4 * 4 + 2 * KEYPOINTS, 512, bias=False)
        self.linear_norm = nn.BatchNorm1d(512)
        self.feature_count = 512 + 2 * KEYPOINTS

    def forward(self, images: Float[Tensor, "batch 3 224 224"]) -> DlibFeatures:
        """Look at aligned crops, RGB in [0, 1]."""
        margin = (CROP_PX - self.FACE_PX) // 2
        centre = images[:, :, margin : margin + self.FACE_PX, margin : margin + self.FACE_PX]
        chips = functional.interpolate(
            centre,
            size=(CHIP_SIZE, CHIP_SIZE),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        maps = self.trunk.maps(chips)
        places = self.keypoints(maps[self.KEYPOINT_BLOCKS])  # (B, 68, 2), the chip spans [-1, 1]

        # The 8x8 map is pooled to 4x4 and flattened: a global mean would lose where things are.
        what = functional.relu(self.reduce_norm(self.reduce(maps[-1])), inplace=True)
        what = torch.flatten(functional.avg_pool2d(what, 2), 1)
        where = 2 * torch.flatten(places, 1)  # about as large as normalised features
        joined = self.linear(torch.cat([what, where], dim=1))
        mixed = functional.relu(self.linear_norm(joined), inplace=True)
        features = torch.cat([mixed, where], dim=1)
        return DlibFeatures(
            features=features[:, :, None, None],
            keypoints_px=CROP_PX / 2 + self.FACE_PX / 2 * places,
        )


class KeypointHead(nn.Module):
    """Places of keypoints: for each a heat map, and the expectation of its softmax.

    In an aligned crop a landmark is never far from its usual place, so that each heat map is the
    sum of what the picture shows and of where the keypoint usually is.

    Args:
        channels: of the feature map.
        count: number of keypoints.
        size: rows and columns of the feature map.
    """

    WIDTH = 64
    HEAT_SCALE, PLACE_SCALE = 4.0, 30.0
    """A heat map must differ by about 10 between its cells to have a sharp place; an optimiser
    moves each weight by its learning rate in a step, and so gets there within a few hundred."""

    def __init__(self, channels: int, count: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, self.WIDTH, 3, padding=1, bias=False)
        self.mix_norm = nn.BatchNorm2d(self.WIDTH)
        self.heat = nn.Conv2d(self.WIDTH, count, 1)
        self.usual_place = nn.Parameter(torch.zeros(count, *size))

    def forward(
        self, features: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch count 2"]:
        """Locate (x, y) as `expected_place` does."""
        mixed = functional.relu(self.mix_norm(self.mix(features)), inplace=True)
        # In full precision under autocast: bfloat16 would round places to a twentieth of a cell.
        shown = self.HEAT_SCALE * self.heat(mixed).float()
        return expected_place(shown + self.PLACE_SCALE * self.usual_place)


def expected_place(
    heat: Float[Tensor, "batch count rows columns"],
) -> Float[Tensor, "batch count 2"]:
    """Expectation of (x, y), y down, under the softmax of each heat map (spatial soft-argmax).

    The outermost cells have their centres at -1 and 1.
    """
    rows, columns = heat.shape[2:]
    share = torch.softmax(heat.flatten(2), dim=2).unflatten(2, (rows, columns))
    x = torch.linspace(-1, 1, columns, dtype=heat.dtype, device=heat.device)
    y = torch.linspace(-1, 1, rows, dtype=heat.dtype, device=heat.device)
    # No matrix products, which autocast would compute in bfloat16.
    return torch.stack([(share.sum(dim=2) * x).sum(-1), (share.sum(dim=3) * y).sum(-1)], dim=2)
