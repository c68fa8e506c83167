"""The torch and numba backends against each other and against independent oracles."""

import itertools
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from models.renderer import interpolate, numba_backend, rasterize, torch_backend, visible_triangles

BACKENDS = ["torch", "numba"]
SUBPIXELS = 16


def random_mesh(
    seed: int, batch: int, vertices: int = 60, faces: int = 200, spread: float = 1.3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles of all sizes and orientations, some beyond the image and the depth range."""
    generator = torch.Generator().manual_seed(seed)
    w = 0.5 + 2 * torch.rand(batch, vertices, 1, generator=generator)
    xyz = (torch.rand(batch, vertices, 3, generator=generator) * 2 - 1) * spread * w
    triangles = torch.randint(0, vertices, (faces, 3), generator=generator, dtype=torch.int32)
    return torch.cat([xyz, w], dim=-1), triangles


def clip_from_subpixels(corners: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Clip coordinates (1, V, 4) of points given in subpixels from the corner of the image."""
    ndc = corners / (SUBPIXELS * np.array([width, height])) * 2 - 1
    clip = np.concatenate([ndc, np.zeros((len(ndc), 1)), np.ones((len(ndc), 1))], axis=1)
    return torch.from_numpy(clip.astype(np.float32))[None]


def assert_equal_backends(clip: torch.Tensor, triangles: torch.Tensor, size: tuple[int, int]):
    slow = rasterize(clip, triangles, size, backend="torch")
    fast = rasterize(clip, triangles, size, backend="numba")
    assert torch.equal(slow.triangle_id, fast.triangle_id)
    assert torch.equal(slow.barycentrics, fast.barycentrics)
    assert torch.equal(slow.depth_ndc, fast.depth_ndc)
    return slow


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(48, 48), (33, 61), (1, 7)])
def test_backends_are_equal_bit_by_bit(seed: int, size: tuple[int, int]) -> None:
    clip, triangles = random_mesh(seed, batch=3)
    fragments = assert_equal_backends(clip, triangles, size)
    assert fragments.covered.any()
    if size[0] > 1:
        assert not fragments.covered.all()
    attributes = torch.randn(3, clip.shape[1], 5)
    slow = interpolate(attributes, triangles, fragments, backend="torch")
    fast = interpolate(attributes, triangles, fragments, backend="numba")
    assert torch.equal(slow, fast)


def test_backends_are_equal_on_a_dense_surface(tiny_mesh) -> None:
    points = tiny_mesh.vertices[None].repeat(2, 1, 1)
    points[1] += 0.05 * torch.randn_like(points[1])
    clip = torch.cat([points * 0.9, 1.0 + 0.2 * torch.rand(2, points.shape[1], 1)], dim=-1)
    assert_equal_backends(clip, tiny_mesh.triangles, (160, 120))


def test_backends_are_equal_in_float64() -> None:
    clip, triangles = random_mesh(11, batch=2)
    assert_equal_backends(clip.double(), triangles, (40, 30))


def test_backends_are_equal_for_chunks_of_candidates(monkeypatch) -> None:
    clip, triangles = random_mesh(12, batch=1)
    whole = rasterize(clip, triangles, (40, 30), backend="torch")
    monkeypatch.setattr(torch_backend, "CANDIDATES", 37)
    parts = rasterize(clip, triangles, (40, 30), backend="torch")
    assert torch.equal(whole.triangle_id, parts.triangle_id)


