"""The public code's R-Net as names, shapes and order, written down without our networks.

Its checkpoints are these names, and its optimiser knows parameters by their place in this order:
that of torchvision's resnet, whose blocks list convolutions and normalisations in turn and the
shortcut last, followed by seven 1x1 convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

HEADS = (80, 64, 80, 3, 27, 2, 1)
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}

Entry = tuple[str, tuple[int, ...]]


def public_entries(net_recon: str, use_last_fc: bool = False) -> Iterator[Entry]:
    """(name, shape) of every tensor of the state dict, in its order."""
    wide = 4 if net_recon == "resnet50" else 1
    yield "backbone.conv1.weight", (64, 3, 7, 7)
    yield from _norm("backbone.bn1", 64)
    channels = 64
    for stage, depth in enumerate(DEPTHS[net_recon]):
        width = 64 * 2**stage
        for block in range(depth):
            name = f"backbone.layer{stage + 1}.{block}"
            kernels = (1, 3, 1) if wide == 4 else (3, 3)
            inputs = channels
            for number, kernel in enumerate(kernels, start=1):
                outputs = width * wide if number == len(kernels) else width
                yield f"{name}.conv{number}.weight", (outputs, inputs, kernel, kernel)
                yield from _norm(f"{name}.bn{number}", outputs)
                inputs = outputs
            if block == 0 and (stage > 0 or channels != inputs):
                yield f"{name}.downsample.0.weight", (inputs, channels, 1, 1)
                yield from _norm(f"{name}.downsample.1", inputs)
            channels = inputs
    if use_last_fc:
        yield "backbone.fc.weight", (257, channels)
        yield "backbone.fc.bias", (257,)
        return
    for head, size in enumerate(HEADS):
        yield f"final_layers.{head}.weight", (size, channels, 1, 1)
        yield f"final_layers.{head}.bias", (size,)


def imagenet_entries(net_recon: str) -> Iterator[Entry]:
    """The same for torchvision's ImageNet files, such as resnet50-0676ba61.pth."""
    for name, shape in public_entries(net_recon, use_last_fc=True):
        classifier = name.startswith("backbone.fc.")
        yield name.removeprefix("backbone."), (1000, *shape[1:]) if classifier else shape


def _norm(name: str, channels: int) -> Iterator[Entry]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def random_state(entries: Iterator[Entry], seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict of sensible size: positive variances, weights that keep activations finite."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in entries:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan_in = max(1, int(torch.Size(shape[1:]).numel())) if len(shape) > 1 else 100
            state[name] = torch.randn(shape, generator=generator) / fan_in**0.5
    return state


class PublicNet(nn.Module):
    """Parameters and buffers under the public names, in the public order; computes nothing."""

    def __init__(self, net_recon: str, use_last_fc: bool = False) -> None:
        super().__init__()
        for name, tensor in random_state(public_entries(net_recon, use_last_fc)).items():
            *path, leaf = name.split(".")
            module: nn.Module = self
            for step in path:
                if step not in dict(module.named_children()):
                    module.add_module(step, nn.Module())
                module = module.get_submodule(step)
            if leaf in ("weight", "bias"):
                module.register_parameter(leaf, nn.Parameter(tensor))
            else:
                module.register_buffer(leaf, tensor)
