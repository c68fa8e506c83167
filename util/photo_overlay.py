"""Lay reconstructed faces over the whole photo that they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.camera import Camera
from models.renderer import Renderer
from util.face_result import FaceResult
from util.photo_camera import camera_in_photo


def lay_over(
    preview: np.ndarray, faces: Sequence[FaceResult], camera: Camera, renderer: Renderer
) -> np.ndarray:
    """The photo with the faces drawn into it, the smallest, which is farthest, first.

    Args:
        preview: (H, W, 3) uint8, the photo in any size.
        faces: of this photo.
        camera: of the crop.
        renderer: draws on the CPU.

    Returns:
        (H, W, 3) uint8 copy.
    """
    picture = preview.copy()
    for face in sorted(faces, key=lambda face: face.alignment.scale, reverse=True):
        _draw(picture, face, camera, renderer)
    return picture


def _draw(picture: np.ndarray, face: FaceResult, camera: Camera, renderer: Renderer) -> None:
    """Draw one face into the picture, in the part of it that the face covers."""
    height, width = picture.shape[:2]
    photo_width, photo_height = face.alignment.photo_size
    zoom = torch.tensor([[width / photo_width, height / photo_height]], dtype=torch.float64)
    view = camera_in_photo(camera, face.alignment)
    view = view.regrid(zoom, torch.zeros_like(zoom), (width, height))
    vertices = view.from_object(torch.from_numpy(face.vertices)[None].double())
    points = view.project(vertices)[0].numpy()
    left, top = np.clip(np.floor(points.min(axis=0)), 0, [width, height]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, [width, height]).astype(int).tolist()
    if right <= left or bottom <= top:
        return
    shift = torch.tensor([[-left, -top]], dtype=torch.float64)
    window = view.regrid(torch.ones_like(shift), shift, (right - left, bottom - top))
    rendering = renderer(
        vertices.float(),
        torch.from_numpy(face.triangles),
        window.to(torch.float32),
        torch.from_numpy(face.colours)[None],
    )
    assert rendering.image is not None
    colours = (rendering.image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    seen = rendering.mask[0, 0].numpy() > 0
    picture[top:bottom, left:right][seen] = colours[seen]