def test_how_many_images_are_computed_together() -> None:
    """One on a CPU; on a GPU as few as their pixels and triangles allow, and each once."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")

    def sizes(device: torch.device, images: int, side: int, faces: int) -> list[int]:
        parts = torch_backend._parts(device, images, side * side, faces)
        return [len(range(images)[part]) for part in parts]

    assert sizes(cpu, 3, 224, 1000) == [1, 1, 1]
    assert sizes(gpu, 64, 224, 20_000) == [41, 23]
    assert sizes(gpu, 64, 224, 70_000) == [29, 29, 6]
    assert sizes(gpu, 3, 2048, 1000) == [1, 1, 1]
    assert sizes(gpu, 2, 32, 0) == [2] and sizes(gpu, 0, 32, 10) == []


@pytest.mark.parametrize("attribute_batch", [1, 5])
def test_images_of_a_batch_may_be_computed_together(monkeypatch, attribute_batch: int) -> None:
    """As on GPUs: ids, pixels and gradients are those of one image at a time."""
    clip, triangles = random_mesh(8, batch=5)
    attributes = torch.randn(attribute_batch, clip.shape[1], 2)
    weights = torch.randn(5, 24, 31, 2)

    def drawn() -> tuple[torch.Tensor, ...]:
        leaves = clip.clone().requires_grad_(), attributes.clone().requires_grad_()
        found = rasterize(leaves[0], triangles, (24, 31), backend="torch")
        picture = interpolate(leaves[1], triangles, found, backend="torch")
        gradients = torch.autograd.grad((picture * weights).sum(), leaves)
        return found.triangle_id, found.depth_ndc, picture.detach(), *gradients

    apart = drawn()
    monkeypatch.setattr(torch_backend, "_parts", lambda *_: iter([slice(0, 3), slice(3, 6)]))
    monkeypatch.setattr(torch_backend, "CANDIDATES", 37)
    together = drawn()
    assert (apart[0] >= 0).any()
    for one, other in zip(apart, together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_backends_are_equal_with_unusable_vertices(seed: int) -> None:
    """Behind the eye, at the eye, not finite, absurdly far, degenerate: dropped by both."""
    clip, triangles = random_mesh(seed, batch=2, spread=1.0)
    clip[:, 0, 3] = -1.0
    clip[:, 1, 3] = 0.0
    clip[:, 2, 0] = float("nan")
    clip[:, 3, 1] = float("inf")
    clip[:, 4, 2] = float("nan")
    clip[:, 5, 0] = 1e12
    clip[:, 6] = clip[:, 7]
    clip[:, 8, 3] = 1e-42
    triangles[0] = torch.tensor([9, 9, 10])
    triangles[1] = torch.tensor([6, 7, 11])
    fragments = assert_equal_backends(clip, triangles, (40, 40))
    assert torch.isfinite(fragments.barycentrics).all()
    assert torch.isfinite(fragments.depth_ndc).all()
    seen = set(fragments.triangle_id.unique().tolist()) - {-1}
    assert seen
    dropped = {0, 1, 2, 3, 4, 5, 8}
    for face in seen:
        assert not dropped & set(triangles[face].tolist())
    assert not seen & {0, 1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_range_clips_pixel_by_pixel(backend) -> None:
    """A plane tilted through the far and near planes keeps only -1 <= z/w <= 1."""
    clip = torch.tensor([[[-1, -1, -2, 1], [1, -1, 2, 1], [-1, 1, -2, 1], [1, 1, 2, 1.0]]])
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    fragments = rasterize(clip, triangles, (8, 16), backend=backend)
    centres = (torch.arange(16) + 0.5) / 8 - 1
    expected = (2 * centres).abs() <= 1
    assert torch.equal(fragments.covered, expected.expand(1, 8, 16))
    torch.testing.assert_close(
        fragments.depth_ndc, torch.where(expected, 2 * centres, 0).expand(1, 8, 16)
    )


def covered_by_integers(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Exact coverage in rational numbers, with the tie rule as an infinitesimal shift.

    A sample on an edge counts as inside if it is inside after a step of (t, t^2) with t -> 0+.
    """
    step = (Fraction(1, 10**8), Fraction(1, 10**16))
    result = np.zeros((height, width), bool)
    points = [tuple(int(c) for c in corner) for corner in corners]
    for row, column in itertools.product(range(height), range(width)):
        sample = (16 * column + 8 + step[0], 16 * row + 8 + step[1])
        signs = []
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            side = (bx - ax) * (sample[1] - ay) - (by - ay) * (sample[0] - ax)
            signs.append(side > 0)
        result[row, column] = all(signs) or not any(signs)
    return result


