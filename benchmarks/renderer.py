"""Renderer: the compiled backend against plain PyTorch, forward and with the backward pass.

From the root: `python -m benchmarks.renderer [--threads N] [--repeats N]`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.meshes import benchmark_meshes, in_front_of_camera
from benchmarks.timing import compare, threads_and_repeats
from models.camera import Camera
from models.renderer import Backend, Renderer

TARGETS = {"forward": 4.0, "forward + backward": 3.0}


def render(
    backend: Backend, vertices: Tensor, triangles: Tensor, camera: Camera, with_backward: bool
) -> Callable[[], None]:
    """A call that renders the batch once, colours and depth, and maybe differentiates it."""
    renderer = Renderer(backend)
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand(vertices.shape, generator=generator)
    weight = torch.randn(len(vertices), 3, camera.height, camera.width, generator=generator)
    if with_backward:
        vertices, colours = vertices.clone().requires_grad_(), colours.requires_grad_()

    def call() -> None:
        image = renderer(vertices, triangles, camera, colours).image
        if with_backward and image is not None:
            torch.autograd.grad(image, (vertices, colours), weight)

    return call


def main() -> None:
    """Print a table for each mesh, batch size and direction, and the ratios at the end."""
    repeats = threads_and_repeats(__doc__)

    camera = Camera.rnet()
    closing = []
    for mesh, (points, triangles) in benchmark_meshes().items():
        for batch in (1, 8):
            vertices = in_front_of_camera(points, batch, camera)
            for direction, target in TARGETS.items():
                with_backward = direction != "forward"
                backends: tuple[Backend, ...] = ("torch", "numba")
                cases = {
                    name: render(name, vertices, triangles, camera, with_backward)
                    for name in backends
                }
                title = f"{mesh}, batch {batch}, {camera.height} x {camera.width}, {direction}"
                table = compare(cases, repeats, title=f"\n{title}")
                print(table)
                closing.append(
                    f"{title}: {table.ratio('numba'):.1f} times as fast (target {target})"
                )
            front = triangles[: len(triangles) // 2]
            only_mask = compare(
                {
                    "rendering": lambda v=vertices, f=front: Renderer()(v, f, camera),
                    "coverage": lambda v=vertices, f=front: Renderer().coverage(v, f, camera),
                },
                repeats,
                title=f"\n{mesh}, batch {batch}, the mask of half of the triangles",
            )
            print(only_mask)
    print(f"\n{torch.get_num_threads()} threads\n" + "\n".join(closing))


if __name__ == "__main__":
    main()
