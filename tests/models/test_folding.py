"""Folding batch normalisations changes speed, not numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.networks.folding import fold_batch_norms
from models.networks.reconstruction import create_reconstruction_net
from models.parameters import ParameterLayout
from options.network_options import ReconstructionNetOptions


def used(name: str) -> nn.Module:
    """A network whose statistics and heads are not those of the start."""
    options = ReconstructionNetOptions(net_recon=name)  # pyright: ignore[reportArgumentType]
    net = create_reconstruction_net(options, ParameterLayout.for_sizes())
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    for head in net.final_layers or ():
        nn.init.normal_(head.get_parameter("weight"), std=0.01)
    return net.to(memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "dlib"])
@torch.inference_mode()
def test_outputs_stay(name: str):
    net = used(name).double()
    images = torch.rand(2, 3, 224, 224, dtype=torch.float64)
    before = net(images)
    fold_batch_norms(net)
    # In double precision, so that a wrong formula cannot hide behind rounding.
    torch.testing.assert_close(net(images), before, rtol=1e-9, atol=1e-9)
    assert before.std() > 1e-3
    if name != "dlib":
        assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@torch.inference_mode()
def test_single_precision_stays_within_rounding():
    net = used("resnet18")
    images = torch.rand(2, 3, 224, 224)
    before = net(images)
    fold_batch_norms(net)
    torch.testing.assert_close(
        net(images), before, rtol=1e-4, atol=1e-5 * float(before.abs().max())
    )
    weight = net.get_parameter("backbone.layer1.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