@pytest.mark.parametrize("backend", BACKENDS)
def test_coverage_of_single_triangles_is_exact(backend) -> None:
    height, width = 10, 13
    rng = np.random.default_rng(3)
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    cases = [
        # Corners and edges exactly on pixel centres, both orientations.
        np.array([[8, 8], [8, 136], [168, 8]]),
        np.array([[168, 8], [8, 136], [8, 8]]),
        np.array([[24, 24], [88, 88], [152, 24]]),
        np.array([[-40, 72], [400, 72], [88, -200]]),
        # Without area.
        np.array([[8, 8], [72, 72], [136, 136]]),
        *(rng.integers(-40, 16 * 14, (3, 2)) for _ in range(20)),
        *(8 * rng.integers(0, 20, (3, 2)) for _ in range(20)),
    ]
    total = 0
    for corners in cases:
        clip = clip_from_subpixels(corners, height, width)
        ids = visible_triangles(clip, triangles, (height, width), backend=backend)
        expected = covered_by_integers(corners, height, width)
        a, b, c = corners
        if (b[0] - a[0]) * (c[1] - a[1]) == (b[1] - a[1]) * (c[0] - a[0]):
            expected[:] = False
        np.testing.assert_array_equal(ids[0].numpy() == 0, expected, err_msg=str(corners))
        total += expected.sum()
    assert total > 500


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden_triangle(backend) -> None:
    """Left and top edges hold their pixel centres, right and bottom ones do not."""
    corners = np.array([[8, 8], [72, 8], [8, 72]])  # pixel centres (0, 0), (4, 0), (0, 4)
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    ids = visible_triangles(clip_from_subpixels(corners, 5, 6), triangles, (5, 6), backend=backend)
    picture = ["".join("#" if seen else "." for seen in row) for row in (ids[0] == 0).tolist()]
    assert picture == ["####..", "###...", "##....", "#.....", "......"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_snapping_rounds_half_to_even(backend) -> None:
    """An edge half a subpixel from the pixel centre snaps to the even subpixel."""
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    covered = []
    for left in (7.5, 8.5):  # of pixel 0, whose centre is at 8: both snap to 8, a left edge
        corners = np.array([[left, -100.0], [left, 300.0], [300.0, 100.0]])
        ids = visible_triangles(
            clip_from_subpixels(corners, 4, 8), triangles, (4, 8), backend=backend
        )
        covered.append(bool((ids[0, :, 0] == 0).all()))
    assert covered == [True, True]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grid", [8, 1])
def test_shared_edges_are_covered_exactly_once(backend, grid: int) -> None:
    """A planar triangulation covers each pixel once, also where edges cross pixel centres."""
    height, width = 24, 30
    rng = np.random.default_rng(grid)
    span = np.array([SUBPIXELS * width, SUBPIXELS * height])
    inner = rng.integers(0, span // grid, (60, 2)) * grid
    frame = np.array([[-16, -16], [-16, span[1] + 16], [span[0] + 16, -16], span + 16])
    points = np.unique(np.concatenate([inner, frame]), axis=0)
    faces = Delaunay(points).simplices.astype(np.int32)
    turned = rng.random(len(faces)) < 0.5
    faces[turned] = faces[turned][:, ::-1]
    clip = clip_from_subpixels(points, height, width)
    count = torch.zeros(1, height, width)
    for face in torch.from_numpy(faces.copy()):
        count += (
            visible_triangles(clip, face[None], (height, width), backend=backend) == 0
        ).float()
    assert torch.equal(count, torch.ones_like(count))


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_equal_depths_the_later_triangle_wins(backend) -> None:
    clip = clip_from_subpixels(np.array([[-99, -99], [999, -99], [-99, 999]]), 9, 9)
    triangles = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 1, 0]], dtype=torch.int32)
    ids = visible_triangles(clip, triangles, (9, 9), backend=backend)
    assert set(ids.unique().tolist()) == {2}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_nearer_triangle_is_seen(backend) -> None:
    clip = clip_from_subpixels(np.array([[-99, -99], [999, -99], [-99, 999]]), 9, 9)
    nearer = clip.clone()
    clip[..., 2], nearer[..., 2] = 0.25, -0.25
    triangles = torch.tensor([[3, 4, 5], [0, 1, 2]], dtype=torch.int32)
    ids = visible_triangles(torch.cat([clip, nearer], 1), triangles, (9, 9), backend=backend)
    assert set(ids.unique().tolist()) == {0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_interpolation_is_perspective_correct(backend) -> None:
    """Against rays through the pixel centres cut with the triangles' planes, in float64."""
    rng = np.random.default_rng(5)
    height, width, focal = 30, 40, 35.0
    corners = np.stack(
        [
            rng.uniform(-4, 4, (20, 3)),
            rng.uniform(-3, 3, (20, 3)),
            rng.uniform(3, 9, (20, 3)),
        ],
        axis=-1,
    )
    values = rng.normal(size=(20, 3, 2))
    checked = 0
    for triangle, value in zip(corners, values, strict=True):
        x, y, z = triangle.T
        clip = np.stack([2 * focal * x / width, 2 * focal * y / height, z - 6, z], axis=-1)
        clip = torch.from_numpy(clip[None].astype(np.float32))
        faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
        fragments = rasterize(clip, faces, (height, width), backend=backend)
        attributes = torch.from_numpy(value[None].astype(np.float32))
        pixels = interpolate(attributes, faces, fragments, backend=backend)[0].numpy()
        for row, column in np.argwhere(fragments.covered[0].numpy()):
            ray = np.array(
                [(column + 0.5 - width / 2) / focal, (row + 0.5 - height / 2) / focal, 1.0]
            )
            weights = np.linalg.solve(triangle.T, ray)  # sum_k b_k v_k = t ray, up to scale
            weights = weights / weights.sum()
            if weights.min() < 0.02:
                continue  # clamped at the border, where a snapped pixel may lie outside
            np.testing.assert_allclose(
                fragments.barycentrics[0, row, column].numpy(), weights, atol=2e-4
            )
            np.testing.assert_allclose(pixels[row, column], weights @ value, atol=5e-4)
            depth = weights @ z
            np.testing.assert_allclose(
                fragments.depth_ndc[0, row, column], (depth - 6) / depth, atol=5e-4
            )
            checked += 1
    assert checked > 300


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_a_partition_of_one(backend) -> None:
    clip, triangles = random_mesh(1, batch=2)
    fragments = rasterize(clip, triangles, (64, 48), backend=backend)
    inside = fragments.barycentrics[fragments.covered]
    # The third weight is 1 - u - v, and u + v may exceed 1 by its rounding.
    assert inside.min() >= -1e-6
    assert inside.max() <= 1
    torch.testing.assert_close(inside.sum(-1), torch.ones(len(inside)))
    assert not fragments.barycentrics[~fragments.covered].any()


def interior(clip: torch.Tensor, triangles: torch.Tensor, size: tuple[int, int], backend: str):
    fragments = rasterize(clip, triangles, size, backend=backend)  # pyright: ignore
    return fragments.barycentrics.detach().amin(-1) > 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck_of_positions(backend) -> None:
    clip, triangles = random_mesh(2, batch=2, vertices=7, faces=12, spread=0.9)
    clip = clip.double().requires_grad_()
    size = (12, 9)
    pixels = interior(clip, triangles, size, backend)  # away from clamps and silhouettes
    assert pixels.sum() > 20

    def weights(positions: torch.Tensor) -> torch.Tensor:
        return rasterize(positions, triangles, size, backend=backend, epsilon=0.0).barycentrics[
            pixels
        ]

    assert torch.autograd.gradcheck(weights, clip)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("attribute_batch", [1, 2])
def test_gradcheck_of_rendering(backend, attribute_batch: int) -> None:
    clip, triangles = random_mesh(2, batch=2, vertices=7, faces=12, spread=0.9)
    clip = clip.double().requires_grad_()
    attributes = torch.randn(attribute_batch, 7, 3, dtype=torch.float64, requires_grad=True)
    size = (12, 9)
    pixels = interior(clip, triangles, size, backend)

    def render(positions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        fragments = rasterize(positions, triangles, size, backend=backend, epsilon=0.0)
        return interpolate(values, triangles, fragments, backend=backend)[pixels]

    assert torch.autograd.gradcheck(render, (clip, attributes))


def smooth_weights(
    clip: torch.Tensor, triangles: torch.Tensor, ids: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """u, v, 1 - u - v of the covered pixels as a plain formula that autograd differentiates."""
    _, height, width = ids.shape
    item, row, column = (ids >= 0).nonzero(as_tuple=True)
    corner = clip[item[:, None], triangles[ids[ids >= 0].long()].long()]
    fx = (2 * column + 1).double() / width - 1
    fy = (2 * row + 1).double() / height - 1
    x = corner[..., 0] - fx[:, None] * corner[..., 3]
    y = corner[..., 1] - fy[:, None] * corner[..., 3]
    matrix = torch.stack([x, y, torch.ones_like(x)], dim=1)
    area = torch.linalg.det(matrix)
    unit = torch.eye(3, dtype=clip.dtype)
    parts = []
    for k in range(2):
        # The determinant with the row of ones replaced is linear in it: a_k = d det / d one_k.
        replaced = torch.stack([x, y, unit[k].expand_as(x)], dim=1)
        parts.append(torch.linalg.det(replaced) / (area + torch.copysign(area * 0 + epsilon, area)))
    return torch.stack([*parts, 1 - parts[0] - parts[1]], dim=-1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.05])
def test_gradient_follows_the_formula_with_epsilon(backend, epsilon: float) -> None:
    clip, triangles = random_mesh(4, batch=2, vertices=12, faces=10)
    clip = clip.double().requires_grad_()
    fragments = rasterize(clip, triangles, (20, 24), backend=backend, epsilon=epsilon)
    gradient = torch.randn_like(fragments.barycentrics)
    (actual,) = torch.autograd.grad(fragments.barycentrics, clip, gradient)
    formula = smooth_weights(clip, triangles, fragments.triangle_id, epsilon)
    (expected,) = torch.autograd.grad(formula, clip, gradient[fragments.covered])
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)
    assert not actual[..., 2].any()  # z has no gradient
    assert actual.abs().sum() > 1


def test_gradients_of_the_backends_agree() -> None:
    clip, triangles = random_mesh(6, batch=3)
    attributes = torch.randn(3, clip.shape[1], 4)
    gradient = torch.randn(3, 40, 50, 4)
    results = []
    for backend in BACKENDS:
        positions, values = clip.clone().requires_grad_(), attributes.clone().requires_grad_()
        fragments = rasterize(positions, triangles, (40, 50), backend=backend)  # pyright: ignore
        image = interpolate(values, triangles, fragments, backend=backend)  # pyright: ignore
        results.append(torch.autograd.grad(image, (positions, values), gradient))
    for slow, fast in zip(*results, strict=True):
        assert slow.abs().max() > 1
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4 * float(slow.abs().max()))


@pytest.mark.parametrize("module", [torch_backend, numba_backend])
def test_backward_computes_only_what_is_needed(module: ModuleType) -> None:
    clip, triangles = random_mesh(6, batch=1)
    fragments = rasterize(clip, triangles, (8, 8))
    attributes, gradient = torch.randn(1, clip.shape[1], 2), torch.randn(1, 8, 8, 2)
    for needs in itertools.product([False, True], repeat=2):
        found = module.interpolate_backward(
            attributes,
            triangles,
            fragments.triangle_id,
            fragments.barycentrics,
            gradient,
            needs,
        )
        assert tuple(part is not None for part in found) == needs
