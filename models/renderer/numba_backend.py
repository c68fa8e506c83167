"""The rasteriser as compiled loops for the CPU, equal to the torch backend bit by bit.

The formulas are explained in `torch_backend`, which each loop here repeats for one image.
Forward results are equal because every operation is rounded in the same order; gradients are
sums over pixels and agree up to rounding.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from models.kernels import for_each_item, kernel
from models.renderer.raster_grid import HALF, LIMIT, pixel_centres_ndc


@kernel
@no_type_check
def _visible_in_image(clip, triangles, ids):
    """Fill ids (H, W) int32 from clip (V, 4) float32 and triangles (F, 3) int32."""
    height, width = ids.shape
    vertex_count = clip.shape[0]
    # 1. Snap the vertices to subpixels, half to even.
    half_width, half_height = np.float32(HALF * width), np.float32(HALF * height)
    limit = np.float32(LIMIT)
    subpixel_x = np.empty(vertex_count, np.int32)
    subpixel_y = np.empty(vertex_count, np.int32)
    depth = np.empty(vertex_count, np.float32)
    usable = np.empty(vertex_count, np.bool_)
    for vertex in range(vertex_count):
        w = clip[vertex, 3]
        reciprocal = np.float32(1) / w
        x = np.rint(clip[vertex, 0] * reciprocal * half_width)
        y = np.rint(clip[vertex, 1] * reciprocal * half_height)
        usable[vertex] = w > 0 and abs(x) <= limit and abs(y) <= limit
        if usable[vertex]:
            subpixel_x[vertex] = np.int32(x) + HALF * width
            subpixel_y[vertex] = np.int32(y) + HALF * height
            depth[vertex] = clip[vertex, 2] * reciprocal

    ids[:] = -1
    nearest = np.ones((height, width), np.float32)  # the far plane
    for face in range(triangles.shape[0]):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        if not (usable[i] and usable[j] and usable[k]):
            continue
        # 2. The box of pixels whose centres it may hold.
        ax, bx, cx = np.int64(subpixel_x[i]), np.int64(subpixel_x[j]), np.int64(subpixel_x[k])
        first_column = max((min(ax, bx, cx) + 7) >> 4, 0)
        last_column = min((max(ax, bx, cx) - 8) >> 4, width - 1)
        if first_column > last_column:
            continue
        ay, by, cy = np.int64(subpixel_y[i]), np.int64(subpixel_y[j]), np.int64(subpixel_y[k])
        first_row = max((min(ay, by, cy) + 7) >> 4, 0)
        last_row = min((max(ay, by, cy) - 8) >> 4, height - 1)
        if first_row > last_row:
            continue
        # 3. Edges opposite to each corner, turned so that the area is positive.
        dx0, dy0 = cx - bx, cy - by
        dx1, dy1 = ax - cx, ay - cy
        dx2, dy2 = bx - ax, by - ay
        area = dx1 * dy2 - dy1 * dx2
        if area == 0:
            continue
        if area < 0:
            area = -area
            dx0, dy0, dx1, dy1, dx2, dy2 = -dx0, -dy0, -dx1, -dy1, -dx2, -dy2
        # Top-left rule: the least edge value that counts as inside.
        least0 = 1 if dy0 > 0 or (dy0 == 0 and dx0 <= 0) else 0
        least1 = 1 if dy1 > 0 or (dy1 == 0 and dx1 <= 0) else 0
        least2 = 1 if dy2 > 0 or (dy2 == 0 and dx2 <= 0) else 0
        # 4. Walk over the box; the three edge values change by a constant from pixel to pixel.
        #    They are taken less the least value, so that inside means none is negative, which is
        #    one test of their combined sign bits: three branches would be mispredicted often.
        x, y = first_column * 16 + 8, first_row * 16 + 8
        row0 = dx0 * (y - by) - dy0 * (x - bx) - least0
        row1 = dx1 * (y - cy) - dy1 * (x - cx) - least1
        row2 = dx2 * (y - ay) - dy2 * (x - ax) - least2
        reciprocal_area = 1.0 / np.float64(area)
        z0, z1, z2 = np.float64(depth[i]), np.float64(depth[j]), np.float64(depth[k])
        for row in range(first_row, last_row + 1):
            e0, e1, e2 = row0, row1, row2
            for column in range(first_column, last_column + 1):
                if (e0 | e1 | e2) >= 0:
                    total = (
                        np.float64(e0 + least0) * z0
                        + np.float64(e1 + least1) * z1
                        + np.float64(e2 + least2) * z2
                    )
                    z = np.float32(total * reciprocal_area)
                    if z >= np.float32(-1) and z <= nearest[row, column]:
                        nearest[row, column] = z
                        ids[row, column] = face
                e0 -= dy0 * 16
                e1 -= dy1 * 16
                e2 -= dy2 * 16
            row0 += dx0 * 16
            row1 += dx1 * 16
            row2 += dx2 * 16


@kernel
@no_type_check
def _corners_from_pixel(clip, i, j, k, fx, fy):
    """The corners of a triangle seen from a pixel's centre, times their w: x, y of each."""
    w0, w1, w2 = clip[i, 3], clip[j, 3], clip[k, 3]
    return (
        clip[i, 0] - fx * w0,
        clip[i, 1] - fy * w0,
        clip[j, 0] - fx * w1,
        clip[j, 1] - fy * w1,
        clip[k, 0] - fx * w2,
        clip[k, 1] - fy * w2,
    )


