"""The rasteriser in plain PyTorch: runs on any device, and is the readable reference.

A few images at a time, and of their pairs of triangle and pixel a few (`CANDIDATES`), so that
memory does not grow with the batch, nor with large triangles. Images computed together are one long
list of triangles, and of vertices: those of image i follow those of image i - 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.renderer.raster_grid import HALF, LIMIT, SUBPIXELS, pixel_centres_ndc

CANDIDATES = 1 << 20
"""Pairs of triangle and pixel tested together for one image, and four times as many for several;
about 100 bytes each."""
PIXELS_AT_ONCE = FACES_AT_ONCE = 1 << 21
"""Of the images that a GPU computes together, where small operations take the time of starting
them: 41 of 224 x 224 pixels, 29 of 70,000 triangles; each takes 200 to 400 bytes. A CPU computes
one image at a time, whose numbers stay in its cache."""

_EMPTY = torch.iinfo(torch.int64).max


def visible_triangles(clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """See `differentiable.Kernels`."""
    if clip.device.type == "mps":  # which has no float64, needed for the depths
        return visible_triangles(clip.cpu(), triangles.cpu(), height, width).to(clip.device)
    ids = torch.empty((len(clip), height, width), dtype=torch.int32, device=clip.device)
    for some in _parts_of(ids, triangles):
        ids[some] = _visible_in_images(clip[some], triangles, height, width)
    return ids


def _parts(device: torch.device, images: int, pixels: int, faces: int) -> Iterator[slice]:
    """Which images of a batch are computed together; pixels and triangles are those of one."""
    at_once = 1
    if device.type != "cpu":
        at_once = max(min(PIXELS_AT_ONCE // pixels, FACES_AT_ONCE // max(faces, 1)), 1)
    return (slice(first, first + at_once) for first in range(0, images, at_once))


def _visible_in_images(clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    # 1. Snap the vertices to subpixels (x, y from the image's corner), half to even.
    x, y, z, w = clip.flatten(0, 1).unbind(-1)
    reciprocal = 1 / w
    snapped_x = torch.round(x * reciprocal * (HALF * width))
    snapped_y = torch.round(y * reciprocal * (HALF * height))
    depth = z * reciprocal
    # Comparisons with NaN are false: vertices that are not finite are not usable.
    usable = (w > 0) & (snapped_x.abs() <= LIMIT) & (snapped_y.abs() <= LIMIT)
    subpixel_x = torch.where(usable, snapped_x, 0).long() + HALF * width
    subpixel_y = torch.where(usable, snapped_y, 0).long() + HALF * height

    # 2. Keep triangles that are usable and whose box holds a pixel centre inside the image.
    #    Arrays of corners and edges are (3, images x F).
    first_vertex = clip.shape[1] * torch.arange(len(clip), device=clip.device)
    corners = (triangles.long().T[:, None] + first_vertex[:, None]).flatten(1)
    face_x, face_y = subpixel_x[corners], subpixel_y[corners]
    first_column, last_column = _box_of_pixels(face_x, width)
    first_row, last_row = _box_of_pixels(face_y, height)
    columns, rows = last_column - first_column + 1, last_row - first_row + 1
    kept = ((columns > 0) & (rows > 0) & usable[corners].all(dim=0)).nonzero()[:, 0]
    face_x, face_y = face_x[:, kept], face_y[:, kept]
    first_column, columns = first_column[kept], columns[kept]
    first_row, rows = first_row[kept], rows[kept]

    # 3. Edge k runs from corner k + 1 to corner k + 2 and is positive inside, for triangles of
    #    both orientations (no back-face culling).
    edge_x, edge_y = face_x.roll(-1, 0), face_y.roll(-1, 0)
    dx, dy = face_x.roll(-2, 0) - edge_x, face_y.roll(-2, 0) - edge_y
    area = dx[1] * dy[2] - dy[1] * dx[2]
    dx, dy = dx * area.sign(), dy * area.sign()
    # Top-left rule: a sample on an edge belongs to exactly one of the two triangles that share
    # it. The least edge value that counts as inside:
    least = ((dy > 0) | ((dy == 0) & (dx <= 0))).long()
    # Edge values at the first pixel of the box; they change by a constant from pixel to pixel.
    x, y = first_column * SUBPIXELS + HALF, first_row * SUBPIXELS + HALF
    value_at_first = dx * (y - edge_y) - dy * (x - edge_x)
    per_column, per_row = -SUBPIXELS * dy, SUBPIXELS * dx
    corner_depth = depth[corners[:, kept]].double()
    # A triangle of area 0 has zero edges after the turn by its sign, which nothing is inside of.
    reciprocal_area = 1 / area.abs().double()

    # 4. Test every pixel of every box, some at a time, and keep the nearest in a z-buffer of
    #    packed keys: depth in the high half, the inverted id in the low half, so that the
    #    smallest key is the nearest triangle, of equal depths the last one.
    ends = torch.cumsum(columns * rows, dim=0)
    begins = ends - columns * rows
    pairs = int(ends[-1]) if len(ends) else 0
    pixels, faces = height * width, max(len(triangles), 1)
    first_pixel = kept // faces * pixels  # of the image
    triangle = kept % faces
    keys = torch.full((len(clip) * pixels,), _EMPTY, dtype=torch.int64, device=clip.device)
    at_once = CANDIDATES * min(len(clip), 4)
    for start in range(0, pairs, at_once):
        pair = torch.arange(start, min(start + at_once, pairs), device=clip.device)
        face = torch.searchsorted(ends, pair, right=True)
        place = pair - begins[face]
        row = torch.div(place, columns[face], rounding_mode="floor")
        column = place - row * columns[face]
        value = value_at_first[:, face] + row * per_row[:, face] + column * per_column[:, face]
        inside = (value >= least[:, face]).all(dim=0).nonzero()[:, 0]
        face, (e0, e1, e2) = face[inside], value[:, inside]
        z0, z1, z2 = corner_depth[:, face]
        # Written out so that the sum is rounded in the order of the compiled kernel.
        pixel_depth = ((e0 * z0 + e1 * z1 + e2 * z2) * reciprocal_area[face]).float()
        seen = (pixel_depth >= -1) & (pixel_depth <= 1)
        key = (_sortable(pixel_depth) << 32) | (0x7FFFFFFF - triangle[face])
        key = torch.where(seen, key, _EMPTY)
        pixel = (first_row[face] + row[inside]) * width + first_column[face] + column[inside]
        pixel += first_pixel[face]
        keys.scatter_reduce_(0, pixel, key, reduce="amin")
    ids = 0x7FFFFFFF - (keys & 0xFFFFFFFF)
    return torch.where(keys == _EMPTY, -1, ids).to(torch.int32).reshape(-1, height, width)


def _box_of_pixels(corners: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """First and last pixel inside the image whose centres lie between the (3, F) corners."""
    a, b, c = corners
    # minimum, not amin, which is 20 times as slow for integers on the CPU.
    low = torch.minimum(torch.minimum(a, b), c)
    high = torch.maximum(torch.maximum(a, b), c)
    first = ((low - HALF + SUBPIXELS - 1) >> 4).clamp(min=0)
    return first, ((high - HALF) >> 4).clamp(max=pixels - 1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _sortable(depth: Tensor) -> Tensor:
    """Integers in the order of finite float32 values; -0 and +0 are equal."""
    bits = (depth + 0.0).view(torch.int32).long()
    # The bits of positive floats sort as integers; those of negative ones sort backwards.
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _parts_of(ids: Tensor, triangles: Tensor) -> Iterator[slice]:
    """`_parts` of images (B, H, W) of some triangles."""
    return _parts(ids.device, len(ids), ids.shape[1] * ids.shape[2], len(triangles))


def _seen_vertices(
    triangles: Tensor, ids: Tensor, vertices: int
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Where pixels of some images are covered, and what they see.

    Args:
        triangles: (F, 3).
        ids: (B, H, W).
        vertices: of one image.

    Returns:
        Image, row and column (N,) of each covered pixel; the vertices (N, 3) of its triangle,
        counted on from image to image.
    """
    # Indices, not masks: each use of a mask would wait for the GPU to count it.
    place = (ids >= 0).nonzero(as_tuple=True)
    return place, triangles[ids[place].long()].long() + vertices * place[0][:, None]


