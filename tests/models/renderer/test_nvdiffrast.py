"""nvdiffrast and the torch backend on a GPU, and nvdiffrast where it does not start."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import cpp_extension

from models import facerecon_model
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import (
    Renderer,
    interpolate,
    nvdiffrast_backend,
    rasterize,
    resolve_backend,
    torch_backend,
    visible_triangles,
)
from models.renderer import fragments as fragments_module
from options.face_options import RenderOptions
from options.network_options import OptimiserOptions
from tests.models.renderer import fake_nvdiffrast
from tests.models.test_facerecon_model import make, make_batch

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


def test_what_it_compiled_itself_is_found_by_its_name(
    broken: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As nvdiffrast 0.3 with torch 2.11: compiled and loaded, but not known by its name."""
    plugin = "nvdiffrast_plugin_0_3_of_a_test"
    (tmp_path / f"{plugin}.py").write_text("context = 'a context'")
    monkeypatch.setattr(cpp_extension, "_get_build_directory", lambda *_, **__: str(tmp_path))
    monkeypatch.setitem(sys.modules, plugin, None)  # which the end of the test takes back
    del sys.modules[plugin]
    path = [*sys.path]
    monkeypatch.setattr(
        BrokenLibrary,
        "RasterizeCudaContext",
        lambda self, device: importlib.import_module(plugin).context,
    )
    assert nvdiffrast_backend._context(torch.device("cuda", 0)) == "a context"
    assert sys.path == path


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


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    """A library of the same interface on the CPU."""
    fake_nvdiffrast.install(monkeypatch)
    yield
    nvdiffrast_backend._context.cache_clear()


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
    # Of triangles seen almost edge-on barycentrics are quotients of tiny numbers.
    apart = (ours[1][same] - theirs[1][same]).abs()
    assert float(apart.max()) < 2e-3
    assert float((apart > 1e-4).float().mean()) <= PIXELS_THAT_MAY_DIFFER
    for mine, other in zip(ours[2:], theirs[2:], strict=True):
        # Of the few pixels that see another triangle the gradient goes to other vertices.
        near = (mine - other).abs() <= 1e-3 * float(other.abs().max())
        assert float((~near).float().mean()) <= 100 * PIXELS_THAT_MAY_DIFFER


def test_what_is_called_is_what_the_library_has(fake: None, open_face_model: FaceModel):
    """Ids, pixels and gradients, where only the library's own arithmetic is replaced."""
    clip, triangles, colours = scene(open_face_model, "cpu")
    clip, colours = clip[:2], colours[:2]
    ours = drawn(clip, triangles, colours, "torch")
    theirs = drawn(clip, triangles, colours, "nvdiffrast")
    assert torch.equal(ours[0], theirs[0])
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_the_library_gets_tensors_as_it_demands_them(fake: None, tiny_face_model: FaceModel):
    """Whatever the caller has: other strides, int64 triangles, half precision, shared colours."""
    clip, triangles, colours = scene(tiny_face_model, "cpu")
    plain = drawn(clip, triangles, colours, "nvdiffrast")
    strided = clip.transpose(0, 1).contiguous().transpose(0, 1)
    odd = drawn(strided, triangles.long().t().contiguous().t(), colours, "nvdiffrast")
    assert all(map(torch.equal, plain, odd))
    found = rasterize(clip, triangles, SIZE, backend="nvdiffrast")
    shared = interpolate(colours[:1].bfloat16(), triangles, found, backend="nvdiffrast")
    each = interpolate(
        colours[:1].bfloat16().expand_as(colours), triangles, found, backend="nvdiffrast"
    )
    assert shared.dtype == torch.float32 and torch.equal(shared, each)
    ids = visible_triangles(clip, triangles, SIZE, backend="nvdiffrast")
    assert torch.equal(ids, found.triangle_id) and ids.dtype == torch.int32
    with pytest.raises(ValueError, match=r"computes in float32, got torch.float64"):
        rasterize(clip.double(), triangles, SIZE, backend="nvdiffrast")
    with pytest.raises(ValueError, match="fixed epsilon"):
        rasterize(clip, triangles, SIZE, backend="nvdiffrast", epsilon=0.0)


