"""Vertex normals of a triangle mesh.

The normal of a vertex is the normalised sum of the unit normals of its faces (not weighted by
area or angle), as in the published face models' code.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.kernels import for_each_item, kernel
from models.renderer.fragments import triangle_indices

EPSILON = 1e-12
"""Lengths below it count as none: the vector is divided by it and has no gradient."""


class VertexNormals(nn.Module):
    """Normals of meshes that share their triangles.

    On the CPU a compiled loop over the faces; elsewhere `vertex_normals_gather`, which it equals
    up to rounding.
    """

    triangles: Tensor
    adjacent_faces: Tensor

    def __init__(self, triangles: Int[Tensor, "faces 3"], vertex_count: int) -> None:
        """Prepare the topology.

        Args:
            triangles: vertex indices, counter-clockwise seen from outside.
            vertex_count: number of vertices of the meshes.

        Raises:
            ValueError: an index outside the vertices.
        """
        super().__init__()
        triangles = triangle_indices(triangles, vertex_count)
        self.vertex_count = vertex_count
        self.register_buffer("triangles", triangles.clone(), persistent=False)
        self.register_buffer(
            "adjacent_faces", adjacent_faces(triangles, vertex_count), persistent=False
        )

    def forward(
        self, vertices: Float[Tensor, "batch vertices 3"]
    ) -> Float[Tensor, "batch vertices 3"]:
        """Unit normals, outwards; 0 where a vertex has no face.

        Args:
            vertices: positions in any frame and unit.

        Raises:
            ValueError: another number of vertices than the topology was made for.
        """
        if vertices.shape[1] != self.vertex_count:
            raise ValueError(
                f"the normals were prepared for {self.vertex_count} vertices, "
                f"got {vertices.shape[1]}"
            )
        if vertices.dtype in (torch.float16, torch.bfloat16):
            vertices = vertices.float()  # differences of neighbours need the digits
        if vertices.device.type == "cpu":
            return _VertexNormals.apply(  # pyright: ignore[reportReturnType]
                vertices.contiguous(), self.triangles
            )
        return vertex_normals_gather(vertices, self.triangles, self.adjacent_faces)


def adjacent_faces(
    triangles: Int[Tensor, "faces 3"], vertex_count: int
) -> Int[Tensor, "vertices degree"]:
    """The faces around each vertex; short rows are filled up with the number of faces."""
    vertex = triangles.detach().cpu().numpy().reshape(-1)
    order = np.argsort(vertex, kind="stable")
    degree = np.bincount(vertex, minlength=vertex_count)
    first = np.cumsum(degree) - degree
    rows = vertex[order]
    table = np.full((vertex_count, max(1, degree.max(initial=0))), len(triangles), np.int64)
    table[rows, np.arange(len(rows)) - first[rows]] = order // 3
    return torch.from_numpy(table).to(triangles.device)


def vertex_normals_gather(
    vertices: Float[Tensor, "batch vertices 3"],
    triangles: Int[Tensor, "faces 3"],
    adjacent: Int[Tensor, "vertices degree"],
) -> Float[Tensor, "batch vertices 3"]:
    """The readable form: gather the corners, then the faces around each vertex."""
    v0, v1, v2 = vertices[:, triangles.long()].unbind(2)
    face_normals = _normalize(torch.linalg.cross(v0 - v1, v1 - v2))
    # One more face without direction, for the fillers of `adjacent`.
    padded = nn.functional.pad(face_normals, (0, 0, 0, 1))
    return _normalize(padded[:, adjacent].sum(dim=2))


def _normalize(vectors: Tensor) -> Tensor:
    """Unit vectors; as torch.nn.functional.normalize, but short ones have no gradient.

    There its gradient is 1 / eps = 1e12, and one degenerate face would ruin a training step.
    """
    # The length of a zero vector has no gradient either: it is taken of a stand-in.
    short = (vectors.detach().square().sum(-1, keepdim=True)).sqrt() <= EPSILON
    length = torch.where(short, 1.0, vectors).square().sum(-1, keepdim=True).sqrt()
    return torch.where(short, vectors.detach() / EPSILON, vectors / length)


@kernel
@no_type_check
def _edges_and_cross(vertices, i, j, k):
    """Edges a = v0 - v1 and b = v1 - v2 of a face, and a x b."""
    ax, ay, az = (
        vertices[i, 0] - vertices[j, 0],
        vertices[i, 1] - vertices[j, 1],
        vertices[i, 2] - vertices[j, 2],
    )
    bx, by, bz = (
        vertices[j, 0] - vertices[k, 0],
        vertices[j, 1] - vertices[k, 1],
        vertices[j, 2] - vertices[k, 2],
    )
    return (ax, ay, az), (bx, by, bz), (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


@kernel
@no_type_check
def _forward(vertices, triangles, sums, normals):
    """Fill sums (of face normals, starts as zeros) and normals, both (V, 3)."""
    eps = vertices.dtype.type(EPSILON)
    for face in range(triangles.shape[0]):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        _, _, (nx, ny, nz) = _edges_and_cross(vertices, i, j, k)
        scale = vertices.dtype.type(1) / max(np.sqrt(nx * nx + ny * ny + nz * nz), eps)
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        for vertex in (i, j, k):
            sums[vertex, 0] += nx
            sums[vertex, 1] += ny
            sums[vertex, 2] += nz
    for vertex in range(vertices.shape[0]):
        x, y, z = sums[vertex, 0], sums[vertex, 1], sums[vertex, 2]
        scale = vertices.dtype.type(1) / max(np.sqrt(x * x + y * y + z * z), eps)
        normals[vertex, 0], normals[vertex, 1], normals[vertex, 2] = x * scale, y * scale, z * scale


@kernel
@no_type_check
def _backward(vertices, triangles, sums, gradient, of_sums, result):
    """Add the gradient of the vertices to result (V, 3); of_sums (V, 3) is scratch.

    For n = c / |c| the gradient of c is (g - n (n . g)) / |c|; for c = a x b that of a is b x g,
    that of b is g x a; a = v0 - v1, b = v1 - v2.
    """
    eps = vertices.dtype.type(EPSILON)
    zero, one = vertices.dtype.type(0), vertices.dtype.type(1)
    for vertex in range(vertices.shape[0]):
        x, y, z = sums[vertex, 0], sums[vertex, 1], sums[vertex, 2]
        length = np.sqrt(x * x + y * y + z * z)
        scale = one / length if length > eps else zero
        x, y, z = x * scale, y * scale, z * scale
        gx, gy, gz = gradient[vertex, 0], gradient[vertex, 1], gradient[vertex, 2]
        along = gx * x + gy * y + gz * z
        of_sums[vertex, 0] = (gx - along * x) * scale
        of_sums[vertex, 1] = (gy - along * y) * scale
        of_sums[vertex, 2] = (gz - along * z) * scale
    for face in range(triangles.shape[0]):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        (ax, ay, az), (bx, by, bz), (nx, ny, nz) = _edges_and_cross(vertices, i, j, k)
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if not length > eps:
            continue
        scale = one / length
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        gx = of_sums[i, 0] + of_sums[j, 0] + of_sums[k, 0]
        gy = of_sums[i, 1] + of_sums[j, 1] + of_sums[k, 1]
        gz = of_sums[i, 2] + of_sums[j, 2] + of_sums[k, 2]
        along = gx * nx + gy * ny + gz * nz
        gx, gy, gz = (gx - along * nx) * scale, (gy - along * ny) * scale, (gz - along * nz) * scale
        # Of a and of b.
        px, py, pz = by * gz - bz * gy, bz * gx - bx * gz, bx * gy - by * gx
        qx, qy, qz = gy * az - gz * ay, gz * ax - gx * az, gx * ay - gy * ax
        result[i, 0] += px
        result[i, 1] += py
        result[i, 2] += pz
        result[j, 0] += qx - px
        result[j, 1] += qy - py
        result[j, 2] += qz - pz
        result[k, 0] -= qx
        result[k, 1] -= qy
        result[k, 2] -= qz


class _VertexNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, triangles: Tensor) -> Tensor:
        sums, normals = torch.zeros_like(vertices), torch.empty_like(vertices)
        v, f = vertices.detach().numpy(), triangles.numpy()
        s, n = sums.numpy(), normals.numpy()
        for_each_item(lambda item: _forward(v[item], f, s[item], n[item]), len(v))
        ctx.save_for_backward(vertices, triangles, sums)
        return normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        vertices, triangles, sums = ctx.saved_tensors
        result, scratch = torch.zeros_like(vertices), torch.empty_like(vertices)
        v, f, s = vertices.detach().numpy(), triangles.numpy(), sums.numpy()
        g, t, r = gradient.contiguous().numpy(), scratch.numpy(), result.numpy()

        def work(item: int) -> None:
            _backward(v[item], f, s[item], g[item], t[item], r[item])

        for_each_item(work, len(v))
        return result, None


def normal_derivatives(
    vertices: Float[Tensor, "vertices 3"],
    triangles: Int[Tensor, "faces 3"],
    directions: Float[Tensor, "vertices 3 directions"],
) -> Float[Tensor, "vertices 3 directions"]:
    """How the unit normals of a mesh turn while its vertices move, for many motions at once.

    On the CPU a compiled loop; elsewhere `normal_derivatives_reference`, which it equals up to
    rounding.

    Args:
        vertices: of one mesh.
        triangles: vertex indices, counter-clockwise seen from outside.
        directions: velocity of every vertex in each motion.
    """
    triangles = triangle_indices(triangles, len(vertices))
    if vertices.device.type != "cpu":
        return normal_derivatives_reference(vertices, triangles, directions)
    result = torch.zeros_like(directions, memory_format=torch.contiguous_format)
    v, f = vertices.detach().contiguous().numpy(), triangles.numpy()
    d, r = directions.detach().contiguous().numpy(), result.numpy()
    sums, normals = np.zeros_like(v), np.empty_like(v)
    _forward(v, f, sums, normals)
    _derivatives(v, f, sums, d, r)
    return result


def normal_derivatives_reference(
    vertices: Float[Tensor, "vertices 3"],
    triangles: Int[Tensor, "faces 3"],
    directions: Float[Tensor, "vertices 3 directions"],
) -> Float[Tensor, "vertices 3 directions"]:
    """The readable form: a face's normal turns with its edges, a vertex's with those of its faces.

    dc = da x b + a x db for c = a x b, and then twice what normalising makes of it.
    """
    v0, v1, v2 = vertices[triangles.long()].unbind(1)
    d0, d1, d2 = directions[triangles.long()].unbind(1)
    a, b = v0 - v1, v1 - v2
    da, db = d0 - d1, d1 - d2
    cross = torch.linalg.cross(a, b)
    turn = torch.linalg.cross(da, b[..., None], dim=1) + torch.linalg.cross(a[..., None], db, dim=1)
    # One more face without direction, for the fillers of `adjacent`.
    normals = nn.functional.pad(_normalize(cross), (0, 0, 0, 1))
    turns = nn.functional.pad(_turn_of_unit(cross, turn), (0, 0, 0, 0, 0, 1))
    sums, sum_turns = torch.zeros_like(vertices), torch.zeros_like(directions)
    # Neighbour after neighbour: all at once would hold every motion six times.
    for face in adjacent_faces(triangles, len(vertices)).unbind(1):
        sums, sum_turns = sums + normals[face], sum_turns + turns[face]
    return _turn_of_unit(sums, sum_turns)


def _turn_of_unit(
    vectors: Float[Tensor, "vectors 3"], turns: Float[Tensor, "vectors 3 directions"]
) -> Float[Tensor, "vectors 3 directions"]:
    """Derivative of v / |v| from that of v: (dv - n (n . dv)) / |v|; none where v is short."""
    length = torch.linalg.vector_norm(vectors, dim=-1)[:, None, None]
    unit = vectors[..., None] / length
    turned = (turns - unit * (unit * turns).sum(dim=1, keepdim=True)) / length
    return torch.where(length > EPSILON, turned, 0.0)


@kernel
@no_type_check
def _derivatives(vertices, triangles, sums, directions, result):
    """Fill result (V, 3, K), zeros before, for directions (V, 3, K); sums (V, 3) of `_forward`.

    A face's normal n = c / |c|, c = a x b, turns by (dc - n (n . dc)) / |c| with
    dc = da x b + a x db; so does the sum of a vertex's face normals.
    """
    eps = vertices.dtype.type(EPSILON)
    one = vertices.dtype.type(1)
    count = directions.shape[2]
    turn = np.empty((3, count), vertices.dtype)
    for face in range(triangles.shape[0]):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        (ax, ay, az), (bx, by, bz), (nx, ny, nz) = _edges_and_cross(vertices, i, j, k)
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if not length > eps:
            continue
        scale = one / length
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        for m in range(count):
            dax = directions[i, 0, m] - directions[j, 0, m]
            day = directions[i, 1, m] - directions[j, 1, m]
            daz = directions[i, 2, m] - directions[j, 2, m]
            dbx = directions[j, 0, m] - directions[k, 0, m]
            dby = directions[j, 1, m] - directions[k, 1, m]
            dbz = directions[j, 2, m] - directions[k, 2, m]
            cx = day * bz - daz * by + ay * dbz - az * dby
            cy = daz * bx - dax * bz + az * dbx - ax * dbz
            cz = dax * by - day * bx + ax * dby - ay * dbx
            along = cx * nx + cy * ny + cz * nz
            turn[0, m] = (cx - along * nx) * scale
            turn[1, m] = (cy - along * ny) * scale
            turn[2, m] = (cz - along * nz) * scale
        for corner in (i, j, k):
            for axis in range(3):
                for m in range(count):
                    result[corner, axis, m] += turn[axis, m]
    for vertex in range(vertices.shape[0]):
        x, y, z = sums[vertex, 0], sums[vertex, 1], sums[vertex, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if not length > eps:
            result[vertex] = 0
            continue
        scale = one / length
        x, y, z = x * scale, y * scale, z * scale
        for m in range(count):
            tx, ty, tz = result[vertex, 0, m], result[vertex, 1, m], result[vertex, 2, m]
            along = tx * x + ty * y + tz * z
            result[vertex, 0, m] = (tx - along * x) * scale
            result[vertex, 1, m] = (ty - along * y) * scale
            result[vertex, 2, m] = (tz - along * z) * scale


def vertex_areas(
    vertices: Float[Tensor, "vertices 3"], triangles: Int[Tensor, "faces 3"]
) -> Float[Tensor, " vertices"]:
    """Surface area that belongs to each vertex: a third of each adjacent triangle's."""
    corners = vertices[triangles.long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = torch.linalg.vector_norm(normal, dim=1) / 2
    total = vertices.new_zeros(len(vertices))
    return total.index_add(0, triangles.long().flatten(), (area / 3).repeat_interleave(3))
