"""Vertex normals: the compiled loop against gathering the adjacent faces, and a sparse product.

From the root: `python -m benchmarks.normals [--threads N] [--repeats N]`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.meshes import benchmark_meshes, in_front_of_camera
from benchmarks.timing import compare, threads_and_repeats
from models.camera import Camera
from models.mesh import VertexNormals, vertex_normals_gather

TARGET = 1.5


def sparse_normals(triangles: Tensor, vertex_count: int) -> Callable[[Tensor], Tensor]:
    """Sum the faces by a sparse matrix (V, F), whose transpose is the backward pass."""
    faces = torch.arange(len(triangles)).repeat_interleave(3)
    index = torch.stack([triangles.reshape(-1).long(), faces])
    shape = (vertex_count, len(triangles))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        ones = torch.ones(index.shape[1])
        forward = torch.sparse_coo_tensor(index, ones, shape, check_invariants=True).to_sparse_csr()
        backward = torch.sparse_coo_tensor(
            index.flip(0), ones, shape[::-1], check_invariants=True
        ).to_sparse_csr()

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, columns: Tensor) -> Tensor:
            return forward @ columns

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            return backward @ gradient

    def normals(vertices: Tensor) -> Tensor:
        v0, v1, v2 = vertices[:, triangles.long()].unbind(2)
        unit = torch.nn.functional.normalize(torch.linalg.cross(v0 - v1, v1 - v2), dim=-1)
        columns = unit.transpose(0, 1).reshape(len(triangles), -1)
        sums = Sum.apply(columns).reshape(vertex_count, -1, 3).transpose(0, 1)  # pyright: ignore
        return torch.nn.functional.normalize(sums, dim=-1)

    return normals


def main() -> None:
    """Print a table for each mesh and batch size."""
    repeats = threads_and_repeats(__doc__)

    closing = []
    for mesh, (points, triangles) in benchmark_meshes().items():
        compiled = VertexNormals(triangles, len(points))
        forms: dict[str, Callable[[Tensor], Tensor]] = {
            "gather": lambda v, m=compiled: vertex_normals_gather(v, m.triangles, m.adjacent_faces),
            "sparse product": sparse_normals(triangles, len(points)),
            "compiled": compiled,
        }
        for batch in (1, 8):
            vertices = in_front_of_camera(points, batch, Camera.rnet()).requires_grad_()
            gradient = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0))

            def case(
                form: Callable[[Tensor], Tensor], v: Tensor = vertices, g: Tensor = gradient
            ) -> Callable[[], object]:
                return lambda: torch.autograd.grad(form(v), v, g)

            title = f"normals of {mesh}, batch {batch}, forward + backward"
            cases = {name: case(form) for name, form in forms.items()}
            table = compare(cases, repeats, title=f"\n{title}")
            print(table)
            closing.append(
                f"{title}: {table.ratio('compiled'):.1f} times as fast as gathering "
                f"(target {TARGET})"
            )
    print(f"\n{torch.get_num_threads()} threads\n" + "\n".join(closing))


if __name__ == "__main__":
    main()
