"""nvdiffrast and the torch backend on a GPU, and nvdiffrast where it does not start."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import fragments as fragments_module
from models.renderer import interpolate, nvdiffrast_backend, rasterize, resolve_backend

SIZE = (224, 224)
PIXELS_THAT_MAY_DIFFER = 5e-5


class BrokenLibrary:
    """As nvdiffrast before 0.4 without a compiler."""

    def RasterizeCudaContext(self, device: torch.device) -> None:
        raise RuntimeError("Ninja is required to load C++ extensions\nlong story")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch):
    """An installed nvdiffrast that cannot compile itself, on a machine with a GPU."""
    monkeypatch.setattr(nvdiffrast_backend, "_library", BrokenLibrary)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    caches = (nvdiffrast_backend._context, fragments_module._has_nvdiffrast)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_a_library_that_does_not_start_is_explained(broken: None):
    with pytest.raises(ValueError, match=r"cannot start \(Ninja is required.*\).*--renderer torch"):
        nvdiffrast_backend.check_usable(torch.device("cuda"))


def test_it_is_started_on_the_device_of_the_run(broken: None, monkeypatch: pytest.MonkeyPatch):
    started: list[torch.device] = []
    monkeypatch.setattr(nvdiffrast_backend, "_context", started.append)
    assert resolve_backend("auto", torch.device("cuda", 3)) == "nvdiffrast"
    assert started == [torch.device("cuda", 3)]  # the current one is 0


def test_auto_goes_on_without_it_and_says_so_once(broken: None):
    gpu = torch.device("cuda")
    with pytest.warns(UserWarning, match="--renderer auto takes torch: .*Ninja is required"):
        assert resolve_backend("auto", gpu) == "torch"
    assert resolve_backend("auto", gpu) == "torch"  # another warning would be an error


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def scene(face_model: FaceModel, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eight random faces in clip coordinates, their triangles and colours."""
    generator = torch.Generator().manual_seed(0)
    batch = 8
    identity = torch.randn(batch, face_model.layout.blocks[0].size, generator=generator)
    expression = torch.randn(batch, face_model.layout.blocks[1].size, generator=generator)
    camera = Camera.rnet()
    clip = camera.clip(camera.from_object(face_model.shape(identity, 0.5 * expression)))
    colours = torch.rand(batch, face_model.vertex_count, 3, generator=generator)
    return clip.to(device), face_model.triangles.to(device), colours.to(device)


def drawn(
    clip: torch.Tensor, triangles: torch.Tensor, colours: torch.Tensor, backend: str
) -> tuple[torch.Tensor, ...]:
    """Ids, picture, and the gradients of a weighted sum of its pixels."""
    clip, colours = clip.clone().requires_grad_(), colours.clone().requires_grad_()
    found = rasterize(clip, triangles, SIZE, backend=backend)  # pyright: ignore
    picture = interpolate(colours, triangles, found, backend=backend)  # pyright: ignore
    weights = torch.linspace(-1, 1, picture.numel(), device=picture.device).view_as(picture)
    gradients = torch.autograd.grad((picture * weights).sum(), (clip, colours))
    return found.triangle_id.cpu(), picture.detach().cpu(), *(g.cpu() for g in gradients)


def assert_alike(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> None:
    same = ours[0] == theirs[0]
    assert float((~same).float().mean()) <= PIXELS_THAT_MAY_DIFFER
    torch.testing.assert_close(ours[1][same], theirs[1][same], rtol=1e-4, atol=1e-4)
    for mine, other in zip(ours[2:], theirs[2:], strict=True):
        # Of the few pixels that see another triangle the gradient goes to other vertices.
        near = (mine - other).abs() <= 1e-3 * float(other.abs().max())
        assert float((~near).float().mean()) <= 100 * PIXELS_THAT_MAY_DIFFER


@pytest.mark.gpu
@needs_gpu
def test_nvdiffrast_draws_as_the_torch_backend(open_face_model: FaceModel):
    pytest.importorskip("nvdiffrast", reason="install the cuda extra")
    clip, triangles, colours = scene(open_face_model, "cuda")
    assert_alike(
        drawn(clip, triangles, colours, "torch"), drawn(clip, triangles, colours, "nvdiffrast")
    )


@pytest.mark.gpu
@needs_gpu
def test_the_torch_backend_draws_on_a_gpu_as_on_the_cpu(open_face_model: FaceModel):
    """The path that needs no nvdiffrast."""
    on_cpu = drawn(*scene(open_face_model, "cpu"), "torch")
    assert_alike(on_cpu, drawn(*scene(open_face_model, "cuda"), "torch"))
