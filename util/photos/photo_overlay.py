"""Lay reconstructed faces over the whole photo that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from scipy.spatial import KDTree

from models.camera import Camera
from models.face_model import FaceModel
from models.mouth import behind_lips
from models.renderer import Renderer
from util.photos.photo_camera import Window, camera_in_photo

_FADE_DM = 0.15
"""Distance from its open edge over which a neck fades in."""


class DrawnFace(Protocol):
    """What drawing needs of a face; `FaceResult` is one."""

    @property
    def vertices(self) -> np.ndarray:
        """Posed vertices (V, 3) in the object frame, decimetres."""
        ...

    @property
    def triangles(self) -> np.ndarray:
        """Corners of the triangles (F, 3)."""
        ...

    @property
    def colours(self) -> np.ndarray:
        """Of the vertices (V, 3), RGB in [0, 1]."""
        ...

    @property
    def alignment(self) -> Window:
        """How the photo became the crop."""
        ...

    @property
    def focal_scale(self) -> float:
        """Focal length over that of the usual camera."""
        ...


def overlay_opacity(face_model: FaceModel) -> np.ndarray:
    """How far each vertex (V,) covers the photo: not at all inside the mouth, less at the neck."""
    return _neck_fading(face_model) * ~behind_lips(face_model).numpy()


def _neck_fading(face_model: FaceModel) -> np.ndarray:
    """Opacity (V,) that lets a head's neck, which ends in mid-air, go over into that of the photo.

    0 where it is cut, 1 from 15 mm on; 1 for models without a head: a face ends on skin.
    """
    whole = np.ones(face_model.vertex_count, dtype=np.float32)
    if not all(name in face_model.regions for name in ("neck", "border")):
        return whole
    # The border is where the face alone ends; on a head it is no edge.
    neck = face_model.regions["neck"].numpy() & ~face_model.regions["border"].numpy()
    triangles = face_model.triangles.cpu().numpy()
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = np.sort(edges[neck[edges].all(axis=1)], axis=1)  # mouth and lids have open edges too
    found, counts = np.unique(edges, axis=0, return_counts=True)
    cut = np.unique(found[counts == 1])
    if not len(cut):
        return whole
    points = face_model.mean_shape.reshape(-1, 3).cpu().numpy()
    distances, _ = KDTree(points[cut]).query(points, distance_upper_bound=_FADE_DM)
    return (distances / _FADE_DM).clip(0, 1).astype(np.float32)


def lay_over(
    preview: np.ndarray,
    faces: Sequence[DrawnFace],
    camera: Camera,
    renderer: Renderer,
    opacity: np.ndarray | None = None,
) -> np.ndarray:
    """The photo with the faces drawn into it, the smallest, which is farthest, first.

    Args:
        preview: (H, W, 3) uint8, the photo in any size.
        faces: of this photo.
        camera: of the crop, the usual one.
        renderer: draws on the CPU.
        opacity: (V,) in [0, 1], how far the mesh covers the photo (`overlay_opacity`); None is
            everywhere all.

    Returns:
        (H, W, 3) uint8 copy.
    """
    picture = preview.copy()
    for face in sorted(faces, key=lambda face: face.alignment.scale, reverse=True):
        _draw(picture, face, camera, renderer, opacity)
    return picture


def _draw(
    picture: np.ndarray,
    face: DrawnFace,
    camera: Camera,
    renderer: Renderer,
    opacity: np.ndarray | None,
) -> None:
    """Draw one face into the picture, in the part of it that the face covers."""
    height, width = picture.shape[:2]
    photo_width, photo_height = face.alignment.photo_size
    zoom = torch.tensor([[width / photo_width, height / photo_height]], dtype=torch.float64)
    view = camera_in_photo(camera.refocused(face.focal_scale), face.alignment)
    view = view.regrid(zoom, torch.zeros_like(zoom), (width, height))
    vertices = view.from_object(torch.from_numpy(face.vertices)[None].double())
    points = view.project(vertices)[0].numpy()
    left, top = np.clip(np.floor(points.min(axis=0)), 0, [width, height]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, [width, height]).astype(int).tolist()
    if right <= left or bottom <= top:
        return
    shift = torch.tensor([[-left, -top]], dtype=torch.float64)
    window = view.regrid(torch.ones_like(shift), shift, (right - left, bottom - top))
    values = face.colours
    if opacity is not None:
        values = np.column_stack([values, opacity]).astype(np.float32)
    rendering = renderer(
        vertices.float(),
        torch.from_numpy(face.triangles),
        window.to(torch.float32),
        torch.from_numpy(values)[None],
    )
    assert rendering.image is not None
    seen = rendering.mask[0, 0].numpy() > 0
    drawn = rendering.image[0].clamp(0, 1).permute(1, 2, 0).numpy()[seen]
    part = picture[top:bottom, left:right]
    colours = 255 * drawn[:, :3]
    if opacity is not None:
        alpha = drawn[:, 3:]
        colours = alpha * colours + (1 - alpha) * part[seen]
    part[seen] = np.rint(colours).astype(np.uint8)
