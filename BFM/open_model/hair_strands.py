"""Draws single hairs and other thin lines on the skin: brows, lashes, beards, wrinkles, veins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .texel_surface import Skin

STEPS = 9  # points of a strand
SAMPLES_A_TEXEL = 2.0


def grow(
    skin: Skin,
    roots: np.ndarray,
    direction: Callable[[np.ndarray], np.ndarray],
    length_dm: np.ndarray,
    bend: np.ndarray,
) -> np.ndarray:
    """Lets strands grow along the surface.

    Args:
        skin: where they may grow.
        roots: (N, 3) in dm.
        direction: of hairs at points (N, 3), which need not be tangential or of unit length.
        length_dm: (N,)
        bend: (N, 2) angle in radians that a strand starts off its direction, and that it turns
            along its length.

    Returns:
        (N, STEPS, 3) points on the surface.
    """
    points, texel = skin.onto(roots)
    path = [points]
    for step in range(STEPS - 1):
        normal = skin.surface.normals[texel]
        wanted = direction(points)
        along = wanted - (wanted * normal).sum(axis=1, keepdims=True) * normal
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        angle = (bend[:, 0] + bend[:, 1] * step / (STEPS - 2))[:, None]
        along = np.cos(angle) * along + np.sin(angle) * np.cross(normal, along)
        points, texel = skin.onto(points + along * (length_dm / (STEPS - 1))[:, None])
        path.append(points)
    return np.stack(path, axis=1)


def draw(
    paths: np.ndarray, width: np.ndarray, strength: np.ndarray, size: int, tip: float = 0.35
) -> np.ndarray:
    """Draws lines into a picture.

    Args:
        paths: (N, S, 2) columns and rows of their points.
        width: (N,) at the root, in texels.
        strength: (N,) factor on the opacity.
        size: of the picture.
        tip: width at the end, as a share of the root's.

    Returns:
        (size, size) opacity in [0, 1): where lines cross, each covers what the others leave.
    """
    step = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    # A line that jumps over a seam of the layout would be drawn right across the picture.
    whole = step.max(axis=1) < 0.05 * size
    cover = np.zeros(size * size)
    count = np.maximum(np.ceil(step.sum(axis=1) * SAMPLES_A_TEXEL).astype(int), 2)
    for samples in np.unique(count[whole]):
        chosen = whole & (count == samples)
        share = (np.arange(samples) + 0.5) / samples
        place = share * (paths.shape[1] - 1)
        before = np.minimum(place.astype(int), paths.shape[1] - 2)
        rest = (place - before)[None, :, None]
        points = paths[chosen][:, before] * (1 - rest) + paths[chosen][:, before + 1] * rest
        length = step[chosen].sum(axis=1, keepdims=True) / samples
        weight = length * (width * strength)[chosen][:, None] * (1 + (tip - 1) * share)
        _splat(cover, points.reshape(-1, 2), weight.ravel(), size)
    return 1 - np.exp(-cover.reshape(size, size))


def _splat(cover: np.ndarray, points: np.ndarray, weight: np.ndarray, size: int) -> None:
    """Adds weights (N,) at columns and rows (N, 2), shared among the four texels around."""
    corner = np.floor(points - 0.5)
    fraction = points - 0.5 - corner
    corner = corner.astype(int)
    for right in (0, 1):
        for down in (0, 1):
            column = np.clip(corner[:, 0] + right, 0, size - 1)
            row = np.clip(corner[:, 1] + down, 0, size - 1)
            share = np.abs(1 - right - fraction[:, 0]) * np.abs(1 - down - fraction[:, 1])
            cover += np.bincount(row * size + column, weight * share, minlength=size * size)


def spots(
    skin: Skin, texels: np.ndarray, radius_dm: np.ndarray, softness: float, opacity: np.ndarray
) -> np.ndarray:
    """Draws round spots.

    Args:
        skin: surface they lie on.
        texels: (N,) their centres.
        radius_dm: (N,)
        softness: width of the edge as a share of the radius.
        opacity: (N,)

    Returns:
        (size, size) opacity; where spots overlap, the stronger one.
    """
    surface = skin.surface
    size = surface.size
    picture = np.zeros(size * size)
    place = surface.column_row[texels]
    # Distance on the surface of a displacement in the picture: the inverse of the local map.
    to_surface = np.linalg.pinv(surface.to_picture[surface.triangle[texels]])
    narrowest = np.maximum(np.linalg.svd(to_surface, compute_uv=False)[:, -1], 1e-4)
    reach = np.minimum(np.ceil(radius_dm * (1 + softness) / narrowest).astype(int) + 1, 40)
    for width in np.unique(reach):
        chosen = np.flatnonzero(reach == width)
        steps = np.arange(-width, width + 1)
        window = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        for part in np.array_split(chosen, len(chosen) * len(window) // 400000 + 1):
            texel = np.floor(place[part]).astype(int)[:, None] + window
            offset = texel + 0.5 - place[part][:, None]
            distance = np.linalg.norm(np.einsum("nij,nwj->nwi", to_surface[part], offset), axis=2)
            radius = radius_dm[part][:, None]
            value = np.clip((radius * (1 + softness) - distance) / (softness * radius), 0, 1)
            inside = ((texel >= 0) & (texel < size)).all(axis=2)
            flat = texel[..., 1] * size + texel[..., 0]
            value = value * opacity[part][:, None]
            np.maximum.at(picture, flat[inside], value[inside])
    return picture.reshape(size, size)
