"""What a photo shows of each texel of a face: colours, and how far they can be trusted.

A photo shows a texel where the texel lies inside of it, faces the camera and is hidden by no other
part of the mesh. Weights fall to 0 towards the borders of what is seen. No fit is exact, so that
what is near an outline may be what lies behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_erosion, distance_transform_edt, minimum_filter
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel
from models.lighting import light_coefficients, sh_basis
from models.mesh import VertexNormals
from models.mouth import behind_lips
from models.renderer import Renderer
from models.texture_surface import TextureSurface

DARK = 0.02
"""Added to colours before logarithms: a level or two of 8 bits must not count as a factor."""
_GRAZING = (0.3, 0.65)
"""Cosines to the viewer between which a photo begins to show a surface, and fully does."""
_FADE_SHARE = 1 / 90
"""Of the texture's side over which weights fall where something hides the surface."""
_INNER_FADE = 0.4
"""Times that, inside of eyes and mouth, which are small."""
_DEPTH_PX = 1024
"""Longer side of the depth map that visibility is tested against."""
_BEHIND_DM = 0.004
"""Depth behind what is seen from which on a texel is hidden."""
_BESIDE_PX, _BESIDE_DM = 10, 0.05
"""So near, in the depth map, to something so far in front of it, a texel may show that instead."""
_OUTLINE_FACING = 0.7
"""The outline of a face is where it ends in the depth map with a cosine below this; where a mesh
ends on skin that goes on, there is none."""
_OUTLINE_PX, _SURE_PX = (8.0, 36.0), (16.0, 110.0)
"""Distances from the outline between which a photo begins to show skin, and between which also what
does not look like skin."""
_SURE_FADES = 4.0
"""The same where something hides the surface, in widths of the weights' fall."""
_LEAST_LIGHT = 0.15
"""Irradiance below which light is not divided out any further."""
_SOFT_DM = 0.08
"""Length over which irradiance is smoothed: skin scatters light, and in creases of the lids and
beside the nose light that comes back from the skin around fills what harmonics say is dark."""
_LIGHT_SHARES = (0.05, 0.98)
"""Quantiles of the irradiance of what is seen that bound it elsewhere: nothing in the photo tells
how bright a surface is that faces another way, and harmonics overshoot there."""


@dataclass(frozen=True)
class PhotoView:
    """One photo of a face, and how the face lies in it. V vertices."""

    photo: np.ndarray
    """(H, W, 3) uint8, the whole photo."""
    camera: Camera
    """One camera, of the whole photo."""
    vertices_object: np.ndarray
    """(V, 3) posed, object frame, decimetres."""
    gamma: Tensor
    """(1, 27) its light."""


@dataclass(frozen=True)
class TexelSight:
    """What one photo shows of N texels."""

    log_albedo: np.ndarray
    """(N, 3) logarithms of colour over irradiance."""
    weight: np.ndarray
    """(N,) in [0, 1]: 0 where the photo does not show the texel."""
    sure: np.ndarray
    """(N,) in [0, 1]: 0 where the texel may show what is behind the face."""
    quality: np.ndarray
    """(N,) how large and how much from the front the photo shows it."""
    irradiance: np.ndarray
    """(N, 3)"""


@dataclass(frozen=True)
class TexelRegions:
    """Parts of a face, (N,) bool each; empty in models that do not name them."""

    mouth: np.ndarray
    """Inside of an open mouth."""
    eyes: np.ndarray
    irises: np.ndarray
    inner: np.ndarray
    """Mouth, eyes and what the lids hide: what moves from photo to photo."""
    openings: np.ndarray
    """What borders on these: lids, lips, nostrils."""
    features: np.ndarray
    """(N,) float in [0, 1]: 1 on brows, lids and lips, which never look like skin."""

    @classmethod
    def of(cls, face_model: FaceModel, surface: TextureSurface) -> TexelRegions:
        """Those of a face model."""

        def region(*names: str) -> np.ndarray:
            found = np.zeros(face_model.vertex_count, bool)
            for name in names:
                if name in face_model.regions:
                    found |= face_model.regions[name].numpy()
            return found

        mouth = behind_lips(face_model).numpy()
        inner = mouth | region("eyeballs", "lid_cavity")
        features = region("brows", "lids", "lips").astype(np.float64)
        for _ in range(2):
            beside = surface.adjacency @ features > 0
            features = np.maximum(features, beside.astype(np.float64))
        features = surface.blurred(features)
        return cls(
            mouth=surface.inside(mouth),
            eyes=surface.inside(region("eyeballs")),
            irises=surface.inside(region("iris", "pupil")),
            inner=surface.inside(inner),
            openings=surface.inside(inner | region("lids", "lips", "nostrils", "mouth_cavity")),
            features=surface.at_texels(features),
        )


