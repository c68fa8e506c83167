"""Renderer: the compiled backend against plain PyTorch, forward and with the backward pass.

From the root: `python -m benchmarks.renderer [--threads N] [--repeats N]`.

Where there is a GPU, what draws there follows: plain PyTorch and nvdiffrast, if it is installed,
beside the compiled backend on the CPU; and how far their pixels and gradients agree with its.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.meshes import benchmark_meshes, in_front_of_camera
from benchmarks.timing import compare, threads_and_repeats
from models.camera import Camera
from models.renderer import Backend, Renderer, interpolate, rasterize, resolve_backend

TARGETS = {"forward": 4.0, "forward + backward": 3.0}


def render(
    backend: Backend, vertices: Tensor, triangles: Tensor, camera: Camera, with_backward: bool
) -> Callable[[], None]:
    """A call that renders the batch once, colours and depth, and maybe differentiates it."""
    renderer = Renderer(backend)
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand(vertices.shape, generator=generator).to(vertices)
    weight = torch.randn(len(vertices), 3, camera.height, camera.width, generator=generator)
    weight = weight.to(vertices)
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
    if torch.cuda.is_available():
        on_gpu(camera, repeats)


def gpu_backends(gpu: torch.device) -> list[Backend]:
    """Plain PyTorch, and nvdiffrast where it is installed and starts."""
    return ["torch", "nvdiffrast"] if resolve_backend("auto", gpu) == "nvdiffrast" else ["torch"]


def on_gpu(camera: Camera, repeats: int) -> None:
    """Print what drawing on the GPU takes, beside the CPU, and how alike the pictures are."""
    gpu = torch.device("cuda")
    print(f"\n{torch.cuda.get_device_name()}")
    backends = gpu_backends(gpu)
    for mesh, (points, triangles) in benchmark_meshes().items():
        for batch in (1, 8, 32):
            vertices = in_front_of_camera(points, batch, camera)
            here = (vertices.to(gpu), triangles.to(gpu), camera.to(gpu))
            for direction in TARGETS:
                with_backward = direction != "forward"
                cases = {
                    "CPU, numba": render("numba", vertices, triangles, camera, with_backward),
                    **{f"GPU, {name}": render(name, *here, with_backward) for name in backends},
                }
                title = f"{mesh}, batch {batch}, {camera.height} x {camera.width}, {direction}"
                print(compare(cases, repeats, title=f"\n{title}"))
            expected = drawn("numba", vertices, triangles, camera)
            for name in backends:
                print(f"GPU, {name} against the CPU: {alike(drawn(name, *here), expected)}")


def drawn(
    backend: Backend, vertices: Tensor, triangles: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, picture of random colours, gradients of a weighted sum of it by clip and colours."""
    generator = torch.Generator().manual_seed(2)
    colours = torch.rand(vertices.shape, generator=generator).to(vertices).requires_grad_()
    clip = camera.clip(vertices).requires_grad_()
    found = rasterize(clip, triangles, (camera.height, camera.width), backend=backend)
    picture = interpolate(colours, triangles, found, backend=backend)
    weights = torch.randn(picture.shape, generator=generator).to(picture)
    by_clip, by_colours = torch.autograd.grad((picture * weights).sum(), (clip, colours))
    return found.triangle_id.cpu(), picture.detach().cpu(), by_clip.cpu(), by_colours.cpu()


def alike(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    """Pixels that see another triangle; how far colours of the others and gradients differ."""
    same = found[0] == expected[0]
    colours = (found[1] - expected[1])[same].abs().max()
    gradients = " and ".join(
        f"{float(_are_apart(mine, other).double().mean()):.1e} of those by {name}"
        for name, mine, other in zip(("clip", "colours"), found[2:], expected[2:], strict=True)
    )
    return (
        f"{int((~same).sum())} of {same.numel()} pixels see another triangle "
        f"({float((~same).double().mean()):.1e}), colours of the others differ by up to "
        f"{float(colours):.1e}; of the gradients {gradients} differ by more than a hundredth"
    )


def _are_apart(mine: Tensor, other: Tensor) -> Tensor:
    """Vertices (B, V) whose gradient is another, by a hundredth of its length.

    A norm over all of them would tell of the few triangles seen edge-on alone, whose gradients are
    the largest by far and mostly rounding.
    """
    length = other.norm(dim=-1)
    return (mine - other).norm(dim=-1) > 0.01 * length + 1e-3 * length[length > 0].median()


if __name__ == "__main__":
    main()
