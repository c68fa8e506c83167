"""The renderer on a face-like surface in front of a pinhole camera."""

import multiprocessing
from dataclasses import dataclass

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from models.renderer import Renderer, Rendering, rasterize

BACKENDS = ["torch", "numba"]


@dataclass(frozen=True)
class PinholeCamera:
    """A camera of its own, so that these tests do not depend on the toolkit's."""

    height: int = 64
    width: int = 64
    focal: float = 250.0

    def clip(self, vertices_camera: torch.Tensor) -> torch.Tensor:
        x, y, z = vertices_camera.unbind(-1)
        far, near = 15.0, 5.0
        depth = ((far + near) * z - 2 * far * near) / (far - near)
        columns = [2 * self.focal * x / self.width, -2 * self.focal * y / self.height, depth, z]
        return torch.stack(columns, dim=-1)


def image_of(rendering: Rendering) -> torch.Tensor:
    assert rendering.image is not None
    return rendering.image


@pytest.fixture
def surface(tiny_mesh):
    """Three faces at different places (3, V, 3) in the camera frame, triangles, colours."""
    shift = torch.tensor([[0.0, 0.0, 0.0], [0.2, -0.1, 1.0], [-0.3, 0.2, -2.0]])
    points = tiny_mesh.vertices[None] + shift[:, None]
    camera_frame = torch.stack([points[..., 0], points[..., 1], 10 - points[..., 2]], dim=-1)
    return camera_frame, tiny_mesh.triangles, torch.rand(3, points.shape[1], 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_rendering_has_the_documented_shapes(backend, size, surface) -> None:
    vertices, triangles, colours = surface
    rendering = Renderer(backend)(vertices, triangles, PinholeCamera(*size), colours)
    assert rendering.mask.shape == rendering.depth_dm.shape == (3, 1, *size)
    assert image_of(rendering).shape == (3, 3, *size)
    assert set(rendering.mask.unique().tolist()) == {0.0, 1.0}
    hole = rendering.mask == 0
    assert not rendering.depth_dm[hole].any()
    assert not image_of(rendering)[hole.expand_as(image_of(rendering))].any()
    assert rendering.fragments.triangle_id.shape == (3, *size)


@pytest.mark.parametrize("backend", BACKENDS)
def test_top_of_the_face_is_the_top_of_the_image(backend, surface) -> None:
    vertices, triangles, _ = surface
    rendering = Renderer(backend)(vertices, triangles, PinholeCamera(), vertices)
    x, y = image_of(rendering)[0, 0], image_of(rendering)[0, 1]
    rows, columns = rendering.mask[0, 0].nonzero(as_tuple=True)
    assert y[rows.min(), columns[rows.argmin()]] > 0.8
    assert y[rows.max(), columns[rows.argmax()]] < -0.8
    assert x[rows[columns.argmin()], columns.min()] < -0.6


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_project_back_to_themselves(backend, surface) -> None:
    """Interpolated positions, projected, are the pixel centres; depth is their z, per item."""
    vertices, triangles, _ = surface
    camera = PinholeCamera(60, 70)
    rendering = Renderer(backend)(vertices, triangles, camera, vertices)
    torch.testing.assert_close(rendering.depth_dm, image_of(rendering)[:, 2:])
    inside = rendering.fragments.barycentrics.amin(-1) > 1e-3
    x, y, z = image_of(rendering).permute(1, 0, 2, 3)
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(70.0), indexing="ij")
    u = camera.focal * x / z + 35 - 0.5
    v = 30 - camera.focal * y / z - 0.5
    assert inside.flatten(1).sum(1).min() > 500
    torch.testing.assert_close(u[inside], columns.expand_as(u)[inside], atol=1e-3, rtol=0)
    torch.testing.assert_close(v[inside], rows.expand_as(v)[inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_item_equals_its_single_rendering(backend, surface) -> None:
    vertices, triangles, colours = surface
    renderer, camera = Renderer(backend), PinholeCamera(50, 64)
    whole = renderer(vertices, triangles, camera, colours)
    for item in range(3):
        one = slice(item, item + 1)
        single = renderer(vertices[one], triangles, camera, colours[one])
        assert torch.equal(single.mask, whole.mask[one])
        assert torch.equal(single.depth_dm, whole.depth_dm[one])
        assert torch.equal(image_of(single), image_of(whole)[one])
        assert torch.equal(single.fragments.triangle_id, whole.fragments.triangle_id[one])


@pytest.mark.parametrize("backend", BACKENDS)
def test_shared_features_broadcast(backend, surface) -> None:
    vertices, triangles, colours = surface
    renderer, camera = Renderer(backend), PinholeCamera()
    shared = colours[:1].clone().requires_grad_()
    repeated = colours[:1].repeat(3, 1, 1).requires_grad_()
    weight = torch.randn(3, 3, 64, 64)
    images = []
    for features in (shared, repeated):
        image = image_of(renderer(vertices, triangles, camera, features))
        (image * weight).sum().backward()
        images.append(image)
    assert torch.equal(*images)
    assert shared.grad is not None and repeated.grad is not None
    torch.testing.assert_close(shared.grad, repeated.grad.sum(0, keepdim=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_coverage_is_the_mask_of_the_rendering(backend, surface) -> None:
    vertices, triangles, _ = surface
    renderer, camera = Renderer(backend), PinholeCamera()
    vertices = vertices.requires_grad_()
    for part in (triangles, triangles[: len(triangles) // 3]):
        mask = renderer.coverage(vertices, part, camera)
        assert torch.equal(mask, renderer(vertices, part, camera).mask)
        assert not mask.requires_grad
    assert 0 < mask.mean() < renderer.coverage(vertices, triangles, camera).mean()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_face_outside_the_image_gives_an_empty_rendering(backend, surface) -> None:
    vertices, triangles, colours = surface
    away = (vertices + torch.tensor([50.0, 0, 0])).requires_grad_()
    rendering = Renderer(backend)(away, triangles, PinholeCamera(), colours)
    assert not rendering.mask.any()
    assert not rendering.depth_dm.any()
    (image_of(rendering).sum() + rendering.depth_dm.sum()).backward()
    assert away.grad is not None and not away.grad.any()


def test_without_features_there_is_no_image(surface) -> None:
    vertices, triangles, _ = surface
    rendering = Renderer()(vertices, triangles, PinholeCamera())
    assert rendering.image is None
    assert rendering.depth_dm.max() > 9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype, surface) -> None:
    """Half precision is rendered in float32, double in double."""
    vertices, triangles, colours = surface
    rendering = Renderer()(vertices.to(dtype), triangles, PinholeCamera(), colours.to(dtype))
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert image_of(rendering).dtype == rendering.depth_dm.dtype == rendering.mask.dtype == expected


def gradients(backend, surface) -> list[torch.Tensor]:
    vertices, triangles, colours = (part.clone() for part in surface)
    vertices.requires_grad_()
    colours.requires_grad_()
    rendering = Renderer(backend)(vertices, triangles, PinholeCamera(), colours)
    image = image_of(rendering)
    weight = torch.linspace(-1, 1, image.numel()).view_as(image)
    (image * weight).sum().backward()
    assert vertices.grad is not None and colours.grad is not None
    return [image.detach(), vertices.grad, colours.grad]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_repeat_exactly(backend, surface) -> None:
    for first, second in zip(gradients(backend, surface), gradients(backend, surface), strict=True):
        assert torch.equal(first, second)


def test_results_do_not_depend_on_the_number_of_threads(surface) -> None:
    one = gradients("numba", surface)
    torch.set_num_threads(2)
    two = gradients("numba", surface)
    assert torch.get_num_threads() == 2  # torch's own setting is left alone
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first, second)


def test_gradient_moves_the_face_where_the_image_says(surface) -> None:
    """Descending on the image of a shifted face recovers the shift."""
    vertices, triangles, _ = surface
    renderer, camera = Renderer(), PinholeCamera()
    # Smooth colours of the position on the face: photometric gradients without silhouettes.
    colours = torch.sin(3 * vertices[:1])
    target = renderer(vertices[:1] + torch.tensor([0.06, -0.04, 0.0]), triangles, camera, colours)
    shift = torch.zeros(1, 1, 3, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.01)
    for _ in range(60):
        rendering = renderer(vertices[:1] + shift, triangles, camera, colours)
        both = rendering.mask * target.mask
        loss = ((image_of(rendering) - image_of(target)).square() * both).sum() / both.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(
        shift.detach()[0, 0, :2], torch.tensor([0.06, -0.04]), atol=0.01, rtol=0
    )


class RenderedMasks(Dataset):
    """Renders inside a worker of a data loader."""

    def __init__(self, vertices: torch.Tensor, triangles: torch.Tensor) -> None:
        self.vertices, self.triangles = vertices, triangles

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: int) -> torch.Tensor:
        torch.set_num_threads(2)  # a thread pool of the worker's own
        batch = self.vertices[index : index + 1].repeat(2, 1, 1)
        return Renderer("numba").coverage(batch, self.triangles, PinholeCamera())[0]


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform"
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_render_after_the_parent_used_its_threads(surface) -> None:
    vertices, triangles, _ = surface
    torch.set_num_threads(2)
    expected = Renderer("numba").coverage(vertices, triangles, PinholeCamera())
    loader = DataLoader(
        RenderedMasks(vertices, triangles),
        batch_size=3,
        num_workers=1,
        multiprocessing_context="fork",
        timeout=60,
    )
    (masks,) = list(loader)
    assert torch.equal(masks, expected)


def test_fragments_serve_jacobians(surface) -> None:
    """d image / d vertex attribute is the barycentric of that vertex in the pixel's triangle."""
    vertices, triangles, _ = surface
    camera = PinholeCamera()
    fragments = rasterize(camera.clip(vertices[:1]), triangles, (64, 64))
    values = torch.zeros(1, vertices.shape[1], 1, requires_grad=True)
    image = image_of(Renderer()(vertices[:1], triangles, camera, values))
    row, column = fragments.covered[0].nonzero()[123].tolist()
    (gradient,) = torch.autograd.grad(image[0, 0, row, column], values)
    expected = torch.zeros_like(values)
    corners = triangles[fragments.triangle_id[0, row, column]].long()
    expected[0, corners, 0] = fragments.barycentrics[0, row, column]
    torch.testing.assert_close(gradient, expected)
