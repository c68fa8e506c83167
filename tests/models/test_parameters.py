"""The coefficient layout: golden slices of the published one, round trips, refusals."""

from __future__ import annotations

import pytest
import torch

from models.camera import Camera
from models.parameters import Coefficients, ParameterLayout
from models.renderer import Renderer
from models.stages import reconstruct

PUBLISHED = {
    "identity": slice(0, 80),
    "expression": slice(80, 144),
    "texture": slice(144, 224),
    "angles_rad": slice(224, 227),
    "gamma": slice(227, 254),
    "translation_dm": slice(254, 257),
}


def test_default_layout_is_the_published_one():
    layout = ParameterLayout.for_sizes()
    assert layout.size == 257
    assert layout.slices == PUBLISHED
    assert list(layout.slices) == list(PUBLISHED)


def test_split_names_the_published_numbers():
    flat = torch.arange(257.0).expand(2, -1)
    coefficients = ParameterLayout.for_sizes().split(flat)
    for name, part in PUBLISHED.items():
        assert torch.equal(getattr(coefficients, name), flat[:, part])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(80, 64, 80), (3, 2, 4), (1, 1, 1)])
def test_join_is_the_inverse_of_split(sizes: tuple[int, int, int], dtype: torch.dtype):
    layout = ParameterLayout.for_sizes(*sizes)
    flat = torch.randn(3, sum(sizes) + 33, dtype=dtype)
    assert torch.equal(layout.join(layout.split(flat)), flat)


def test_split_makes_views():
    layout = ParameterLayout.for_sizes(3, 2, 4)
    flat = torch.zeros(1, layout.size)
    layout.split(flat).gamma.fill_(1.0)
    assert flat.sum() == 27


@pytest.mark.parametrize("length", [256, 258, 0])
def test_another_length_is_refused_with_both_numbers(length: int):
    with pytest.raises(ValueError, match=rf"{length} numbers.*257"):
        ParameterLayout.for_sizes().split(torch.zeros(1, length))


def test_zeros_are_the_mean_face_of_each_item():
    coefficients = ParameterLayout.for_sizes(3, 2, 4).zeros(5)
    assert len(coefficients) == 5
    assert all(block.shape[0] == 5 and not block.any() for _, block in coefficients.items())


def test_item_keeps_a_batch_of_one():
    layout = ParameterLayout.for_sizes(3, 2, 4)
    flat = torch.randn(4, layout.size)
    one = layout.split(flat).item(2)
    assert len(one) == 1
    assert torch.equal(layout.join(one), flat[2:3])
    assert torch.equal(layout.join(layout.split(flat).item(3)), flat[3:4])


def test_to_casts_every_block():
    coefficients = ParameterLayout.for_sizes(3, 2, 4).zeros(1).to(torch.float64)
    assert {block.dtype for _, block in coefficients.items()} == {torch.float64}


def test_items_come_in_the_order_of_the_layout():
    names = [name for name, _ in ParameterLayout.for_sizes().zeros(1).items()]
    assert names == list(PUBLISHED)


def test_blocks_of_different_batch_sizes_are_refused():
    good = ParameterLayout.for_sizes(3, 2, 4).zeros(2)
    blocks = dict(good.items()) | {"gamma": torch.zeros(3, 27)}
    with pytest.raises(Exception, match="gamma"):
        Coefficients(**blocks)


def test_mirroring_twice_changes_nothing(open_face_model):
    flat = torch.randn(4, open_face_model.layout.size)
    mirrored = open_face_model.layout.mirror(flat)
    assert not torch.equal(mirrored, flat)
    torch.testing.assert_close(open_face_model.layout.mirror(mirrored), flat)


def test_mirrored_coefficients_give_the_flipped_picture(open_face_model):
    """Pose, light, shape and colour at once: rendered, and compared with the flipped rendering."""
    layout, camera = open_face_model.layout, Camera.rnet()
    flat = 0.7 * torch.randn(2, layout.size)
    flat[:, layout.slices["angles_rad"]] *= 0.4
    flat[:, layout.slices["gamma"]] *= 0.2
    flat[:, layout.slices["translation_dm"]] *= 0.1
    images = []
    for coefficients in (flat, layout.mirror(flat)):
        rendered = reconstruct(open_face_model, Renderer(), camera, layout.split(coefficients))
        assert rendered.rendering.image is not None
        images.append(rendered.rendering.image)
    difference = (images[0].flip(3) - images[1]).abs().amax(dim=1)
    # Pixels on an edge may fall to the other side's triangle.
    assert (difference > 0.02).float().mean() < 2e-3


def test_models_without_symmetry_cannot_be_mirrored():
    with pytest.raises(ValueError, match="identity basis has no mirror symmetry"):
        ParameterLayout.for_sizes().mirror(torch.zeros(1, 257))


def test_sigmas_come_with_the_blocks(tiny_face_model):
    blocks = {block.name: block for block in tiny_face_model.layout.blocks}
    assert blocks["identity"].sigma == pytest.approx(tiny_face_model.identity_sigma.tolist())
    assert blocks["angles_rad"].sigma is None