class TexelObserver:
    """Looks at photos of one face model."""

    def __init__(self, face_model: FaceModel, surface: TextureSurface, renderer: Renderer) -> None:
        """Prepare what all photos share."""
        self._surface, self._renderer = surface, renderer
        self._triangles = face_model.triangles.cpu()
        self._normals_of = VertexNormals(self._triangles, face_model.vertex_count)
        self.regions = TexelRegions.of(face_model, surface)
        self._soften = surface.membrane(np.ones(face_model.vertex_count), _SOFT_DM)

    def __call__(self, view: PhotoView, light_power: float = 1.0) -> TexelSight:
        """What a photo shows of each texel; its light counts by a power of its irradiance."""
        surface, regions = self._surface, self.regions
        vertices = torch.from_numpy(np.ascontiguousarray(view.vertices_object)).float()[None]
        camera = view.camera.to(torch.float32)
        points = surface.at_texels(camera.from_object(vertices)[0].numpy())
        normals = self._normals_of(vertices)[0].numpy()
        normal = _unit(surface.at_texels(normals))
        facing = _cosines(normal, points)
        pixels = camera.project(torch.from_numpy(points)[None])[0].numpy()
        depth_map = _DepthMap.of(vertices, normals, self._triangles, camera, self._renderer)
        hidden, beside, from_outline = depth_map.look_up(pixels, points[:, 2], facing)
        (column, row), (height, width) = pixels.T, view.photo.shape[:2]
        seen = (column >= 0.5) & (column <= width - 0.5) & (row >= 0.5) & (row <= height - 0.5)
        seen &= ~(hidden | (beside & ~regions.inner))

        steep = smoothstep(facing, *_GRAZING)
        # The inside of a mouth is a tunnel, right as seen from the front whatever its walls face.
        steep[regions.mouth] = facing[regions.mouth] > 0
        steep[~regions.inner] *= smoothstep(from_outline, *_OUTLINE_PX)[~regions.inner]
        seen &= steep > 0
        weight = steep * self.fading(seen)
        sure = steep * self.fading(seen | regions.openings, _SURE_FADES)
        sure *= smoothstep(from_outline, *_SURE_PX)

        with torch.no_grad():
            light = light_coefficients(view.gamma.detach().cpu().float())[0]
            lit = (sh_basis(torch.from_numpy(normals)) @ light).double().numpy()
        irradiance = surface.at_texels(self._soften.solve(lit)).clip(_LEAST_LIGHT)
        irradiance = _bounded(irradiance, weight > 0.5) ** light_power
        nearness = points[:, 2].min() / points[:, 2]
        return TexelSight(
            log_albedo=np.log(_sampled(view.photo, pixels) / irradiance + DARK),
            weight=weight,
            sure=sure,
            quality=weight * nearness * float(camera.focal_px.mean()) / float(points[:, 2].min()),
            irradiance=irradiance,
        )

    def fading(self, seen: np.ndarray, widths: float = 1.0) -> np.ndarray:
        """Weights (N,) that rise from 0 at the border of what is seen (N,)."""
        width = np.where(self.regions.inner, _INNER_FADE, 1.0)
        width *= widths * _FADE_SHARE * self._surface.size
        depth = self._surface.depth_within(seen, float(width.max()))
        return smoothstep(depth / width, 0.0, 1.0)


