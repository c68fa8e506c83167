"""ArcFace's networks: insightface's names, sizes, stride places and the forward pass."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.networks.iresnet import (
    IRESNET_DEPTHS,
    IBasicBlock,
    create_iresnet,
    iresnet_depth_from_keys,
)

# Names and shapes in insightface's backbone.pth (r50).
R50_SAMPLES = {
    "conv1.weight": (64, 3, 3, 3),
    "bn1.running_mean": (64,),
    "prelu.weight": (64,),
    "layer1.0.bn1.weight": (64,),
    "layer1.0.conv1.weight": (64, 64, 3, 3),
    "layer1.0.prelu.weight": (64,),
    "layer1.0.downsample.0.weight": (64, 64, 1, 1),
    "layer1.0.downsample.1.running_var": (64,),
    "layer2.0.bn1.weight": (64,),
    "layer2.0.conv1.weight": (128, 64, 3, 3),
    "layer2.0.conv2.weight": (128, 128, 3, 3),
    "layer3.13.bn3.bias": (256,),
    "layer4.2.conv2.weight": (512, 512, 3, 3),
    "bn2.weight": (512,),
    "fc.weight": (512, 25088),
    "fc.bias": (512,),
    "features.running_var": (512,),
}


# Parameters counted by the formulas of the layers, in millions.
@pytest.mark.parametrize(
    ("name", "millions"), [("r18", 24.03), ("r34", 34.14), ("r50", 43.59), ("r100", 65.16)]
)
def test_names_and_sizes(name: str, millions: float):
    with torch.device("meta"):
        network = create_iresnet(name)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)
    state = network.state_dict()
    assert iresnet_depth_from_keys(state) == name
    if name == "r50":
        shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
        assert {key: shapes.get(key) for key in R50_SAMPLES} == R50_SAMPLES
    assert not [key for key in state if "conv" in key and key.endswith("bias")]


def test_stride_sits_in_the_second_convolution_of_every_stage():
    network = create_iresnet("r18")
    strided = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.stride == (2, 2)
    ]
    assert strided == [
        f"layer{stage}.0.{place}" for stage in (1, 2, 3, 4) for place in ("conv2", "downsample.0")
    ]


def test_embedding_has_512_numbers():
    network = create_iresnet("r18").eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 112, 112)).shape == (2, 512)


def test_block_is_the_published_formula():
    block = IBasicBlock(4, 6, stride=2).eval().double()
    for tensor in block.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0)
    s = block.state_dict()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        shape = (1, -1, 1, 1)
        y = y - s[f"{name}.running_mean"].reshape(shape)
        y = y / torch.sqrt(s[f"{name}.running_var"].reshape(shape) + 1e-5)
        return y * s[f"{name}.weight"].reshape(shape) + s[f"{name}.bias"].reshape(shape)

    y = functional.conv2d(norm(x, "bn1"), s["conv1.weight"], padding=1)
    y = norm(y, "bn2")
    y = torch.where(y > 0, y, y * s["prelu.weight"].reshape(1, -1, 1, 1))
    y = norm(functional.conv2d(y, s["conv2.weight"], stride=2, padding=1), "bn3")
    shortcut = norm(functional.conv2d(x, s["downsample.0.weight"], stride=2), "downsample.1")
    assert torch.allclose(block(x), y + shortcut, rtol=1e-10)


def test_other_names_are_no_iresnet():
    with pytest.raises(ValueError, match="other names"):
        iresnet_depth_from_keys(["conv1.weight", "layer1.0.conv1.weight"])
    with pytest.raises(ValueError, match=r"r18, r34, r50, r100"):
        create_iresnet("r43")
    names = create_iresnet("r18").state_dict()
    with pytest.raises(ValueError, match=r"stages of \(2, 2, 2, 1\) blocks"):
        iresnet_depth_from_keys([name for name in names if not name.startswith("layer4.1.")])
    assert set(IRESNET_DEPTHS) == {"r18", "r34", "r50", "r100"}
