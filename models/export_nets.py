"""Networks as they are exported: from a picture to everything that follows from it, in one graph.

Input: `images` (B, 3, S, S), RGB in [0, 1]. Outputs, all in float32:

    parameters  (B, P)      what the network predicts, not whitened
    landmarks   (B, L, 3)   continuous pixels of the crop (the first one's centre at 0.5), y down;
                            z towards the camera, in the unit of the vertices
    rotation    (B, 3, 3)   of the head, for column vectors: x right, y up, z towards the camera
    vertices    (B, N, 3)   posed mesh, x right, y up, z towards the camera; with `dense` only
    triangles   (F, 3)      int32, counter-clockwise seen from outside; with `dense` only

So whoever runs the graph needs nothing of this program: no face model, no conventions but these.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.networks.reconstruction import ReconstructionNet
from models.synergy.network import INPUT_RANGES, SynergyNetwork
from models.synergy.pose import LABEL_ORIGIN_PX, head_pose
from options.face_options import CROP_PX

SPARSE_OUTPUTS = ("parameters", "landmarks", "rotation")
DENSE_OUTPUTS = ("vertices", "triangles")


class ExportNet(Protocol):
    """What both networks say about themselves."""

    image_px: int
    """Side of the crop."""
    outputs: tuple[str, ...]
    """Names of what `forward` returns."""

    def meaning(self) -> dict[str, Any]:
        """Plain values that travel with the file."""
        ...


class SynergyExport(nn.Module):
    """A SynergyNet: its regressor and its face model. Vertices in pixels of the crop."""

    triangles: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, network: SynergyNetwork, dense: bool = False) -> None:
        """Take a network in inference mode.

        Args:
            network: it is not changed.
            dense: give the mesh too.
        """
        super().__init__()
        # Not the cycle, which only teaches it.
        self.regressor, self.face = network.regressor, network.face
        self.dense = dense
        self.image_px = network.meaning.image_px
        self._prepare = INPUT_RANGES[network.meaning.input_range]
        self.register_buffer("mean", network.whitening_mean)
        self.register_buffer("std", network.whitening_std)
        self.outputs = SPARSE_OUTPUTS + (DENSE_OUTPUTS if dense else ())
        self.register_buffer("triangles", network.face.triangles.int())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the module."""
        parameters = self.regressor(self._prepare(images)).whitened * self.std + self.mean
        face = self.face
        rotation = head_pose(parameters[:, : face.layout.pose]).rotation
        x, y, z = face.landmarks(parameters).unbind(1)
        landmarks = torch.stack([x - LABEL_ORIGIN_PX, y - LABEL_ORIGIN_PX, z], dim=2)
        if not self.dense:
            return parameters, landmarks, rotation
        x, y, z = face.vertices(parameters).unbind(1)
        vertices = torch.stack([x - LABEL_ORIGIN_PX, self.image_px + LABEL_ORIGIN_PX - y, z], dim=2)
        return parameters, landmarks, rotation, vertices, self.triangles

    def meaning(self) -> dict[str, Any]:
        """See `ExportNet`."""
        layout, side = self.face.layout, self.image_px
        half = side / 2 / 2**0.5
        return {
            "model": "synergy",
            "image_px": side,
            "face_box_px": [side / 2 - half, side / 2 - half, side / 2 + half, side / 2 + half],
            "unit": "pixels of the crop",
            "layout": {
                "pose": layout.pose,
                "shape": layout.shape,
                "expression": layout.expression,
            },
            "face_model": self.face.card.record,
        }


class RNetExport(nn.Module):
    """An R-Net, its face model and its camera. Vertices in decimetres, camera 10 dm away on z."""

    triangles: Tensor

    def __init__(
        self, network: ReconstructionNet, face_model: FaceModel, camera: Camera, dense: bool = False
    ) -> None:
        """Take a network in inference mode.

        Args:
            network: it is not changed.
            face_model: that gives its coefficients their meaning.
            camera: of the crops.
            dense: give the mesh too.
        """
        super().__init__()
        self.network, self.face_model = network, face_model
        self.dense = dense
        self.image_px = CROP_PX
        self.outputs = SPARSE_OUTPUTS + (DENSE_OUTPUTS if dense else ())
        self._camera = camera
        self.register_buffer("triangles", face_model.triangles.int())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the module."""
        model, camera = self.face_model, self._camera
        flat = self.network(images)
        coefficients = model.layout.split(flat)
        rotation = rotation_matrix(coefficients.angles_rad)
        shape = model.shape(coefficients.identity, coefficients.expression)
        posed = rotate(shape, rotation) + coefficients.translation_dm[:, None]
        points = model.landmarks(camera.from_object(posed), coefficients.angles_rad[:, 1])
        depth = camera.to_object(points)[..., 2:]
        landmarks = torch.cat([camera.project(points), depth], dim=2)
        if not self.dense:
            return flat, landmarks, rotation
        return flat, landmarks, rotation, posed, self.triangles

    def meaning(self) -> dict[str, Any]:
        """See `ExportNet`."""
        model, camera = self.face_model, self._camera
        mean = model.landmarks(camera.from_object(model.mean_shape.reshape(1, -1, 3)))
        points = camera.project(mean)[0]
        box = torch.cat([points.amin(dim=0), points.amax(dim=0)])
        return {
            "model": "facerecon",
            "image_px": self.image_px,
            "face_box_px": [round(edge, 3) for edge in box.tolist()],
            "unit": "decimetres",
            "layout": {block.name: block.size for block in model.layout.blocks},
            "face_model": model.card.record,
        }
