"""Batch normalisation over the batch of several processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
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


class _Normalise(torch.autograd.Function):
    """Batch normalisation with given statistics, which depend on the inputs of all processes.

    By torch's own kernels, which pass over the inputs once: written out in operations, each of
    which autograd follows, it took most of a training step. Its gradient by the inputs is

        w / s (dy - mean(dy) - xhat mean(dy xhat)),   s the deviation, xhat = (x - mean) / s

    with means over the inputs of all processes. The kernel takes them over those of this one; what
    that is off by is affine in x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        total: Tensor,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), total)
        ctx.eps, ctx.ranks = eps, ranks
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight, mean, inverse, total = ctx.saved_tensors
        here = x.numel() / x.shape[1]
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse, True, ctx.eps, [True, True, True]
        )
        all_weight, all_bias = ctx.ranks.sum(torch.cat([by_weight, by_bias])).chunk(2)
        scale = weight * inverse
        slope = scale * inverse * (by_weight / here - all_weight / total)
        offset = scale * (by_bias / here - all_bias / total) - slope * mean
        shape = [1, -1] + [1] * (x.dim() - 2)
        by_x = by_x.add_(offset.view(shape)).addcmul_(x, slope.view(shape))
        return by_x, by_weight, by_bias, None, None, None, None, None


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
        x = input if input.dtype == torch.float64 else input.float()
        mean, variance, total = self._statistics(x)
        self._follow(mean, variance, total)
        weight = torch.ones_like(mean) if self.weight is None else self.weight
        found = _Normalise.apply(x, weight, self.bias, mean, variance, total, self.eps, self.ranks)
        assert isinstance(found, Tensor)
        return found.to(input.dtype)

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance (C,) over all processes, and how many inputs a channel has there."""
        here = x.new_full((1,), x.numel() / x.shape[1])
        own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        # Two messages: in one, as E[x^2] - E[x]^2, float32 would lose the variance of channels
        # whose mean is large.
        sums = self.ranks.sum(torch.cat([here * own_mean, here]))
        total = sums[-1]
        mean = sums[:-1] / total
        spread = here * (own_variance + (own_mean - mean).square())
        return mean, self.ranks.sum(spread) / total, total

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
