"""Landmarks as points of a mesh's surface, so that they need not be vertices."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn


class LandmarkEmbedding(nn.Module):
    """Points that stay where they are on the skin: each mixes the corners of one triangle.

    Any number of points; where a model says what they are (68 iBUG points), their order says it.
    """

    vertices: Tensor
    barycentrics: Tensor

    def __init__(
        self, vertices: Int[Tensor, "landmarks 3"], barycentrics: Float[Tensor, "landmarks 3"]
    ) -> None:
        """Attach points to a mesh.

        Args:
            vertices: the corners of each point's triangle; a point that is a vertex names it
                three times.
            barycentrics: their weights; rows sum to 1.
        """
        super().__init__()
        self.register_buffer("vertices", vertices, persistent=False)
        self.register_buffer("barycentrics", barycentrics, persistent=False)

    @property
    def count(self) -> int:
        """Number of landmarks."""
        return len(self.vertices)

    def forward(
        self, vertices: Float[Tensor, "batch vertices 3"]
    ) -> Float[Tensor, "batch landmarks 3"]:
        """The landmarks, in the frame of the vertices; linear, so bases may pass too."""
        corners = vertices[:, self.vertices.long()]
        return (corners * self.barycentrics[:, :, None]).sum(dim=2)