def test_depth_of_each_image_of_a_batch_is_its_own(fake: None, tiny_face_model: FaceModel):
    """Two axes of attributes would mean range mode, and the first image's depth for all."""
    camera = Camera.rnet()
    vertices = camera.from_object(tiny_face_model.mean_shape.reshape(1, -1, 3)).repeat(2, 1, 1)
    vertices[1, :, 2] += 1.0
    depths = [
        Renderer(backend)(vertices, tiny_face_model.triangles, camera).depth_dm
        for backend in ("torch", "nvdiffrast")
    ]
    torch.testing.assert_close(*depths)
    assert float(depths[1][1].max() - depths[1][0].max()) == pytest.approx(1, abs=0.05)


def test_slivers_have_the_weights_of_0_4_in_0_3_3_too(
    fake: None, tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """What 0.3.3 and the torch backend gave for a triangle almost edge-on, on a GPU."""
    before = torch.tensor([0.7053217887878418, 0.8249855637550354], requires_grad=True)
    after = torch.tensor([0.46086, 0.53914, 0])
    clip, triangles, _ = scene(tiny_face_model, "cpu")
    plain = fake_nvdiffrast.rasterize

    def bounded_apart(*arguments: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rows, rest = plain(*arguments, **named)
        return torch.cat([before.expand_as(rows[..., :2]), rows[..., 2:]], dim=-1), rest

    monkeypatch.setattr(sys.modules["nvdiffrast.torch"], "rasterize", bounded_apart)
    found = rasterize(clip[:1], triangles, SIZE, backend="nvdiffrast")
    weights = found.barycentrics[found.covered]
    assert (weights - after).abs().max() < 1e-4
    # The bound is nothing to the gradient, as in the torch backend.
    (gradient,) = torch.autograd.grad(weights[:, 0].mean(), before)
    assert gradient.tolist() == pytest.approx([1, 0], abs=1e-5)


@pytest.mark.parametrize("amp", ["none", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_training_step_through_the_library_is_ours(
    fake: None, tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch, amp: Any
):
    """Losses and updated weights of the same step, drawn by either."""
    monkeypatch.setattr(facerecon_model, "resolve_backend", lambda *_: None)
    torch.manual_seed(0)
    batch = make_batch(make(tiny_face_model), supervised=False)
    models = [
        make(tiny_face_model, RenderOptions(renderer=name), OptimiserOptions(lr=1e-3, amp=amp))
        for name in ("torch", "nvdiffrast")
    ]
    models[1].net_recon.load_state_dict(models[0].net_recon.state_dict())
    for model in models:
        model.set_input(batch)
        assert model.optimize_parameters()
    for name, loss in models[0].losses.items():
        torch.testing.assert_close(models[1].losses[name], loss, rtol=1e-4, atol=1e-6)
    gradients = [
        torch.cat([p.grad.flatten() for p in model.net_recon.parameters() if p.grad is not None])
        for model in models
    ]
    assert float(gradients[0].abs().max()) > 0
    largest = float(gradients[0].abs().max())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-3 * largest)


@pytest.mark.gpu
@needs_gpu
# Before 0.4 it compiles itself in the test, and torch's compiler warns of this and that.
@pytest.mark.filterwarnings("ignore")
def test_nvdiffrast_draws_as_the_torch_backend(open_face_model: FaceModel):
    pytest.importorskip("nvdiffrast", reason="install the cuda extra")
    clip, triangles, colours = scene(open_face_model, "cuda")
    assert_alike(
        drawn(clip, triangles, colours, "torch"), drawn(clip, triangles, colours, "nvdiffrast")
    )


@pytest.mark.gpu
@needs_gpu
def test_the_torch_backend_draws_on_a_gpu_as_on_the_cpu(
    open_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """The path that needs no nvdiffrast: exactly, but for the order in which gradients are summed,
    however many images are computed together."""
    on_cpu = drawn(*scene(open_face_model, "cpu"), "torch")
    for images in (8, 3):
        monkeypatch.setattr(torch_backend, "PIXELS_AT_ONCE", images * SIZE[0] * SIZE[1])
        on_gpu = drawn(*scene(open_face_model, "cuda"), "torch")
        assert torch.equal(on_gpu[0], on_cpu[0]) and torch.equal(on_gpu[1], on_cpu[1])
        for mine, other in zip(on_gpu[2:], on_cpu[2:], strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))
