"""Textures drawn from vertex albedo and fine maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.texture import (
    AlbedoTexture,
    TextureData,
    corner_coordinates,
    layout_raster,
    sample_texture,
)

SIZE = 40
# A square of two triangles in the middle of the layout.
UV = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]], dtype=np.float32)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])


def texture_data(seed: int = 0) -> TextureData:
    random = np.random.default_rng(seed)
    return TextureData(
        names=("hairs", "pores"),
        maps=random.integers(-127, 128, (2, SIZE, SIZE)).astype(np.int8),
        scales=np.array([0.01, 0.002], dtype=np.float32),
        weight_mean=random.normal(0, 0.1, (2, 3)).astype(np.float32),
        weight_basis=random.normal(0, 0.05, (2, 3, 5)).astype(np.float32),
        weight_range=np.stack([np.full((2, 3), -0.5), np.full((2, 3), 0.5)], -1).astype(np.float32),
    )


@pytest.fixture
def texture() -> AlbedoTexture:
    return AlbedoTexture(UV, TRIANGLES, TRIANGLES, texture_data())


def test_a_vertex_colour_that_is_linear_in_the_layout_is_reproduced(texture):
    colours = torch.from_numpy(np.concatenate([UV, UV[:, :1]], axis=1))[None]
    drawn = texture.smooth(colours)
    centre = (torch.arange(SIZE) + 0.5) / SIZE
    inside = slice(SIZE // 4, 3 * SIZE // 4)
    across = centre[inside].expand(SIZE // 2, -1)
    torch.testing.assert_close(drawn[0, 0, inside, inside], across, atol=1e-5, rtol=0)
    # Row 0 is the top, v = 1.
    upwards = (1 - centre[inside])[:, None].expand(-1, SIZE // 2)
    torch.testing.assert_close(drawn[0, 1, inside, inside], upwards, atol=1e-5, rtol=0)


def test_texels_outside_the_layout_repeat_its_border(texture):
    raster = layout_raster(UV, TRIANGLES, (SIZE, SIZE))
    assert raster.covered.sum() == (SIZE // 2) ** 2
    drawn = texture.smooth(torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(1)))
    corner = SIZE // 4
    assert torch.equal(drawn[0, :, 0, 0], drawn[0, :, corner, corner])
    assert torch.equal(drawn[0, :, SIZE // 2, -1], drawn[0, :, SIZE // 2, 3 * corner - 1])


def test_maps_are_added_with_weights_linear_in_the_coefficients(texture):
    data = texture_data()
    vertex_albedo = torch.full((2, 4, 3), 0.5)
    coefficients = torch.randn(2, 5, generator=torch.Generator().manual_seed(2)) * 0.3
    weights = data.weight_mean + np.einsum("kct,bt->bkc", data.weight_basis, coefficients.numpy())
    scaled = weights * data.scales[:, None]
    expected = 0.5 + np.einsum("bkc,khw->bchw", scaled, data.maps.astype(np.float32))
    drawn = texture(vertex_albedo, coefficients)
    np.testing.assert_allclose(drawn.numpy(), expected.clip(0, 1), atol=1e-5)


def test_weights_end_at_the_range_of_the_people_they_come_from():
    data = replace(texture_data(), weight_basis=np.full((2, 3, 5), 10, dtype=np.float32))
    texture = AlbedoTexture(UV, TRIANGLES, TRIANGLES, data)
    assert (texture.weights(torch.ones(1, 5)) == 0.5).all()
    assert (texture.weights(-torch.ones(1, 5)) == -0.5).all()


def test_textures_stay_in_range_and_pass_gradients(texture):
    albedo = (0.4 + 0.2 * torch.rand(1, 4, 3)).requires_grad_()
    coefficients = torch.zeros(1, 5, requires_grad=True)
    drawn = texture(albedo, coefficients)
    assert float(drawn.detach().min()) >= 0 and float(drawn.detach().max()) <= 1
    drawn.sum().backward()
    assert albedo.grad is not None and albedo.grad.abs().min() > 0
    assert coefficients.grad is not None and coefficients.grad.abs().max() > 0


def test_sampling_at_texel_centres_returns_texels():
    picture = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(3))
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    uv = torch.stack([(columns + 0.5) / 8, 1 - (rows + 0.5) / 6], dim=-1)[None]
    torch.testing.assert_close(sample_texture(picture, uv)[0].permute(2, 0, 1), picture[0])


def test_corner_coordinates_follow_the_barycentrics():
    ids = torch.tensor([[[0, 1, -1]]])
    barycentrics = torch.tensor([[[[1.0, 0, 0], [0, 0.5, 0.5], [0, 0, 0]]]])
    found = corner_coordinates(torch.from_numpy(UV), torch.from_numpy(TRIANGLES), ids, barycentrics)
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.25, 0.25]))
    torch.testing.assert_close(found[0, 0, 1], torch.tensor([0.5, 0.75]))


def test_the_module_has_no_state_to_save(texture):
    assert not texture.state_dict()
    assert texture.maps.dtype == torch.int8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": np.zeros((2, 4, 4), np.float32)}, "int8"),
        ({"scales": np.ones(3, np.float32)}, "scales"),
        ({"weight_range": np.ones((2, 3), np.float32)}, "weight_range"),
        ({"weight_mean": np.ones((3, 3), np.float32)}, "weight_mean"),
    ],
)
def test_maps_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(texture_data(), **change)


def test_layouts_that_do_not_fit_the_mesh_are_refused():
    with pytest.raises(ValueError, match="same triangles"):
        AlbedoTexture(UV, TRIANGLES, TRIANGLES[:1], texture_data())
    with pytest.raises(ValueError, match="no texel"):
        layout_raster(UV - 5, TRIANGLES, (8, 8))