@kernel
@no_type_check
def _barycentrics_of_image(clip, triangles, ids, centre_x, centre_y, weights, depth):
    """Fill weights (H, W, 3) and depth (H, W), which start as zeros."""
    height, width = ids.shape
    one = clip.dtype.type(1)
    zero = clip.dtype.type(0)
    for row in range(height):
        fy = centre_y[row]
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            fx = centre_x[column]
            i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            w0, w1, w2 = clip[i, 3], clip[j, 3], clip[k, 3]
            x0, y0, x1, y1, x2, y2 = _corners_from_pixel(clip, i, j, k, fx, fy)
            a0 = x1 * y2 - y1 * x2
            a1 = x2 * y0 - y2 * x0
            a2 = x0 * y1 - y0 * x1
            reciprocal = one / (a0 + a1 + a2)
            u, v = a0 * reciprocal, a1 * reciprocal
            # Comparisons with NaN are false: it becomes 0.
            u = min(u, one) if u > zero else zero
            v = min(v, one) if v > zero else zero
            shrink = one / max(u + v, one)
            u, v = u * shrink, v * shrink
            weights[row, column, 0] = u
            weights[row, column, 1] = v
            weights[row, column, 2] = one - u - v
            ratio = (clip[i, 2] * a0 + clip[j, 2] * a1 + clip[k, 2] * a2) / (
                w0 * a0 + w1 * a1 + w2 * a2
            )
            ratio = ratio if ratio < one else one
            depth[row, column] = max(ratio, -one)


@kernel
@no_type_check
def _barycentrics_backward_of_image(
    clip, triangles, ids, centre_x, centre_y, gradient, epsilon, result
):
    """Add the gradient of clip to result (V, 4)."""
    height, width = ids.shape
    one = clip.dtype.type(1)
    for row in range(height):
        fy = centre_y[row]
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            fx = centre_x[column]
            i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            x0, y0, x1, y1, x2, y2 = _corners_from_pixel(clip, i, j, k, fx, fy)
            a0 = x1 * y2 - y1 * x2
            a1 = x2 * y0 - y2 * x0
            total = a0 + a1 + (x0 * y1 - y0 * x1)
            reciprocal = one / (total + np.copysign(epsilon, total))
            third = gradient[row, column, 2]
            gu = (gradient[row, column, 0] - third) * reciprocal
            gv = (gradient[row, column, 1] - third) * reciprocal
            mean = gu * (a0 * reciprocal) + gv * (a1 * reciprocal)
            c0, c1, c2 = gu - mean, gv - mean, -mean

            gx, gy = c2 * y1 - c1 * y2, c1 * x2 - c2 * x1
            result[i, 0] += gx
            result[i, 1] += gy
            result[i, 3] += -fx * gx - fy * gy
            gx, gy = c0 * y2 - c2 * y0, c2 * x0 - c0 * x2
            result[j, 0] += gx
            result[j, 1] += gy
            result[j, 3] += -fx * gx - fy * gy
            gx, gy = c1 * y0 - c0 * y1, c0 * x1 - c1 * x0
            result[k, 0] += gx
            result[k, 1] += gy
            result[k, 3] += -fx * gx - fy * gy


@kernel
@no_type_check
def _interpolate_image(attributes, triangles, ids, weights, result):
    """Fill result (H, W, C), which starts as zeros."""
    height, width, channels = result.shape
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            b0, b1, b2 = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            for channel in range(channels):
                result[row, column, channel] = (
                    b0 * attributes[i, channel]
                    + b1 * attributes[j, channel]
                    + b2 * attributes[k, channel]
                )


