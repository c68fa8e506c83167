"""Residual networks: torchvision's names and shapes, and the forward pass from the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.networks.resnet import ResNet, resnet18, resnet34, resnet50

# Names and shapes in torchvision's resnet50-0676ba61.pth.
RESNET50_SAMPLES = {
    "conv1.weight": (64, 3, 7, 7),
    "bn1.weight": (64,),
    "bn1.running_var": (64,),
    "bn1.num_batches_tracked": (),
    "layer1.0.conv1.weight": (64, 64, 1, 1),
    "layer1.0.conv3.weight": (256, 64, 1, 1),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer1.0.downsample.1.running_mean": (256,),
    "layer1.2.bn3.bias": (256,),
    "layer2.0.conv2.weight": (128, 128, 3, 3),
    "layer2.0.downsample.0.weight": (512, 256, 1, 1),
    "layer2.3.conv3.weight": (512, 128, 1, 1),
    "layer3.5.conv2.weight": (256, 256, 3, 3),
    "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    "layer4.2.conv1.weight": (512, 2048, 1, 1),
    "layer4.2.bn3.num_batches_tracked": (),
}


def test_resnet50_has_torchvisions_names_and_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in resnet50().state_dict().items()}
    assert len(shapes) == 318
    assert {name: shapes.get(name) for name in RESNET50_SAMPLES} == RESNET50_SAMPLES
    stages = [len({n.split(".")[1] for n in shapes if n.startswith(f"layer{s}.")}) for s in "1234"]
    assert stages == [3, 4, 6, 3]
    assert [name for name in shapes if "downsample.0" in name] == [
        f"layer{stage}.0.downsample.0.weight" for stage in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("create", "entries", "parameters", "features"),
    [
        # torchvision's totals less the classifier (512 or 2048 x 1000 + 1000).
        (resnet18, 120, 11_689_512 - 513_000, 512),
        (resnet34, 216, 21_797_672 - 513_000, 512),
        (resnet50, 318, 25_557_032 - 2_049_000, 2048),
    ],
)
def test_sizes_are_torchvisions(create, entries: int, parameters: int, features: int):
    network = create()
    assert len(network.state_dict()) == entries
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.feature_count == features
    network.eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, features, 1, 1)


def _norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / torch.sqrt(var + 1e-5)
    shift = state[f"{name}.bias"] - mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _forward_from_names(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """ResNet v1.5 written as formulas over torchvision's names."""
    x = functional.conv2d(x, state["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(torch.relu(_norm(x, state, "bn1")), 3, 2, 1)
    blocks = sorted({".".join(n.split(".")[:2]) for n in state if n.startswith("layer")})
    for block in blocks:
        stride = 2 if block.endswith(".0") and not block.startswith("layer1") else 1
        names = [c for c in ("conv1", "conv2", "conv3") if f"{block}.{c}.weight" in state]
        strided = "conv2" if len(names) == 3 else "conv1"
        y = x
        for name in names:
            weight = state[f"{block}.{name}.weight"]
            y = functional.conv2d(
                y,
                weight,
                stride=stride if name == strided else 1,
                padding=weight.shape[-1] // 2,
            )
            y = _norm(y, state, f"{block}.{name.replace('conv', 'bn')}")
            if name != names[-1]:
                y = torch.relu(y)
        if f"{block}.downsample.0.weight" in state:
            x = functional.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
            x = _norm(x, state, f"{block}.downsample.1")
        x = torch.relu(x + y)
    return x.mean(dim=(2, 3), keepdim=True)


@pytest.mark.parametrize("create", [resnet18, resnet50])
def test_forward_is_the_published_network(create):
    torch.manual_seed(0)
    network: ResNet = create().eval().double()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        features = network(images)
        expected = _forward_from_names(dict(network.state_dict()), images)
    assert expected.std() > 1e-3
    assert torch.allclose(features, expected, rtol=1e-10, atol=1e-12)


def test_last_linear_layer_starts_at_zero():
    network = resnet18(last_fc_outputs=257).eval()
    with torch.no_grad():
        output = network(torch.rand(2, 3, 64, 64))
    assert torch.equal(output, torch.zeros(2, 257))
    assert network.state_dict()["fc.weight"].shape == (257, 512)


def test_inputs_are_not_changed():
    images = torch.rand(1, 3, 64, 64)
    before = images.clone()
    resnet18().eval()(images)
    assert torch.equal(images, before)
