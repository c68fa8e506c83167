"""MobileNets: sizes, names and forward pass of the published layers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.networks.ghostnet import GhostNet
from models.networks.mobilenet import MobileNetV1, MobileNetV2


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_version_2_has_torchvisions_names_and_size():
    """3.50 M with the classifier of 1000 classes: 1280 * 1000 + 1000 of them are its."""
    net = MobileNetV2()
    assert count(net) == 3_504_872 - 1_281_000
    names = net.state_dict()
    for name, shape in {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.running_var": (16,),
        "features.2.conv.0.1.bias": (96,),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.3.weight": (24,),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.18.0.weight": (1280, 320, 1, 1),
    }.items():
        assert tuple(names[name].shape) == shape


def version_2_by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        shape = (1, -1, 1, 1)
        x = (x - mean.view(shape)) / torch.sqrt(var + 1e-5).view(shape)
        return x * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)

    def relu6(x):
        return x.clamp(0, 6)

    def conv(x, name, **settings):
        return functional.conv2d(x, state[f"{name}.weight"], **settings)

    x = relu6(norm(conv(x, "features.0.0", stride=2, padding=1), "features.0.1"))
    strides = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    for block, stride in enumerate(strides, 1):
        before, name, k = x, f"features.{block}.conv", 0
        if block > 1:
            x, k = relu6(norm(conv(x, f"{name}.0.0"), f"{name}.0.1")), 1
        settings = {"stride": stride, "padding": 1, "groups": x.shape[1]}
        x = relu6(norm(conv(x, f"{name}.{k}.0", **settings), f"{name}.{k}.1"))
        x = norm(conv(x, f"{name}.{k + 1}"), f"{name}.{k + 2}")
        if before.shape == x.shape:
            x = x + before
    x = relu6(norm(conv(x, "features.18.0"), "features.18.1"))
    assert x.shape[2:] == (4, 4)  # of 120 pixels
    return x.mean(dim=(2, 3))


def test_version_2_is_the_published_network():
    net = MobileNetV2().double().eval()
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    x = torch.randn(2, 3, 120, 120, dtype=torch.float64)
    torch.testing.assert_close(net(x), version_2_by_hand(net.state_dict(), x))


@pytest.mark.parametrize(("width", "features"), [(0.25, 256), (0.5, 512), (1.0, 1024)])
def test_version_1_of_any_width(width: float, features: int):
    net = MobileNetV1(width).eval()
    assert net(torch.randn(2, 3, 120, 120)).shape == (2, features)
    assert net.feature_count == features


def test_version_1_has_the_papers_size():
    """4.2 M in the paper with the classifier of 1000 classes (table 6)."""
    assert count(MobileNetV1()) + 1024 * 1000 + 1000 == 4_231_976


def test_ghostnet_has_the_papers_size():
    """5.2 M in the paper with the classifier of 1000 classes (table 7)."""
    net = GhostNet().eval()
    assert round((count(net) + 1_281_000) / 1e6, 1) == 5.2
    assert net(torch.randn(2, 3, 120, 120)).shape == (2, 1280)
