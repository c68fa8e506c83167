"""SynergyNet's losses as unweighted formulas (public code, `loss_definition.py`)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.synergy.parameters import SynergyLayout

WING_PX, WING_CURVATURE_PX = 10.0, 2.0


class WingLoss(nn.Module):
    """Logarithmic near zero, linear beyond (Feng et al., CVPR 2018, eq. 5).

        wing(d) = w ln(1 + |d| / c)         for |d| < w
                = |d| - (w - w ln(1 + w / c))   else

    so that small errors, which are many, weigh more than in L1. The mean over all coordinates.
    """

    def __init__(self, width_px: float = WING_PX, curvature_px: float = WING_CURVATURE_PX) -> None:
        """Choose w and c; the published ones are 10 and 2."""
        super().__init__()
        self.width, self.curvature = width_px, curvature_px
        self.offset = width_px - width_px * math.log1p(width_px / curvature_px)

    def forward(
        self,
        predicted: Float[Tensor, "batch 3 landmarks"],
        given: Float[Tensor, "batch 3 landmarks"],
    ) -> Float[Tensor, ""]:
        """Mean over batch, coordinates and landmarks."""
        distance = (predicted - given).abs()
        near = self.width * torch.log1p(distance / self.curvature)
        return torch.where(distance < self.width, near, distance - self.offset).mean()


class ParamLoss(nn.Module):
    """Distance of whitened parameters: pose counts as much as shape and expression together.

    sqrt(mean_pose d^2 + mean_rest d^2)       of each face, then the mean over the batch;
    sqrt(mean_rest d^2)                        where only the face model counts
    """

    def __init__(self, layout: SynergyLayout, public: bool = False) -> None:
        """Note which numbers are the pose.

        Args:
            layout: of the parameters.
            public: compare, where only the face model counts, the first numbers of the one with
                the last of the other, as the public code does: a slip (its `[:, :50]` against
                `[:, 12:62]`).
        """
        super().__init__()
        self.layout, self.public = layout, public

    def forward(
        self,
        predicted: Float[Tensor, "batch parameters"],
        given: Float[Tensor, "batch parameters"],
        *,
        only_face: bool = False,
    ) -> Float[Tensor, ""]:
        """Mean distance, both whitened.

        Args:
            predicted: gradients pass through it, and through `given` too.
            given: what it is compared with.
            only_face: leave out the pose.
        """
        pose = self.layout.pose
        rest = self.layout.size - pose
        if only_face:
            compared = predicted[:, :rest] if self.public else predicted[:, pose:]
            scaled = (compared - given[:, pose:]) / math.sqrt(rest)
        else:
            difference = predicted - given
            scaled = torch.cat(
                [difference[:, :pose] / math.sqrt(pose), difference[:, pose:] / math.sqrt(rest)],
                dim=1,
            )
        # Not the root of a sum of squares, whose gradient at zero is not finite.
        return torch.linalg.vector_norm(scaled, dim=1).mean()
