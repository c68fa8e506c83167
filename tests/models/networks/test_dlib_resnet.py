"""dlib's embedder as a module, against dlib itself."""

from __future__ import annotations

import dlib
import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image

from models.networks.dlib_resnet import AffineConv2d, DlibResNet, DlibTrunk, merge_affine
from util.model_files.dlib_file import installed_dlib_file, read_dlib_resnet


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    network = DlibResNet().eval()
    network.load_state_dict(read_dlib_resnet())
    return network


def _chips() -> list[np.ndarray]:
    """Pieces of a portrait, noise, and flat colours, all 150 x 150."""
    path = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    with Image.open(path) as image:
        photo = np.asarray(image.convert("RGB"))
    rng = np.random.default_rng(0)
    pieces = [photo[top : top + 150, left : left + 150] for top, left in ((40, 160), (100, 200))]
    shrunk = Image.fromarray(photo[:450, 30:480]).resize((150, 150))
    noise = rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)
    black, white = np.zeros_like(noise), np.full_like(noise, 255)
    return [np.ascontiguousarray(p) for p in (*pieces, np.asarray(shrunk), noise, black, white)]


def test_descriptors_are_dlibs_own(network: DlibResNet):
    reference = dlib.face_recognition_model_v1(str(installed_dlib_file()))  # type: ignore[attr-defined]
    chips = _chips()
    with torch.no_grad():
        batch = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255
        ours = network(batch).numpy()
    theirs = np.stack([np.array(reference.compute_face_descriptor(chip)) for chip in chips])
    assert np.abs(theirs).max() > 0.2
    difference = np.abs(ours - theirs).max(axis=1)
    assert difference[:4].max() < 1e-6
    # Flat colours give large sums that cancel, in dlib as here.
    assert difference[4:].max() < 2e-5
    assert np.linalg.norm(ours[0] - ours[3]) > 0.3


def test_size(network: DlibResNet):
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_614_592
    assert sum(isinstance(module, AffineConv2d) for module in network.modules()) == 29


@pytest.mark.parametrize(
    ("blocks", "shape"),
    [(3, (32, 35, 35)), (7, (64, 17, 17)), (10, (128, 8, 8)), (13, (256, 4, 4)), (14, (256, 2, 2))],
)
def test_map_sizes_of_the_trunk(blocks: int, shape: tuple[int, int, int]):
    trunk = DlibTrunk(blocks)
    with torch.no_grad():
        maps = trunk.maps(torch.rand(1, 3, 150, 150))
    assert maps[-1].shape == (1, *shape)
    assert [tensor.shape[1] for tensor in maps] == trunk.channels


def test_impossible_trunk_is_refused():
    with pytest.raises(ValueError, match="14 blocks, 15"):
        DlibTrunk(15)


def test_affine_convolution_is_a_convolution_and_then_an_affine_map():
    layer = AffineConv2d(3, 4, 3, stride=2, padding=1).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    plain = torch.nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)
    expected = plain * layer.scale[:, None, None] + layer.shift[:, None, None]
    assert torch.allclose(layer(x), expected, rtol=1e-12)


def test_merged_layers_compute_the_same(network: DlibResNet):
    state = torch.get_rng_state()
    merged = merge_affine(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert any(isinstance(module, AffineConv2d) for module in network.modules())
    layers = [type(module) for module in merged.modules()]
    assert AffineConv2d not in layers and layers.count(torch.nn.Conv2d) == 29
    chips = torch.rand(2, 3, 150, 150)
    with torch.no_grad():
        torch.testing.assert_close(merged(chips), network(chips))


def test_gradient_reaches_the_picture(network: DlibResNet):
    chips = torch.rand(1, 3, 150, 150, requires_grad=True)
    network(chips).square().sum().backward()
    assert chips.grad is not None
    assert torch.isfinite(chips.grad).all()
    assert (chips.grad.abs().sum(dim=1) > 0).float().mean() > 0.9