@dataclass(frozen=True)
class _DepthMap:
    """The mesh as the camera sees it, in pixels of its own."""

    front_dm: np.ndarray
    """(H, W) depth of what is seen; infinite where nothing is."""
    from_outline: np.ndarray
    """(H, W) pixels from the outline."""
    low_px: np.ndarray
    """(2,) pixel of the photo at its corner."""
    zoom: float
    """Its pixels for one of the photo."""
    focal_px: float
    """Of the photo."""

    @classmethod
    def of(
        cls,
        vertices: Tensor,
        normals: np.ndarray,
        triangles: Tensor,
        camera: Camera,
        renderer: Renderer,
    ) -> _DepthMap:
        points = camera.from_object(vertices)
        pixels = camera.project(points)[0].numpy()
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        zoom = _DEPTH_PX / max(float((high - low).max()), 1e-6)
        width, height = np.ceil(zoom * (high - low)).clip(1).astype(int).tolist()
        shift = torch.from_numpy(-zoom * low)[None].float()
        window = camera.regrid(torch.full((1, 2), zoom), shift, (width, height))
        facing = _cosines(normals, points[0].numpy())
        features = torch.from_numpy(facing.astype(np.float32))[None, :, None]
        made = renderer(points, triangles, window, features)
        assert made.image is not None
        covered = made.mask[0, 0].numpy() > 0
        within = np.asarray(binary_erosion(covered), bool)
        edge = covered & ~within & (made.image[0, 0].numpy() < _OUTLINE_FACING)
        far = np.full(covered.shape, np.inf)
        return cls(
            front_dm=np.where(covered, made.depth_dm[0, 0].numpy(), np.inf),
            from_outline=np.asarray(distance_transform_edt(~edge)) if edge.any() else far,
            low_px=low,
            zoom=zoom,
            focal_px=float(camera.focal_px.mean()),
        )

    def look_up(
        self, pixels: np.ndarray, depth_dm: np.ndarray, facing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For points at pixels (N, 2) of the photo, with depths and cosines to the viewer (N,).

        Returns:
            Whether something hides them, whether they lie beside something far in front of them,
            and how far they are from the outline.
        """
        last = np.array(self.front_dm.shape[::-1]) - 1
        column, row = (self.zoom * (pixels - self.low_px)).clip(0, last).astype(int).T
        # A slanted surface is deeper across the pixels of a filter.
        cosine = facing.clip(0.05, 1)
        pixel_dm = depth_dm / (self.focal_px * self.zoom) * np.sqrt(1 - cosine**2) / cosine
        behind = depth_dm - minimum_filter(self.front_dm, 3)[row, column]
        hidden = behind > _BEHIND_DM + 2.5 * pixel_dm
        behind = depth_dm - minimum_filter(self.front_dm, 2 * _BESIDE_PX + 1)[row, column]
        beside = behind > _BESIDE_DM + 1.5 * _BESIDE_PX * pixel_dm
        return hidden, beside, self.from_outline[row, column]


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below, 1 above, smooth in between; float32."""
    x = ((x - low) / (high - low)).clip(0, 1).astype(np.float32)
    return x * x * (3 - 2 * x)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("nk,nk->n", vectors, vectors))
    return vectors / lengths.clip(1e-9)[:, None]


def _cosines(normals: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of unit normals (N, 3) of the object frame to the viewer, at points of the camera's frame."""
    towards = _unit(points * np.array([-1, -1, 1], points.dtype))
    return np.einsum("nk,nk->n", normals, towards)


def _bounded(irradiance: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Irradiance (N, 3) no darker and no brighter than that of what is seen (N,)."""
    if not seen.any():
        return irradiance
    low, high = np.quantile(irradiance[seen], _LIGHT_SHARES, axis=0)
    return irradiance.clip(low, high)


def _sampled(photo: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Colours (N, 3) in [0, 1] at continuous pixels, no finer than texels are."""
    size = np.array(photo.shape[1::-1])
    low = (np.floor(pixels.min(axis=0)) - 4).clip(0, size - 1).astype(int)
    high = (np.ceil(pixels.max(axis=0)) + 4).clip(low + 1, size).astype(int)
    part = np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]])
    image = torch.from_numpy(part).permute(2, 0, 1)[None].float() / 255
    # Blocks of so many pixels a side that there are about as many as texels.
    step = max(int(np.sqrt(np.prod(np.ptp(pixels, axis=0)) / len(pixels))), 1)
    if step > 1:
        image = F.avg_pool2d(image, step, ceil_mode=True, count_include_pad=False)
    blocks = step * torch.tensor([image.shape[3], image.shape[2]])
    place = torch.from_numpy(pixels - low).float() / blocks * 2 - 1
    found = F.grid_sample(
        image, place[None, None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T.numpy().clip(0, 1)