def _corner_products(
    clip: Tensor, triangles: Tensor, ids: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Covered pixels of some images and their triangles seen from the pixel.

    With p_k = (x_k - f_x w_k, y_k - f_y w_k), the corners relative to the ray of the pixel centre
    f, the perspective-correct weights are in the ratio of the double areas
    a_0 = p_1 x p_2, a_1 = p_2 x p_0, a_2 = p_0 x p_1.

    Returns:
        Places and vertices as `_seen_vertices`; corners (N, 3, 4); relative corners (N, 3, 2);
        centres f (N, 2); double areas (N, 3).
    """
    height, width = ids.shape[1:]
    place, vertex = _seen_vertices(triangles, ids, clip.shape[1])
    _, row, column = place
    corners = clip.flatten(0, 1)[vertex]
    centre = torch.stack(
        [pixel_centres_ndc(width, clip)[column], pixel_centres_ndc(height, clip)[row]], dim=-1
    )
    relative = corners[..., :2] - centre[:, None] * corners[..., 3:]
    p0, p1, p2 = relative.unbind(1)
    areas = torch.stack([_cross(p1, p2), _cross(p2, p0), _cross(p0, p1)], dim=1)
    return place, vertex, corners, relative, centre, areas


def barycentrics(clip: Tensor, triangles: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `differentiable.Kernels`."""
    weights = clip.new_zeros((*ids.shape, 3))
    depth = clip.new_zeros(ids.shape)
    for some in _parts_of(ids, triangles):
        place, _, corners, _, _, areas = _corner_products(clip[some], triangles, ids[some])
        a0, a1, a2 = areas.unbind(1)
        reciprocal = 1 / (a0 + a1 + a2)
        u, v = _saturate(a0 * reciprocal), _saturate(a1 * reciprocal)
        # Snapping lets a pixel lie a little outside its triangle.
        shrink = 1 / torch.clamp(u + v, min=1)
        u, v = u * shrink, v * shrink
        weights[some][place] = torch.stack([u, v, 1 - u - v], dim=1)

        z, w = corners[..., 2], corners[..., 3]
        over = z[:, 0] * a0 + z[:, 1] * a1 + z[:, 2] * a2
        under = w[:, 0] * a0 + w[:, 1] * a1 + w[:, 2] * a2
        ratio = over / under
        depth[some][place] = torch.where(ratio < 1, ratio, 1).clamp(min=-1)
    return weights, depth


def _saturate(value: Tensor) -> Tensor:
    """Clamp to [0, 1]; NaN, of a triangle seen edge-on, becomes 0."""
    return torch.where(value > 0, value, 0).clamp(max=1)


def barycentrics_backward(
    clip: Tensor, triangles: Tensor, ids: Tensor, gradient: Tensor, epsilon: float
) -> Tensor:
    """See `differentiable.Kernels`.

    With b_k = a_k / s, s = a_0 + a_1 + a_2 and g the gradient of b, that of a_k is
    c_k = (g_k - sum_j g_j b_j) / s; the cross products then give, cyclically,
    dL/dx_k = c_(k+2) y_(k+1) - c_(k+1) y_(k+2) and dL/dy_k = c_(k+1) x_(k+2) - c_(k+2) x_(k+1),
    and x_k - f_x w_k gives w the gradient -f_x dL/dx - f_y dL/dy. The clamps of the forward
    pass are ignored and s gets `epsilon` added with its own sign, as in nvdiffrast. z gets none.
    """
    result = torch.zeros_like(clip)
    for some in _parts_of(ids, triangles):
        place, vertex, _, relative, centre, areas = _corner_products(
            clip[some], triangles, ids[some]
        )
        total = areas.sum(dim=1)
        reciprocal = 1 / (total + torch.copysign(torch.full_like(total, epsilon), total))
        g0, g1, g2 = gradient[some][place].unbind(1)
        # The third weight is 1 - u - v.
        gu, gv = (g0 - g2) * reciprocal, (g1 - g2) * reciprocal
        mean = gu * (areas[:, 0] * reciprocal) + gv * (areas[:, 1] * reciprocal)
        c = torch.stack([gu - mean, gv - mean, -mean], dim=1)

        x, y = relative.unbind(-1)
        # Of the corner after, and of that before.
        c1, x1, y1 = c.roll(-1, 1), x.roll(-1, 1), y.roll(-1, 1)
        c2, x2, y2 = c.roll(1, 1), x.roll(1, 1), y.roll(1, 1)
        gx = c2 * y1 - c1 * y2
        gy = c1 * x2 - c2 * x1
        gw = -centre[:, None, 0] * gx - centre[:, None, 1] * gy
        per_corner = torch.stack([gx, gy, torch.zeros_like(gx), gw], dim=-1)
        _add_to_vertices(result[some], vertex, per_corner)
    return result


def _add_to_vertices(target: Tensor, vertex: Tensor, values: Tensor) -> None:
    """Sum (N, 3, C) values of corners into the vertices of images (B, V, C), in a fixed order."""
    flat = target.view(-1, target.shape[-1])
    if target.device.type == "cpu":
        flat.index_add_(0, vertex.reshape(-1), values.reshape(-1, values.shape[-1]))
    else:
        # Slower, but sorted; index_add_ sums in the order in which the GPU's threads come.
        flat.index_put_((vertex,), values, accumulate=True)


def interpolate(attributes: Tensor, triangles: Tensor, ids: Tensor, barycentrics: Tensor) -> Tensor:
    """See `differentiable.Kernels`."""
    result = attributes.new_zeros((*ids.shape, attributes.shape[-1]))
    for some in _parts_of(ids, triangles):
        place, vertex = _seen_vertices(triangles, ids[some], attributes.shape[1])
        a0, a1, a2 = _of_vertices(attributes, some, vertex).unbind(1)
        b0, b1, b2 = barycentrics[some][place].unsqueeze(-1).unbind(1)
        result[some][place] = b0 * a0 + b1 * a1 + b2 * a2
    return result


def _of_vertices(attributes: Tensor, some: slice, vertex: Tensor) -> Tensor:
    """Attributes (N, 3, C) of vertices that are counted on from image to image.

    Args:
        attributes: (B, V, C), or (1, V, C) of all images.
        some: the images.
        vertex: (N, 3).
    """
    if len(attributes) > 1:
        return attributes[some].flatten(0, 1)[vertex]
    is_one = some.stop - some.start == 1  # whose vertices are counted from 0
    return attributes[0][vertex if is_one else vertex % attributes.shape[1]]


def interpolate_backward(
    attributes: Tensor,
    triangles: Tensor,
    ids: Tensor,
    barycentrics: Tensor,
    gradient: Tensor,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """See `differentiable.Kernels`."""
    of_attributes = attributes.new_zeros((len(ids), *attributes.shape[1:])) if needs[0] else None
    of_weights = torch.zeros_like(barycentrics) if needs[1] else None
    for some in _parts_of(ids, triangles):
        place, vertex = _seen_vertices(triangles, ids[some], attributes.shape[1])
        g = gradient[some][place].unsqueeze(1)
        if of_attributes is not None:
            weights = barycentrics[some][place].unsqueeze(-1)
            _add_to_vertices(of_attributes[some], vertex, weights * g)
        if of_weights is not None:
            of_weights[some][place] = (g * _of_vertices(attributes, some, vertex)).sum(-1)
    return of_attributes, of_weights
