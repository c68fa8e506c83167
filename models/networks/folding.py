"""Fold batch normalisations into the convolutions before them, for inference.

In eval mode a batch normalisation is y = (x - mean) / sqrt(var + eps) * weight + bias with constant
mean and variance, so it can be multiplied into the convolution once and for all.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn


@torch.no_grad()
def fold_batch_norms(network: nn.Module) -> None:
    """Change a network in place: the outputs stay, up to rounding; it can no longer be trained.

    Folds each `BatchNorm2d` that a module defines right after a `Conv2d`; such pairs must be
    applied one after the other, as in all networks of this package.
    """
    for module in network.modules():
        children = list(module.named_children())
        for (_, convolution), (name, norm) in itertools.pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(convolution, norm)
                setattr(module, name, nn.Identity())


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    # In double precision, so that the only rounding is that of the new weights.
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = 0.0 if convolution.bias is None else convolution.bias.double()
    bias = (bias - norm.running_mean.double()) * factor + norm.bias.double()
    weight = convolution.weight.double() * factor[:, None, None, None]
    convolution.weight.copy_(weight)  # in place: keeps the memory format
    convolution.bias = nn.Parameter(bias.to(convolution.weight.dtype))
