"""Meshes whose vertices are given in pixels of a photo: drawn over it, and coloured by it.

Vertices (N, 3): x, y in continuous pixels, y down; z in pixels, towards the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.camera import Camera
from models.mesh import VertexNormals
from models.renderer import Renderer

_FAR_PX = 1e4
"""Distance of the camera in pixels of depth: more than any face is deep."""
_AMBIENT, _DIRECTED = 0.4, 0.6
_GREY = (0.78, 0.80, 0.86)
_LEAST_FACING = 0.15
"""Cosine to the viewer below which a photo shows a surface too flat to colour it."""
_HIDDEN = 0.02
"""Depth behind what is seen, over the width of the mesh, from which on a vertex is hidden."""


class PixelView:
    """Draws meshes of one topology."""

    def __init__(
        self, triangles: np.ndarray, vertex_count: int, renderer: Renderer | None = None
    ) -> None:
        """Prepare the topology.

        Args:
            triangles: (F, 3) counter-clockwise seen from outside.
            vertex_count: N.
            renderer: draws on the CPU.
        """
        self._triangles = torch.from_numpy(np.ascontiguousarray(triangles, np.int32))
        self._normals = VertexNormals(self._triangles, vertex_count)
        self._renderer = renderer or Renderer()

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit normals (N, 3): x right, y up, z towards the camera."""
        return self._normals(torch.from_numpy(_y_up(vertices))[None].float())[0].numpy()

    def shaded(self, vertices: np.ndarray, colours: np.ndarray | None = None) -> np.ndarray:
        """Colours (N, 3) in [0, 1] under a light beside the camera; grey clay without colours."""
        facing = self.normals(vertices)[:, 2:].clip(0)
        base = np.array(_GREY) if colours is None else colours
        return (base * (_AMBIENT + _DIRECTED * facing)).astype(np.float32)

    def draw_over(
        self,
        picture: np.ndarray,
        faces: Sequence[np.ndarray],
        colours: Sequence[np.ndarray],
        alpha: float = 1.0,
    ) -> np.ndarray:
        """The photo with meshes over it, the smallest, which is farthest, first.

        Args:
            picture: (H, W, 3) uint8; not changed.
            faces: vertices (N, 3) of each.
            colours: (N, 3) in [0, 1] of each.
            alpha: how far meshes cover the photo.

        Returns:
            (H, W, 3) uint8.
        """
        drawn = picture.copy()
        covered = np.zeros(picture.shape[:2], bool)
        order = sorted(range(len(faces)), key=lambda k: float(np.ptp(faces[k][:, 0])))
        for k in order:
            window = _window(faces[k], picture.shape)
            if window is None:
                continue
            made = self._render(faces[k], window, colours[k])
            assert made.image is not None
            seen = made.mask[0, 0].numpy() > 0
            image = made.image[0].permute(1, 2, 0).clamp(0, 1).numpy()[seen] * 255
            drawn[window.rows, window.columns][seen] = np.rint(image).astype(np.uint8)
            covered[window.rows, window.columns] |= seen
        if alpha < 1:
            # Once for all faces: where two overlap, the photo shines through one mesh only.
            mixed = alpha * drawn[covered] + (1 - alpha) * picture[covered]
            drawn[covered] = np.rint(mixed).astype(np.uint8)
        return drawn

    def colours_from(
        self, picture: np.ndarray, vertices: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colours of the vertices where the photo shows them.

        Args:
            picture: (H, W, 3) uint8.
            vertices: (N, 3).

        Returns:
            (N, 3) RGB in [0, 1], the mean of those that are seen elsewhere; and (N,) whether the
            photo shows the vertex: inside of it, facing the camera, and hidden by nothing.
        """
        height, width = picture.shape[:2]
        seen = self.normals(vertices)[:, 2] > _LEAST_FACING
        pixel = np.floor(vertices[:, :2]).astype(int)
        seen &= ((pixel >= 0) & (pixel < [width, height])).all(axis=1)
        window = _window(vertices, picture.shape)
        if window is None:
            return np.full((len(vertices), 3), 0.5, np.float32), np.zeros(len(vertices), bool)
        made = self._render(vertices, window, None)
        depth = made.depth_dm[0, 0].numpy()
        covered = made.mask[0, 0].numpy() > 0
        column = np.clip(pixel[:, 0] - window.left, 0, window.width - 1)
        row = np.clip(pixel[:, 1] - window.top, 0, window.height - 1)
        behind = (_FAR_PX - vertices[:, 2]) - depth[row, column]
        seen &= ~(covered[row, column] & (behind > _HIDDEN * np.ptp(vertices[:, 0])))
        colours = _bilinear(picture, vertices[:, :2]) / 255
        usual = colours[seen].mean(axis=0) if seen.any() else np.full(3, 0.5)
        return np.where(seen[:, None], colours, usual).astype(np.float32), seen

    def _render(self, vertices: np.ndarray, window: _Window, colours: np.ndarray | None):
        moved = vertices - np.array([window.left, window.top, 0.0])
        seen = torch.from_numpy(_y_up(moved) * [1.0, 1.0, -1.0] + [0.0, 0.0, _FAR_PX])
        features = None if colours is None else torch.from_numpy(colours)[None].float()
        camera = _camera(window)
        return self._renderer(seen[None].float(), self._triangles, camera, features)


@dataclass(frozen=True)
class _Window:
    """The part of a photo that a mesh covers."""

    left: int
    top: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)


def _window(vertices: np.ndarray, shape: tuple[int, ...]) -> _Window | None:
    """None where all of a mesh lies outside."""
    limit = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(vertices[:, :2].min(axis=0)), 0, limit).astype(int)
    high = np.clip(np.ceil(vertices[:, :2].max(axis=0)), 0, limit).astype(int)
    if (high <= low).any():
        return None
    left, top, width, height = (int(value) for value in (*low, *(high - low)))
    return _Window(left, top, width, height)


def _camera(window: _Window) -> Camera:
    """Weak perspective that sees pixels as pixels: focal / distance = 1."""
    focal: Tensor = torch.full((1, 2), _FAR_PX)
    return Camera(
        focal_px=focal,
        centre_px=torch.zeros(1, 2),
        height=window.height,
        width=window.width,
        distance_dm=_FAR_PX,
        near_dm=1.0,
        far_dm=2 * _FAR_PX,
        kind="weak",
    )


def _y_up(vertices: np.ndarray) -> np.ndarray:
    return vertices * np.array([1.0, -1.0, 1.0])


def _bilinear(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours (P, 3) at continuous pixels (P, 2); beyond the outer centres the edge goes on."""
    height, width = picture.shape[:2]
    place = np.clip(points - 0.5, 0, [width - 1, height - 1])
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, [width - 1, height - 1])
    weight = place - low
    above = _mix(picture[low[:, 1], low[:, 0]], picture[low[:, 1], high[:, 0]], weight[:, :1])
    below = _mix(picture[high[:, 1], low[:, 0]], picture[high[:, 1], high[:, 0]], weight[:, :1])
    return _mix(above, below, weight[:, 1:])


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first * (1 - weight) + second * weight
