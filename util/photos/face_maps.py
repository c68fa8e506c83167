"""What the pixels of a photo see of a face, drawn once for all outputs that ask for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch

from models.camera import Camera
from models.mesh import VertexNormals
from models.renderer import Renderer
from models.surface_maps import SurfaceMaps, seen_vertices, surface_maps
from util.photos.face_result import FaceResult
from util.photos.photo_camera import camera_in_photo

WHOLE_PHOTO_PX = 1 << 22
"""Photos of at most so many pixels get maps of their own size; maps of larger ones are those of a
box around the face."""
MARGIN_PX = 16
"""Around the face in that box."""


@dataclass(frozen=True)
class MapBox:
    """The part of a photo that maps show, in whole pixels of it."""

    left: int
    top: int
    width: int
    height: int

    @property
    def record(self) -> dict[str, int]:
        """Plain values."""
        return vars(self).copy()

    def __str__(self) -> str:
        return f"{self.left} {self.top} {self.width} {self.height}"


class FaceMaps:
    """Draws the faces of one face model; its methods may run in threads."""

    def __init__(self, triangles: torch.Tensor, vertex_count: int, camera: Camera) -> None:
        """Prepare what all faces share.

        Args:
            triangles: of the face model, on any device.
            vertex_count: of its meshes.
            camera: of the crops, on the CPU.
        """
        self._triangles = triangles.cpu()
        self._normals_of = VertexNormals(self._triangles, vertex_count)
        self._camera = camera
        self._lock = threading.Lock()
        self._last: tuple[FaceResult, MapBox, SurfaceMaps] | None = None

    def camera_of(self, face: FaceResult) -> Camera:
        """The camera of a face's photo, in double precision."""
        return camera_in_photo(self._camera.refocused(face.focal_scale), face.alignment)

    def box(self, face: FaceResult) -> MapBox:
        """The part of its photo that a face's maps show.

        Raises:
            ValueError: the face is not finite, or lies outside of its photo.
        """
        width, height = face.alignment.photo_size
        low, high = self._extent(face)
        if width * height <= WHOLE_PHOTO_PX:
            return MapBox(0, 0, width, height)
        left, top = np.clip(low - MARGIN_PX, 0, [width, height]).tolist()
        right, bottom = np.clip(high + MARGIN_PX, 0, [width, height]).tolist()
        return MapBox(left, top, right - left, bottom - top)

    def maps(self, face: FaceResult, renderer: Renderer) -> tuple[MapBox, SurfaceMaps]:
        """The maps of a face, of which those of the last face are kept.

        Raises:
            ValueError: as `box`.
        """
        with self._lock:  # else several outputs of a face would draw it side by side
            if self._last is None or self._last[0] is not face:
                box = self.box(face)
                self._last = face, box, self._draw(face, box, renderer)
            return self._last[1:]

    def seen(self, face: FaceResult, renderer: Renderer) -> np.ndarray:
        """Which vertices (V,) the photo shows.

        Raises:
            ValueError: as `box`.
        """
        self._extent(face)
        camera = self.camera_of(face)
        vertices = self._before(camera, face)
        return seen_vertices(vertices, self._triangles, camera, renderer).numpy()

    def _draw(self, face: FaceResult, box: MapBox, renderer: Renderer) -> SurfaceMaps:
        """Only where the face is; the rest of the box stays empty."""
        low, high = self._extent(face)
        corner = np.array([box.left, box.top])
        size = np.array([box.width, box.height])
        (x0, y0), (x1, y1) = (np.clip(edge - corner, 0, size).tolist() for edge in (low, high))
        shift = torch.tensor([[-box.left - x0, -box.top - y0]], dtype=torch.float64)
        whole = self.camera_of(face)
        camera = whole.regrid(torch.ones_like(shift), shift, (x1 - x0, y1 - y0))
        vertices = self._before(camera, face)
        # Posed in the object frame, whose axes are those of the maps.
        normals = self._normals_of(torch.from_numpy(face.vertices)[None])[0]
        drawn = surface_maps(vertices, normals, self._triangles, camera, renderer)
        maps = SurfaceMaps(
            torch.zeros(box.height, box.width, dtype=torch.bool),
            torch.zeros(box.height, box.width),
            torch.zeros(box.height, box.width, 3),
        )
        for name, part in vars(drawn).items():
            getattr(maps, name)[y0:y1, x0:x1] = part
        return maps

    def _before(self, camera: Camera, face: FaceResult) -> torch.Tensor:
        return camera.from_object(torch.from_numpy(face.vertices)[None].double())[0]

    def _extent(self, face: FaceResult) -> tuple[np.ndarray, np.ndarray]:
        """First and last pixel, exclusive, of the face, which may reach beyond the photo.

        Raises:
            ValueError: a vertex is not finite, or none lies within the photo's edges.
        """
        if not np.isfinite(face.vertices).all():
            raise ValueError(f"{face.stem}: vertices are not finite")
        camera = self.camera_of(face)
        points = camera.project(self._before(camera, face)[None])[0].numpy()
        low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
        if (high <= 0).any() or (low >= face.alignment.photo_size).any():
            raise ValueError(f"{face.stem}: the face lies outside of its photo")
        return low.astype(int), high.astype(int)
