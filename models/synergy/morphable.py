"""SynergyNet's face: shape and expression weights and a pose in, points in the crop out.

    v = mean + W_shape s + W_expression e      (micrometres, x right, y up, z to the camera)
    V = A v + t,   then y := side + 1 - y      (label coordinates: pixels, y down)

The bases come from a folder `3dmm_data` that the user brings (`util.synergy.ddfa_files`), or are
the first ones of any of our face models (`face_arrays`). Landmarks are linear in the vertices, so
that they have small bases of their own and need no mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.face_model import FaceModel, IdentityCard
from models.precision import full_products
from models.synergy.parameters import SynergyLayout
from models.synergy.pose import MICROMETRES_PER_DM, matrix_and_shift
from options.face_options import SYNERGY_CROP_PX


@dataclass(frozen=True)
class SynergyFaceArrays:
    """A face model of the wanted size as arrays. N vertices, L landmarks, F triangles."""

    card: IdentityCard
    mean: np.ndarray
    """(N, 3) micrometres."""
    shape_basis: np.ndarray
    """(N, 3, Ks)"""
    expression_basis: np.ndarray
    """(N, 3, Ke)"""
    landmark_vertices: np.ndarray
    """(L, C) vertices that each landmark mixes."""
    landmark_weights: np.ndarray
    """(L, C) their weights; rows sum to 1."""
    triangles: np.ndarray
    """(F, 3) counter-clockwise seen from outside, from 0."""
    uv: np.ndarray | None = None
    """(U, 2) texture coordinates in [0, 1], origin bottom left."""
    uv_triangles: np.ndarray | None = None
    """(F, 3) those of the triangles' corners; None where vertex v has number v."""


def face_arrays(model: FaceModel, layout: SynergyLayout) -> SynergyFaceArrays:
    """The first bases of a face model.

    Raises:
        ValueError: it has fewer of them than the layout.
    """
    n_id, n_exp = len(model.identity_sigma), len(model.expression_sigma)
    if layout.shape > n_id or layout.expression > n_exp:
        raise ValueError(
            f"face model {model.card} has {n_id} identity and {n_exp} expression parameters, "
            f"wanted are {layout.shape} and {layout.expression}"
        )
    bases = model.shape_basis.unflatten(1, (-1, 3)).permute(1, 2, 0).cpu().numpy()
    embedding = model.landmark_embedding
    scale = np.float32(MICROMETRES_PER_DM)
    return SynergyFaceArrays(
        card=model.card,
        mean=model.mean_shape.reshape(-1, 3).cpu().numpy() * scale,
        shape_basis=bases[..., : layout.shape] * scale,
        expression_basis=bases[..., n_id : n_id + layout.expression] * scale,
        landmark_vertices=embedding.vertices.cpu().numpy(),
        landmark_weights=embedding.barycentrics.cpu().numpy(),
        triangles=model.triangles.cpu().numpy(),
        uv=None if model.uv is None else model.uv.cpu().numpy(),
        uv_triangles=None if model.uv_triangles is None else model.uv_triangles.cpu().numpy(),
    )


class SynergyFace(nn.Module):
    """Decodes parameters. Its arrays are non-persistent buffers, as those of `FaceModel`."""

    mean: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    landmark_mean: Tensor
    landmark_shape: Tensor
    landmark_expression: Tensor
    triangles: Tensor
    uv: Tensor | None
    uv_triangles: Tensor | None

    def __init__(
        self,
        arrays: SynergyFaceArrays,
        layout: SynergyLayout | None = None,
        image_px: int = SYNERGY_CROP_PX,
    ) -> None:
        """Turn arrays into buffers.

        Args:
            arrays: of the face model.
            layout: of the parameters; None takes the sizes of the arrays and a pose of 12.
            image_px: side of the crop.

        Raises:
            ValueError: sizes that contradict each other.
        """
        super().__init__()
        count_s, count_e = arrays.shape_basis.shape[2], arrays.expression_basis.shape[2]
        layout = layout or SynergyLayout(shape=count_s, expression=count_e)
        if (layout.shape, layout.expression) != (count_s, count_e):
            raise ValueError(
                f"face model {arrays.card} has {count_s} shape and {count_e} expression bases, "
                f"wanted are {layout.shape} and {layout.expression}"
            )
        self.card, self.layout, self.image_px = arrays.card, layout, image_px
        landmarks = [
            np.einsum("lc,lc...->l...", arrays.landmark_weights, array[arrays.landmark_vertices])
            for array in (arrays.mean, arrays.shape_basis, arrays.expression_basis)
        ]
        flat = {
            "mean": arrays.mean.reshape(-1),
            "shape_basis": arrays.shape_basis.reshape(-1, count_s).T,
            "expression_basis": arrays.expression_basis.reshape(-1, count_e).T,
            "landmark_mean": landmarks[0].reshape(-1),
            "landmark_shape": landmarks[1].reshape(-1, count_s).T,
            "landmark_expression": landmarks[2].reshape(-1, count_e).T,
            "uv": arrays.uv,
        }
        for name, array in flat.items():
            tensor = None if array is None else _tensor(array, np.float32)
            self.register_buffer(name, tensor, persistent=False)
        self.register_buffer("triangles", _tensor(arrays.triangles, np.int32), persistent=False)
        corners = arrays.triangles if arrays.uv_triangles is None else arrays.uv_triangles
        uv_triangles = None if arrays.uv is None else _tensor(corners, np.int32)
        self.register_buffer("uv_triangles", uv_triangles, persistent=False)

    @property
    def vertex_count(self) -> int:
        """N."""
        return self.mean.numel() // 3

    @property
    def landmark_count(self) -> int:
        """L."""
        return self.landmark_mean.numel() // 3

    @full_products()
    def shape(
        self, parameters: Float[Tensor, "batch parameters"]
    ) -> Float[Tensor, "batch vertices 3"]:
        """Vertices without pose, in micrometres, y up."""
        _, shape, expression = self.layout.split(parameters)
        flat = torch.addmm(self.mean, shape, self.shape_basis)
        return torch.addmm(flat, expression, self.expression_basis).unflatten(1, (-1, 3))

    def vertices(
        self, parameters: Float[Tensor, "batch parameters"]
    ) -> Float[Tensor, "batch 3 vertices"]:
        """All vertices in label coordinates of the crop, y down.

        Args:
            parameters: not whitened.
        """
        return self._pose(self.shape(parameters), parameters)

    @full_products()
    def landmarks(
        self, parameters: Float[Tensor, "batch parameters"]
    ) -> Float[Tensor, "batch 3 landmarks"]:
        """The landmarks in label coordinates of the crop, y down; `to_continuous` makes pixels.

        Args:
            parameters: not whitened.
        """
        _, shape, expression = self.layout.split(parameters)
        flat = torch.addmm(self.landmark_mean, shape, self.landmark_shape)
        flat = torch.addmm(flat, expression, self.landmark_expression)
        return self._pose(flat.unflatten(1, (-1, 3)), parameters)

    @full_products()
    def _pose(
        self,
        points: Float[Tensor, "batch points 3"],
        parameters: Float[Tensor, "batch parameters"],
    ) -> Float[Tensor, "batch 3 points"]:
        matrix, shift = matrix_and_shift(parameters[:, : self.layout.pose])
        posed = matrix @ points.transpose(1, 2) + shift[:, :, None]
        x, y, z = posed.unbind(1)
        return torch.stack([x, self.image_px + 1 - y, z], dim=1)


def _tensor(array: np.ndarray, dtype: type) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype)).clone()
