"""What SynergyNet's numbers mean: pose, shape, expression, and the whitening that networks see.

    62 = 12 pose + 40 shape + 10 expression            (3DDFA, 300W-LP, the published weights)
    235 = 7 pose + 199 shape + 29 expression            (datatool)

Networks predict, and label files hold, whitened numbers: q = x std + mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from options.face_options import SYNERGY_CROP_PX

MATRIX_POSE, ANGLE_POSE = 12, 7
"""Pose as a 3 x 4 matrix, row by row; or as pitch, yaw, roll, translation, scale."""


@dataclass(frozen=True)
class SynergyLayout:
    """Sizes of the blocks of one parameter vector, which come in this order."""

    pose: int = MATRIX_POSE
    """12 or 7; see `models.synergy.pose`."""
    shape: int = 40
    """Weights of the shape basis."""
    expression: int = 10
    """Weights of the expression basis."""

    def __post_init__(self) -> None:
        """Refuse what no face could be made of."""
        if self.pose not in (MATRIX_POSE, ANGLE_POSE):
            raise ValueError(f"a pose has {MATRIX_POSE} or {ANGLE_POSE} numbers, not {self.pose}")
        if self.shape < 1 or self.expression < 1:
            raise ValueError(
                f"{self.shape} shape and {self.expression} expression parameters; each needs one"
            )

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.pose + self.shape + self.expression

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Pose, shape, expression."""
        return self.pose, self.shape, self.expression

    def split(
        self, parameters: Float[Tensor, "batch parameters"]
    ) -> tuple[
        Float[Tensor, "batch pose"], Float[Tensor, "batch shape"], Float[Tensor, "batch expression"]
    ]:
        """Pose, shape and expression of parameter vectors (views, no copy).

        Raises:
            ValueError: the vectors do not have this layout's length.
        """
        if parameters.shape[1] != self.size:
            raise ValueError(
                f"parameter vectors have {parameters.shape[1]} numbers, this layout has {self.size}"
            )
        pose, shape, expression = parameters.split(self.sizes, dim=1)
        return pose, shape, expression

    def __str__(self) -> str:
        return f"{self.pose} pose + {self.shape} shape + {self.expression} expression"


DDFA_LAYOUT = SynergyLayout()
DATATOOL_LAYOUT = SynergyLayout(ANGLE_POSE, 199, 29)


@dataclass(frozen=True)
class Whitening:
    """Mean and standard deviation of each parameter over the training data."""

    mean: Tensor
    """(P,)"""
    std: Tensor
    """(P,)"""

    def __post_init__(self) -> None:
        """Refuse what cannot be undone.

        Raises:
            ValueError: sizes that differ, or numbers that are not finite or not above 0.
        """
        if self.mean.shape != self.std.shape or self.mean.dim() != 1:
            raise ValueError(
                f"the whitening's mean is {tuple(self.mean.shape)}, its standard deviation "
                f"{tuple(self.std.shape)}; both need one number for each parameter"
            )
        if not torch.isfinite(self.mean).all() or not torch.isfinite(self.std).all():
            raise ValueError("the whitening has numbers that are not finite")
        if not (self.std > 0).all():
            number = int((self.std <= 0).nonzero()[0])
            raise ValueError(f"the whitening's standard deviation number {number} is not above 0")

    def whiten(self, parameters: Float[Tensor, "batch parameters"]) -> Tensor:
        """As networks see them."""
        return (parameters - self.mean) / self.std

    def unwhiten(self, whitened: Float[Tensor, "batch parameters"]) -> Tensor:
        """As the face model takes them."""
        return whitened * self.std + self.mean

    def __len__(self) -> int:
        return len(self.mean)


@dataclass(frozen=True)
class SynergyMeaning:
    """What the numbers of a network mean, beside the face model: checkpoints carry it."""

    layout: SynergyLayout = DDFA_LAYOUT
    image_px: int = SYNERGY_CROP_PX
    """Side of the crops; landmarks count in their pixels."""
    input_range: str = "bgr128"
    """How a network wants its images; a key of `models.synergy.network.INPUT_RANGES`."""
    num_landmarks: int = 68
    """68, or 77 of the datatool."""

    @property
    def record(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "sizes": list(self.layout.sizes),
            "image_px": self.image_px,
            "input_range": self.input_range,
            "num_landmarks": self.num_landmarks,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SynergyMeaning:
        """Inverse of `record`.

        Raises:
            KeyError, TypeError, ValueError: an entry is missing or malformed.
        """
        pose, shape, expression = (int(size) for size in record["sizes"])
        return cls(
            SynergyLayout(pose, shape, expression),
            int(record["image_px"]),
            str(record["input_range"]),
            int(record["num_landmarks"]),
        )
