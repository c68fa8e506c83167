"""The public functions: dispatch, checks and messages."""

import importlib.util

import numpy as np
import pytest
import torch

from models.renderer import Fragments, interpolate, rasterize, resolve_backend, visible_triangles
from models.renderer import fragments as fragments_module


def mesh() -> tuple[torch.Tensor, torch.Tensor]:
    clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    return clip, torch.tensor([[0, 1, 2]])


def test_auto_takes_the_compiled_backend_on_the_cpu() -> None:
    assert resolve_backend("auto", torch.device("cpu")) == "numba"


@pytest.mark.parametrize(("installed", "expected"), [(True, "nvdiffrast"), (False, "torch")])
def test_auto_on_cuda(monkeypatch, installed: bool, expected: str) -> None:
    monkeypatch.setattr(fragments_module, "_has_nvdiffrast", lambda device: installed)
    assert resolve_backend("auto", torch.device("cuda")) == expected
    assert resolve_backend("auto", torch.device("mps")) == "torch"


@pytest.mark.parametrize(
    ("backend", "device", "message"),
    [
        ("numba", "cuda", "--renderer numba .* cuda.*auto"),
        ("nvdiffrast", "cpu", "--renderer nvdiffrast needs a CUDA device.*cpu.*auto"),
        ("opengl", "cpu", "--renderer is one of auto, torch, numba, nvdiffrast, got 'opengl'"),
    ],
)
def test_unusable_backends_are_named(backend: str, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_backend(backend, torch.device(device))


@pytest.mark.skipif(
    importlib.util.find_spec("nvdiffrast") is not None, reason="nvdiffrast is installed"
)
def test_missing_nvdiffrast_is_explained() -> None:
    from models.renderer import nvdiffrast_backend

    clip, triangles = mesh()
    with pytest.raises(ValueError, match=r"--renderer nvdiffrast.*cannot be imported.*auto"):
        nvdiffrast_backend.rasterize(clip, triangles.int(), 4, 4)


def test_nvdiffrast_refuses_what_it_cannot_do() -> None:
    from models.renderer import nvdiffrast_backend

    clip, triangles = mesh()
    with pytest.raises(ValueError, match="float32"):
        nvdiffrast_backend.rasterize(clip.double(), triangles.int(), 4, 4)
    with pytest.raises(ValueError, match="epsilon"):
        nvdiffrast_backend.rasterize(clip, triangles.int(), 4, 4, epsilon=0.0)


class FakeNvdiffrast:
    """Answers as nvdiffrast.torch does, by the torch backend."""

    def __init__(self) -> None:
        self.contexts = 0

    def RasterizeCudaContext(self, device) -> str:
        self.contexts += 1
        return f"context of {device}"

    def rasterize(self, context, pos, tri, resolution, grad_db):
        assert context == "context of cpu"
        assert tri.dtype == torch.int32 and tri.is_contiguous()
        assert not grad_db
        found = rasterize(pos, tri, tuple(resolution), backend="torch")
        columns = [
            found.barycentrics[..., :2],
            found.depth_ndc[..., None],
            found.triangle_id[..., None] + 1.0,
        ]
        return torch.cat(columns, dim=-1), None

    def interpolate(self, attr, rast, tri):
        ids = rast[..., 3].detach().int() - 1
        u, v = rast[..., :2].unbind(-1)
        weights = torch.stack([u, v, (1 - u - v) * (ids >= 0)], dim=-1)
        return interpolate(attr, tri, Fragments(ids, weights, rast[..., 2]), backend="torch"), None


def test_nvdiffrast_backend_translates_its_interface(monkeypatch) -> None:
    """Column order, id offset, row order and the path of the gradient, with a stand-in library."""
    from models.renderer import nvdiffrast_backend

    fake = FakeNvdiffrast()
    monkeypatch.setattr(nvdiffrast_backend, "_library", lambda: fake)
    nvdiffrast_backend._context.cache_clear()
    clip = torch.rand(2, 9, 4) + torch.tensor([-0.5, -0.5, -0.5, 1.0])
    triangles = torch.randint(0, 9, (8, 3), dtype=torch.int32)
    attributes = torch.randn(2, 9, 3)
    results = []
    for use in ("nvdiffrast", "torch"):
        positions, values = clip.clone().requires_grad_(), attributes.clone().requires_grad_()
        if use == "torch":
            found = rasterize(positions, triangles, (12, 10), backend="torch")
            image = interpolate(values, triangles, found, backend="torch")
        else:
            found = Fragments(*nvdiffrast_backend.rasterize(positions, triangles, 12, 10))
            image = nvdiffrast_backend.interpolate(
                values, triangles, found.triangle_id, found.barycentrics, found.depth_ndc
            )
        gradients = torch.autograd.grad(image.square().sum(), (positions, values))
        results.append((found.triangle_id, found.barycentrics, found.depth_ndc, image, *gradients))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(theirs, ours)
    assert results[0][0].dtype == torch.int32
    assert (results[0][0] >= 0).any()
    nvdiffrast_backend.rasterize(clip, triangles, 4, 4)
    assert fake.contexts == 1  # made once for a device
    nvdiffrast_backend._context.cache_clear()


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_triangles_of_any_layout(backend) -> None:
    """As scipy.io.loadmat gives them: Fortran order, other integer types."""
    clip = torch.rand(1, 9, 4) + torch.tensor([-0.5, -0.5, -0.5, 1.0])
    faces = np.random.default_rng(0).integers(0, 9, (8, 3))
    expected = visible_triangles(clip, torch.from_numpy(faces), (9, 9), backend=backend)
    for dtype in (np.int32, np.int16, np.int64):
        fortran = torch.from_numpy(faces.astype(dtype)).T.contiguous().T
        assert not fortran.is_contiguous()
        assert torch.equal(visible_triangles(clip, fortran, (9, 9), backend=backend), expected)


@pytest.mark.parametrize("bad", [-1, 3])
def test_indices_outside_the_vertices_are_refused(bad: int) -> None:
    clip, _ = mesh()
    with pytest.raises(ValueError, match="mesh has 3"):
        rasterize(clip, torch.tensor([[0, 1, bad]]), (4, 4))


def test_triangles_of_another_mesh_are_refused() -> None:
    clip, triangles = mesh()
    fragments = rasterize(clip, triangles.repeat(3, 1), (4, 4))
    assert fragments.triangle_id.max() == 2
    with pytest.raises(ValueError, match="triangles that were rasterised"):
        interpolate(torch.rand(1, 3, 1), triangles, fragments)


def test_other_batch_size_is_refused() -> None:
    clip, triangles = mesh()
    fragments = rasterize(clip.repeat(3, 1, 1), triangles, (4, 4))
    with pytest.raises(ValueError, match="batch size 2, fragments 3"):
        interpolate(torch.rand(2, 3, 1), triangles, fragments)


def test_sizes_and_types_are_checked() -> None:
    clip, triangles = mesh()
    with pytest.raises(ValueError, match="positive, got 0 x 4"):
        rasterize(clip, triangles, (0, 4))
    with pytest.raises(ValueError, match="float16"):
        rasterize(clip.half(), triangles, (4, 4))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_empty_batches_and_meshes(backend) -> None:
    clip, triangles = mesh()
    none = rasterize(clip[:0], triangles, (4, 5), backend=backend)
    assert none.triangle_id.shape == (0, 4, 5)
    bare = rasterize(clip, triangles[:0], (4, 5), backend=backend)
    assert not bare.covered.any()
    assert not interpolate(torch.ones(1, 3, 2), triangles[:0], bare, backend=backend).any()
