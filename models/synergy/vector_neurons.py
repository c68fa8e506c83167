"""Vector neurons: features of points that are vectors, and turn as the points turn.

After Deng et al. (Vector Neurons, ICCV 2021), as far as the public fork of SynergyNet uses them: a
channel is a 3-vector, layers mix channels but never axes, so that f(R x) = R f(x).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

_TINY = 1e-6


class VectorLayer(nn.Module):
    """Mixes channels, normalises lengths over the batch, and bends by a learned direction.

    ReLU for vectors: with q the mixed vector and k its direction, both linear in the input, what of
    q points against k is taken away; q stays where it points along k.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.feature = nn.Linear(inputs, outputs, bias=False)
        self.direction = nn.Linear(inputs, outputs, bias=False)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Float[Tensor, "batch inputs 3 points"]) -> Tensor:
        """(B, inputs, 3, P) to (B, outputs, 3, P)."""
        q = torch.einsum("oi,bixp->boxp", self.feature.weight, x)
        k = torch.einsum("oi,bixp->boxp", self.direction.weight, x)
        length = torch.linalg.vector_norm(q, dim=2) + _TINY
        q = q * (self.bn(length) / length)[:, :, None]
        along = (q * k).sum(dim=2, keepdim=True)
        squared = (k * k).sum(dim=2, keepdim=True)
        return q - along.clamp(max=0) / (squared + _TINY) * k


class VectorEncoder(nn.Module):
    """Five layers from coordinates to 64 vectors a point and 512 of the whole face.

    The maximum over points is taken for each coordinate by itself, as in the fork; only the vectors
    of points turn with the face, the maximum does not.
    """

    POINT, WHOLE = 3 * 64, 3 * 512
    """Numbers a point, and of the whole face."""

    def __init__(self) -> None:
        super().__init__()
        pairs = ((1, 64), (64, 64), (64, 64), (64, 128), (128, 512))
        self.layers = nn.ModuleList(VectorLayer(inputs, outputs) for inputs, outputs in pairs)

    def of_points(
        self, landmarks: Float[Tensor, "batch 3 points"]
    ) -> Float[Tensor, "batch 64 3 points"]:
        """Vectors of each point after two layers."""
        x = landmarks[:, None]
        for layer in self.layers[:2]:
            x = layer(x)
        return x

    def forward(self, landmarks: Float[Tensor, "batch 3 points"]) -> tuple[Tensor, Tensor]:
        """Numbers of each point (B, 192, P), and of the whole face (B, 1536)."""
        of_points = x = self.of_points(landmarks)
        for layer in self.layers[2:]:
            x = layer(x)
        return of_points.flatten(1, 2), x.flatten(1, 2).amax(dim=2)
