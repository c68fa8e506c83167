"""The inside of mouths, and a shallow screen in its place that bears a photo's teeth.

No face model here has teeth. A photo paints them on whatever the mesh has there, and on the walls
of a deep mouth they lie centimetres behind where they are: from another side a smile then has gaps.
On a screen as far behind the lips as teeth are, it turns as a smile does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.face_model import FaceModel
from models.stages import ShapedFace


def behind_lips(face_model: FaceModel) -> Bool[Tensor, " vertices"]:
    """Which vertices line the inside of an open mouth, in models that have one.

    They have no teeth and no tongue: laid over a photo, they would hide the photo's.
    """
    regions = face_model.regions
    if "mouth_cavity" not in regions:
        return torch.zeros(face_model.vertex_count, dtype=torch.bool)
    ring = regions.get("mouth_ring", torch.zeros_like(regions["mouth_cavity"]))
    return regions["mouth_cavity"] & ~ring


@dataclass(frozen=True)
class MouthScreen:
    """Carries the inside of a mouth onto a membrane across the rim of its lips, pushed back."""

    inside: Int[Tensor, " inside"]
    """Vertices that move."""
    rim: Int[Tensor, " rim"]
    """Vertices beside them, which stay."""
    weights: Float[Tensor, "inside rim"]
    """Of the rim for each of the inside, harmonic: positive with the sum 1, so that the membrane
    stays between the lips. Where these are not convex, at the corners of a smile, it may fold."""
    depths_dm: Float[Tensor, " inside"]

    def __call__(self, shaped: ShapedFace) -> ShapedFace:
        """The same faces before such screens; normals and albedo stay."""
        vertices = shaped.vertices_object.clone()
        screen = self.weights @ vertices[:, self.rim]
        screen[..., 2] -= self.depths_dm
        vertices[:, self.inside] = screen
        return replace(shaped, vertices_object=vertices)
