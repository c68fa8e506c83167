"""Differentiable rasterisation of triangle meshes, with interchangeable backends."""

from models.renderer.fragments import (
    DEFAULT_EPSILON,
    Backend,
    Fragments,
    interpolate,
    rasterize,
    resolve_backend,
    visible_triangles,
)
from models.renderer.renderer import RasterCamera, Renderer, Rendering
from options.face_options import RenderOptions

__all__ = [
    "DEFAULT_EPSILON",
    "Backend",
    "Fragments",
    "RasterCamera",
    "RenderOptions",
    "Renderer",
    "Rendering",
    "interpolate",
    "rasterize",
    "resolve_backend",
    "visible_triangles",
]
