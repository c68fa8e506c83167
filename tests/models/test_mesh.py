"""Vertex normals: the compiled loop against the readable form, and known surfaces."""

import pytest
import torch

from models.mesh import (
    VertexNormals,
    adjacent_faces,
    normal_derivatives,
    normal_derivatives_reference,
    vertex_normals_gather,
)


def octasphere(levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A unit sphere of subdivided octahedron faces, counter-clockwise from outside."""
    points = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    vertices = [torch.tensor(point, dtype=torch.float64) for point in points]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(levels):
        middle: dict[tuple[int, int], int] = {}

        def between(a: int, b: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(a, b), max(a, b))
            if key not in middle:
                middle[key] = len(vertices)
                point = vertices[a] + vertices[b]
                vertices.append(point / point.norm())
            return middle[key]

        finer = []
        for a, b, c in faces:
            ab, bc, ca = between(a, b), between(b, c), between(c, a)
            finer += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = finer
    return torch.stack(vertices), torch.tensor(faces, dtype=torch.int32)


def test_normals_of_a_sphere_point_outwards() -> None:
    vertices, triangles = octasphere(3)
    normals = VertexNormals(triangles, len(vertices))(vertices[None])[0]
    assert (normals * vertices).sum(-1).min() > 0.995
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(vertices), dtype=torch.float64))


def test_faces_count_equally_whatever_their_area() -> None:
    """Two faces at a right angle, one a hundred times as large: the mean is at 45 degrees."""
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 100]]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    normals = VertexNormals(triangles, 4)(vertices)
    half = 0.5**0.5
    expected = torch.tensor([[[half, 0, half], [0, 0, 1], [half, 0, half], [1, 0, 0]]])
    torch.testing.assert_close(normals, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_and_readable_forms_agree(dtype, tiny_mesh) -> None:
    points = (tiny_mesh.vertices[None] + 0.05 * torch.randn(3, *tiny_mesh.vertices.shape)).to(dtype)
    module = VertexNormals(tiny_mesh.triangles, len(tiny_mesh.vertices))
    weight = torch.randn_like(points)
    results = []
    for normals_of in (
        module,
        lambda v: vertex_normals_gather(v, module.triangles, module.adjacent_faces),
    ):
        vertices = points.clone().requires_grad_()
        normals = normals_of(vertices)
        results.append((normals.detach(), *torch.autograd.grad(normals, vertices, weight)))
    rtol, atol = (1e-3, 1e-4) if dtype == torch.float32 else (1e-9, 1e-9)
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=rtol, atol=atol)


def test_gradcheck() -> None:
    vertices, triangles = octasphere(1)
    points = (vertices + 0.1 * torch.randn_like(vertices)).expand(2, -1, -1).clone()
    module = VertexNormals(triangles, len(vertices))
    assert torch.autograd.gradcheck(module, points.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda v: vertex_normals_gather(v, module.triangles, module.adjacent_faces), points
    )


def test_degenerate_faces_and_lone_vertices_are_harmless() -> None:
    """Their normal is zero and they pass no gradient, in both forms."""
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [5, 5, 5]]])
    triangles = torch.tensor([[0, 1, 2], [0, 1, 3], [3, 3, 3]])
    module = VertexNormals(triangles, 5)
    for normals_of in (
        module,
        lambda v: vertex_normals_gather(v, module.triangles, module.adjacent_faces),
    ):
        vertices = points.clone().requires_grad_()
        normals = normals_of(vertices)
        expected = torch.tensor([[[0.0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]])
        torch.testing.assert_close(normals, expected)
        normals[..., 0].sum().backward()
        assert vertices.grad is not None
        assert torch.isfinite(vertices.grad).all()
        assert vertices.grad.abs().max() < 10
        assert vertices.grad.abs().max() > 0.1
        assert not vertices.grad[0, 3:].any()


def test_normals_turn_with_the_mesh(tiny_mesh) -> None:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    rotation = rotation * torch.linalg.det(rotation).sign()
    vertices = tiny_mesh.vertices.double()[None]
    module = VertexNormals(tiny_mesh.triangles, vertices.shape[1])
    moved = module(3 * vertices @ rotation.T + 7)
    torch.testing.assert_close(moved, module(vertices) @ rotation.T)


def test_adjacent_faces_lists_each_corner() -> None:
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]])
    table = adjacent_faces(triangles, 5)
    assert table.tolist() == [[0, 2], [0, 1], [0, 1], [1, 2], [2, 2]]


def test_half_precision_is_computed_in_float32(tiny_mesh) -> None:
    module = VertexNormals(tiny_mesh.triangles, len(tiny_mesh.vertices))
    assert module(tiny_mesh.vertices[None].half()).dtype == torch.float32


def test_other_topology_is_refused(tiny_mesh) -> None:
    module = VertexNormals(tiny_mesh.triangles, len(tiny_mesh.vertices))
    with pytest.raises(ValueError, match=r"prepared for 168 vertices, got 10"):
        module(torch.rand(1, 10, 3))
    with pytest.raises(ValueError, match="mesh has 100"):
        VertexNormals(tiny_mesh.triangles, 100)


def test_buffers_are_not_saved(tiny_mesh) -> None:
    module = VertexNormals(tiny_mesh.triangles, len(tiny_mesh.vertices))
    assert not module.state_dict()


FORMS = [normal_derivatives, normal_derivatives_reference]


@pytest.mark.parametrize("derivatives_of", FORMS)
def test_derivatives_of_normals_are_their_finite_differences(derivatives_of, tiny_mesh) -> None:
    vertices = tiny_mesh.vertices.double()
    vertices += 0.02 * torch.randn_like(vertices)
    directions = torch.randn(*vertices.shape, 4, dtype=torch.float64)
    normals_of = VertexNormals(tiny_mesh.triangles, len(vertices))
    step = 1e-6
    found = derivatives_of(vertices, tiny_mesh.triangles, directions)
    for number in range(4):
        move = step * directions[..., number]
        ahead, behind = normals_of(torch.stack([vertices + move, vertices - move]))
        expected = (ahead - behind) / (2 * step)
        torch.testing.assert_close(found[..., number], expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_and_readable_derivatives_agree(dtype, tiny_mesh) -> None:
    vertices = tiny_mesh.vertices.to(dtype)
    # As bases are stored: coefficients first.
    directions = torch.randn(5, *vertices.shape, dtype=dtype).permute(1, 2, 0)
    found = normal_derivatives(vertices, tiny_mesh.triangles, directions)
    expected = normal_derivatives_reference(vertices, tiny_mesh.triangles, directions)
    rtol, atol = (1e-4, 1e-4) if dtype == torch.float32 else (1e-10, 1e-10)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("derivatives_of", FORMS)
def test_normals_of_degenerate_faces_and_lone_vertices_do_not_turn(derivatives_of) -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [5, 5, 5]])
    triangles = torch.tensor([[0, 1, 2], [0, 1, 3], [3, 3, 3]])
    raised = torch.zeros(5, 3, 2)
    raised[2, 2, 0] = 1.0  # the one real face tilts about the x axis
    raised[:, 2, 1] = torch.tensor([0.0, 0.0, 0.0, 3.0, -2.0])  # what has no normal moves alone
    found = derivatives_of(points, triangles, raised)
    expected = torch.zeros(5, 3, 2)
    expected[:3, 1, 0] = -1.0
    torch.testing.assert_close(found, expected)