@kernel
@no_type_check
def _interpolate_backward_of_image(
    attributes, triangles, ids, weights, gradient, of_attributes, of_weights
):
    """Add to of_attributes (V, C), fill of_weights (H, W, 3); an array without rows is skipped."""
    height, width, channels = gradient.shape
    need_attributes, need_weights = of_attributes.shape[0] > 0, of_weights.shape[0] > 0
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            if need_attributes:
                b0 = weights[row, column, 0]
                b1 = weights[row, column, 1]
                b2 = weights[row, column, 2]
                for channel in range(channels):
                    g = gradient[row, column, channel]
                    of_attributes[i, channel] += b0 * g
                    of_attributes[j, channel] += b1 * g
                    of_attributes[k, channel] += b2 * g
            if need_weights:
                s0 = s1 = s2 = attributes.dtype.type(0)
                for channel in range(channels):
                    g = gradient[row, column, channel]
                    s0 += g * attributes[i, channel]
                    s1 += g * attributes[j, channel]
                    s2 += g * attributes[k, channel]
                of_weights[row, column, 0] = s0
                of_weights[row, column, 1] = s1
                of_weights[row, column, 2] = s2


def visible_triangles(clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """See `differentiable.Kernels`."""
    ids = torch.empty((len(clip), height, width), dtype=torch.int32)
    clip_array, ids_array = _array(clip), ids.numpy()
    faces = triangles.numpy()

    def work(item: int) -> None:
        _visible_in_image(clip_array[item], faces, ids_array[item])

    for_each_item(work, len(clip))
    return ids


def barycentrics(clip: Tensor, triangles: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `differentiable.Kernels`."""
    weights = clip.new_zeros((*ids.shape, 3))
    depth = clip.new_zeros(ids.shape)
    clip_array, faces, ids_array = _array(clip), triangles.numpy(), ids.numpy()
    x, y = _centres(clip, ids)
    weights_array, depth_array = weights.numpy(), depth.numpy()

    def work(item: int) -> None:
        _barycentrics_of_image(
            clip_array[item], faces, ids_array[item], x, y, weights_array[item], depth_array[item]
        )

    for_each_item(work, len(ids))
    return weights, depth


def barycentrics_backward(
    clip: Tensor, triangles: Tensor, ids: Tensor, gradient: Tensor, epsilon: float
) -> Tensor:
    """See `differentiable.Kernels`."""
    result = torch.zeros_like(clip, memory_format=torch.contiguous_format)
    clip_array, faces, ids_array = _array(clip), triangles.numpy(), ids.numpy()
    x, y = _centres(clip, ids)
    gradient_array, result_array = _array(gradient), result.numpy()
    typed_epsilon = clip_array.dtype.type(epsilon)

    def work(item: int) -> None:
        _barycentrics_backward_of_image(
            clip_array[item],
            faces,
            ids_array[item],
            x,
            y,
            gradient_array[item],
            typed_epsilon,
            result_array[item],
        )

    for_each_item(work, len(ids))
    return result


def interpolate(attributes: Tensor, triangles: Tensor, ids: Tensor, barycentrics: Tensor) -> Tensor:
    """See `differentiable.Kernels`."""
    result = attributes.new_zeros((*ids.shape, attributes.shape[-1]))
    attribute_array, faces, ids_array = _array(attributes), triangles.numpy(), ids.numpy()
    weights, result_array = _array(barycentrics), result.numpy()

    def work(item: int) -> None:
        shared = min(item, len(attribute_array) - 1)
        _interpolate_image(
            attribute_array[shared], faces, ids_array[item], weights[item], result_array[item]
        )

    for_each_item(work, len(ids))
    return result


def interpolate_backward(
    attributes: Tensor,
    triangles: Tensor,
    ids: Tensor,
    barycentrics: Tensor,
    gradient: Tensor,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """See `differentiable.Kernels`."""
    items, channels = len(ids), attributes.shape[-1]
    of_attributes = attributes.new_zeros((items, attributes.shape[1] if needs[0] else 0, channels))
    of_weights = attributes.new_zeros((items, ids.shape[1] if needs[1] else 0, ids.shape[2], 3))
    attribute_array, faces, ids_array = _array(attributes), triangles.numpy(), ids.numpy()
    weights, gradient_array = _array(barycentrics), _array(gradient)
    of_attributes_array, of_weights_array = of_attributes.numpy(), of_weights.numpy()

    def work(item: int) -> None:
        _interpolate_backward_of_image(
            attribute_array[min(item, len(attribute_array) - 1)],
            faces,
            ids_array[item],
            weights[item],
            gradient_array[item],
            of_attributes_array[item],
            of_weights_array[item],
        )

    for_each_item(work, items)
    return of_attributes if needs[0] else None, of_weights if needs[1] else None


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as a C-contiguous array, the only layout that is compiled."""
    return tensor.detach().contiguous().numpy()


def _centres(clip: Tensor, ids: Tensor) -> tuple[np.ndarray, np.ndarray]:
    height, width = ids.shape[1:]
    return pixel_centres_ndc(width, clip).numpy(), pixel_centres_ndc(height, clip).numpy()
