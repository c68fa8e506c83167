"""Batch normalisation over the batch of several processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from util.training.distributed import Ranks


def synchronise_batch_norms(network: nn.Module, ranks: Ranks) -> None:
    """Let every batch normalisation inside a network take the statistics of all processes.

    Parameters and buffers, and with them names in checkpoints, stay the same ones. On GPUs torch
    has this built in, on the CPU it does not.
    """
    for name, child in network.named_children():
        if not isinstance(child, _BatchNorm):
            synchronise_batch_norms(child, ranks)
        elif next(child.buffers()).is_cuda:
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            setattr(network, name, SharedBatchNorm.like(child, ranks))


class _SumOverRanks(torch.autograd.Function):
    """Sum over the processes; since each result depends on all inputs, so does the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        return ctx.ranks.sum(gradient), None


class SharedBatchNorm(_BatchNorm):
    """`nn.BatchNorm*d` whose training statistics are those of all processes' inputs together."""

    ranks: Ranks

    @classmethod
    def like(cls, module: _BatchNorm, ranks: Ranks) -> SharedBatchNorm:
        """Take over a module's parameters and buffers, the same tensors."""
        shared = cls(module.num_features, module.eps, module.momentum, module.affine)
        shared.track_running_stats = module.track_running_stats
        shared._parameters, shared._buffers = module._parameters, module._buffers
        shared.training = module.training
        shared.ranks = ranks
        return shared

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch normalisation takes (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...); in evaluation with the running statistics, as ever."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        x = input if input.dtype == torch.float64 else input.float()
        # Two messages: in one, as E[x^2] - E[x]^2, float32 would lose the variance of channels
        # whose mean is large.
        count = x.new_full((1,), x.numel() / x.shape[1])
        sums = _SumOverRanks.apply(torch.cat([x.sum(axes), count]), self.ranks)
        assert isinstance(sums, Tensor)
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = x - mean.view(shape)
        squares = _SumOverRanks.apply(centred.square().sum(axes), self.ranks)
        assert isinstance(squares, Tensor)
        variance = squares / total
        self._follow(mean.detach(), variance.detach(), total)
        x = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            x = x * self.weight.view(shape) + self.bias.view(shape)
        return x.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as torch's own modules do."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # a cumulative mean
            momentum = 1.0 / float(self.num_batches_tracked)
        unbiased = variance * count / (count - 1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(unbiased, momentum)
