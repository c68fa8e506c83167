"""SynergyNet: sizes, the cycle layer by layer, quirks of the public code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.synergy.morphable import SynergyFace
from models.synergy.network import SYNERGY_BACKBONES, Refinement, Regressor, Reverse, SynergyNetwork
from models.synergy.parameters import SynergyLayout, SynergyMeaning, Whitening
from tests.ddfa_folder import make_ddfa_folder
from util.synergy.ddfa_files import read_morphable_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ddfa_folder(tmp_path_factory.mktemp("ddfa") / "data", count=8) / "3dmm_data"


def make(folder: Path, **settings) -> SynergyNetwork:
    found = read_morphable_folder(folder)
    return SynergyNetwork(SynergyFace(found.arrays), found.whitening, **settings)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_sizes():
    assert count(Regressor("mobilenet_v2", (12, 40, 10))) == 2_303_294
    assert count(Refinement(1280, 50)) == 1_556_617
    assert count(Reverse((12, 40, 10))) == 215_354


def layer(x: torch.Tensor, module: torch.nn.Module, last: bool = True) -> torch.Tensor:
    """A linear map for each point, normalised by the running statistics, written out."""
    state = {name: value.double() for name, value in module.state_dict().items()}
    x = torch.einsum("oi,bip->bop", state["conv.weight"][..., 0], x)
    x = x + state["conv.bias"][:, None]
    std = torch.sqrt(state["bn.running_var"] + 1e-5)
    x = (x - state["bn.running_mean"][:, None]) / std[:, None]
    x = x * state["bn.weight"][:, None] + state["bn.bias"][:, None]
    return functional.relu(x) if last else x


def stir(network: torch.nn.Module) -> None:
    """Give every number of the normalisations a value of its own."""
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if ".bn." in name and value.is_floating_point():
            value.data.uniform_(0.3, 1.2)
            if "bias" in name or "mean" in name:
                value.data.sub_(0.75)


@pytest.mark.parametrize("public", [False, True])
def test_the_cycle_layer_by_layer(folder: Path, public: bool):
    net = make(folder, public=public).double().eval()
    stir(net)
    images = torch.rand(3, 3, 120, 120, dtype=torch.float64)
    out = net(images)
    pooled, whitened = out.regression.pooled, out.regression.whitened
    coarse = net.face.landmarks(whitened * net.whitening_std + net.whitening_mean)
    torch.testing.assert_close(out.coarse, coarse)
    steps = list(net.refinement.layers)
    points = layer(layer(coarse, steps[0]), steps[1])
    x = points
    for step in steps[2:5]:
        x = layer(x, step)
    known = [x.amax(dim=2), pooled, whitened[:, 12:52], whitened[:, 52:]]
    x = torch.cat([points, *(k[:, :, None].repeat(1, 1, 68) for k in known)], dim=1)
    assert x.shape[1] == 2418
    for step in steps[5:8]:
        x = layer(x, step)
    refined = coarse + 0.05 * layer(x, steps[8], last=public)
    torch.testing.assert_close(out.refined, refined)
    x = refined
    for step in net.reverse.layers:
        x = layer(x, step)
    x = x.amax(dim=2, keepdim=True)
    expected = torch.cat([layer(x, head, last=public) for head in net.reverse.heads], dim=1)
    torch.testing.assert_close(out.reversed, expected[:, :, 0])
    assert out.refined is not None and out.reversed is not None
    moved = out.refined - out.coarse
    assert bool((moved >= 0).all()) == public and bool((out.reversed >= 0).all()) == public


def test_images_are_blue_first_from_minus_one_to_one(folder: Path):
    net = make(folder).eval()
    image = torch.rand(1, 3, 120, 120)
    red, green, blue = (image[0, c] * 255 for c in range(3))
    seen = torch.stack([(c - 127.5) / 128 for c in (blue, green, red)])[None]
    torch.testing.assert_close(net.regress(image).whitened, net.regressor(seen).whitened)


def test_predictions_are_unwhitened_and_unrefined(folder: Path):
    net = make(folder).eval()
    image = torch.rand(2, 3, 120, 120)
    whitened = net.regress(image).whitened
    torch.testing.assert_close(net.predict(image), net.whitening.unwhiten(whitened))
    torch.testing.assert_close(net.face.landmarks(net.predict(image)), net(image).coarse)


@pytest.mark.slow
@pytest.mark.parametrize("arch", SYNERGY_BACKBONES)
def test_every_backbone_closes_the_cycle(folder: Path, arch: str):
    net = make(folder, arch=arch)
    out = net(torch.rand(2, 3, 120, 120))
    assert out.reversed is not None and out.reversed.shape == (2, 62)
    out.reversed.sum().backward()
    first = next(net.regressor.backbone.parameters())
    assert first.grad is not None and torch.isfinite(first.grad).all()


def test_contradictions_are_refused(folder: Path):
    found = read_morphable_folder(folder)
    face = SynergyFace(found.arrays)
    with pytest.raises(ValueError, match="vgg is unknown; choose of mobilenet_v2"):
        SynergyNetwork(face, found.whitening, arch="vgg")
    with pytest.raises(ValueError, match="the whitening 3 numbers"):
        SynergyNetwork(face, Whitening(torch.zeros(3), torch.ones(3)))
    with pytest.raises(ValueError, match="the network has 7 pose"):
        meaning = SynergyMeaning(SynergyLayout(7, 40, 10))
        SynergyNetwork(face, Whitening(torch.zeros(57), torch.ones(57)), meaning)
