"""What each pixel of a photo sees of a face: depth, normal, whether anything; and which vertices.

A large photo is drawn in strips, so that memory is bounded by the maps themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.camera import Camera
from models.renderer import Renderer

STRIP_PX = 1 << 21
"""Pixels that are drawn together."""
SEEN_PX = 1024
"""Longer side of the picture in which vertices are looked for."""
SEEN_TOLERANCE_DM = 0.01
"""How far behind the surface that its pixel shows a vertex may lie, for pixels have a size."""


@dataclass(frozen=True)
class SurfaceMaps:
    """Of one face; row 0 is the top."""

    mask: Bool[Tensor, "height width"]
    """Where the mesh is seen."""
    depth_dm: Float[Tensor, "height width"]
    """Along the camera's axis, not along the ray; 0 where nothing is seen."""
    normals: Float[Tensor, "height width 3"]
    """Unit vectors, x right, y up, z towards the camera; 0 where nothing is seen."""


@torch.inference_mode()
def surface_maps(
    vertices_camera: Float[Tensor, "vertices 3"],
    normals: Float[Tensor, "vertices 3"],
    triangles: Int[Tensor, "faces 3"],
    camera: Camera,
    renderer: Renderer,
) -> SurfaceMaps:
    """Draw a face.

    Args:
        vertices_camera: x right, y up, z = depth along the camera's axis.
        normals: of the vertices, x right, y up, z towards the camera.
        triangles: vertex indices.
        camera: of the picture, or of a part of it.
        renderer: that draws on the vertices' device.
    """
    rows = max(STRIP_PX // camera.width, 1)
    strips = []
    for top in range(0, camera.height, rows):
        one = torch.ones_like(camera.focal_px)
        shift = torch.zeros_like(camera.centre_px)
        shift[:, 1] = -top
        size = (camera.width, min(rows, camera.height - top))
        strip = camera.regrid(one, shift, size).to(torch.float32)
        made = renderer(vertices_camera[None].float(), triangles, strip, normals[None].float())
        assert made.image is not None
        vectors = made.image[0].permute(1, 2, 0)
        length = vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        strips.append((made.mask[0, 0] > 0, made.depth_dm[0, 0], vectors / length))
    mask, depth, vectors = (torch.cat(parts) for parts in zip(*strips, strict=True))
    return SurfaceMaps(mask, depth, vectors)


@torch.inference_mode()
def seen_vertices(
    vertices_camera: Float[Tensor, "vertices 3"],
    triangles: Int[Tensor, "faces 3"],
    camera: Camera,
    renderer: Renderer,
) -> Bool[Tensor, " vertices"]:
    """Which vertices a photo shows: inside of it, turned to the camera, and hidden by nothing.

    1. A vertex is turned to the camera if a triangle at it is.
    2. It is hidden where the surface that its pixel and all eight around it show lies nearer; with
       the neighbours, since a pixel on the edge of what hides may show either.

    Args:
        vertices_camera: x right, y up, z = depth along the camera's axis.
        triangles: vertex indices, counter-clockwise seen from outside.
        camera: of the whole photo. Vertices are looked for in a picture of the face of about
            `SEEN_PX`, so that a small face in a large photo hides none.
        renderer: that draws on the vertices' device.
    """
    view = camera.to(torch.float64)
    points = view.project(vertices_camera[None].double())[0]
    size = points.new_tensor([camera.width, camera.height])
    inside = ((points >= 0) & (points < size)).all(dim=1)
    low, high = points.amin(dim=0).floor() - 1, points.amax(dim=0).ceil() + 1
    zoom = SEEN_PX / float((high - low).max())
    width, height = ((high - low) * zoom).ceil().int().tolist()
    zooms = points.new_full((1, 2), zoom)
    window = view.regrid(zooms, -low[None] * zooms, (width, height)).to(torch.float32)
    made = renderer(vertices_camera[None].float(), triangles, window)
    # A frame of empty pixels, for those of vertices at the edge have all eight neighbours then.
    nothing = torch.tensor(torch.inf)
    depth = torch.where(made.mask > 0, made.depth_dm, nothing)
    farthest = torch.nn.functional.max_pool2d(depth, 3, stride=1, padding=1)[0, 0]
    columns, lines = ((points - low) * zoom).long().unbind(dim=1)
    behind = farthest[lines.clamp(0, height - 1), columns.clamp(0, width - 1)]
    open_to_view = vertices_camera[:, 2] <= behind + SEEN_TOLERANCE_DM

    a, b, c = vertices_camera.double()[triangles.long()].unbind(dim=1)
    # Depth points away: the frame is left-handed, and with it the cross product.
    towards = (torch.linalg.cross(b - a, c - a) * a).sum(dim=1) > 0
    turned = torch.zeros(len(vertices_camera), dtype=torch.bool)
    turned[triangles[towards].long().flatten()] = True
    return inside & turned & open_to_view
