"""Landmarks as points of a mesh's surface, so that they need not be vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class MovingContour:
    """Landmarks that a turned head shows elsewhere on its skin. N landmarks, A angles."""

    landmarks: np.ndarray
    """(N,) which of the embedding's landmarks move."""
    yaws_rad: np.ndarray
    """(A,) yaw of the face that each row is for."""
    vertices: np.ndarray
    """(A, N, 3) corners of each point's triangle."""
    barycentrics: np.ndarray
    """(A, N, 3) their weights; sum to 1."""


class LandmarkEmbedding(nn.Module):
    """Points that stay where they are on the skin: each mixes the corners of one triangle.

    Any number of points; where a model says what they are (68 iBUG points), their order says it.
    Some may follow the silhouette: for a known yaw they lie between the points of the two nearest
    angles in the contour's table.
    """

    vertices: Tensor
    barycentrics: Tensor

    def __init__(
        self,
        vertices: Int[Tensor, "landmarks 3"],
        barycentrics: Float[Tensor, "landmarks 3"],
        contour: MovingContour | None = None,
    ) -> None:
        """Attach points to a mesh.

        Args:
            vertices: the corners of each point's triangle; a point that is a vertex names it
                three times.
            barycentrics: their weights; rows sum to 1.
            contour: points that move with the yaw.
        """
        super().__init__()
        self.register_buffer("vertices", vertices, persistent=False)
        self.register_buffer("barycentrics", barycentrics, persistent=False)
        self.has_contour = contour is not None
        if contour is not None:
            order = np.argsort(contour.yaws_rad)
            barycentrics_by_yaw = contour.barycentrics[order].astype(np.float32)
            arrays = {
                "contour_landmarks": torch.from_numpy(contour.landmarks.astype(np.int64)),
                "contour_yaws_rad": torch.from_numpy(contour.yaws_rad[order].astype(np.float32)),
                "contour_vertices": torch.from_numpy(contour.vertices[order].astype(np.int32)),
                "contour_barycentrics": torch.from_numpy(barycentrics_by_yaw),
            }
            for name, tensor in arrays.items():
                self.register_buffer(name, tensor, persistent=False)

    contour_landmarks: Tensor
    contour_yaws_rad: Tensor
    contour_vertices: Tensor
    contour_barycentrics: Tensor

    @property
    def count(self) -> int:
        """Number of landmarks."""
        return len(self.vertices)

    def forward(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        yaw_rad: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch landmarks 3"]:
        """The landmarks, in the frame of the vertices; linear, so bases may pass too.

        Args:
            vertices: of the mesh.
            yaw_rad: how far each face is turned to its left, where the contour should follow;
                constant for the gradient.
        """
        corners = vertices[:, self.vertices.long()]
        points = (corners * self.barycentrics[:, :, None]).sum(dim=2)
        if yaw_rad is None or not self.has_contour:
            return points
        # 1. Between which two rows of the table a face lies, and how far along.
        yaws = self.contour_yaws_rad
        yaw = yaw_rad.detach().clamp(yaws[0], yaws[-1]).to(yaws)
        upper = torch.searchsorted(yaws, yaw).clamp(1, len(yaws) - 1)
        share = ((yaw - yaws[upper - 1]) / (yaws[upper] - yaws[upper - 1]))[:, None, None]
        # 2. Its points on the way from those of the one row to those of the other.
        moved = torch.lerp(
            self._contour(vertices, upper - 1), self._contour(vertices, upper), share.to(vertices)
        )
        return points.index_copy(1, self.contour_landmarks, moved)

    def _contour(
        self, vertices: Float[Tensor, "batch vertices 3"], row: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch contour 3"]:
        """The moving points of one row of the table for each face."""
        item = torch.arange(len(vertices), device=vertices.device)[:, None, None]
        corners = vertices[item, self.contour_vertices[row].long()]
        return (corners * self.contour_barycentrics[row][..., None].to(vertices)).sum(dim=2)
