"""Batch norm over a whole batch, also where several processes hold parts of it.

PyTorch's SyncBatchNorm is for GPUs only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """PyTorch's batch norm; within a process group its statistics are those of the whole batch."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's name
        """Accept maps too: PyTorch has a class for each number of axes."""

    def forward(self, signal: Tensor) -> Tensor:
        """Return the signal [N,features], or maps [N,features,R,C], normalised."""
        if not (self.training and dist.is_initialized()):
            normalised: Tensor = super().forward(signal)
            return normalised
        wide = signal.double()  # the variance is a difference of two large sums
        others = [axis + 1 for axis in range(wide.dim()) if axis != 1]
        sums = torch.stack([torch.ones_like(wide), wide, wide.square()]).sum(dim=others)  # [3, features]
        size, first, second = _AllReduce.apply(sums)  # type: ignore[no-untyped-call]  # of PyTorch
        mean = first / size
        variance = second / size - mean.square()
        self._update_statistics(mean.detach(), (variance * size / (size - 1)).detach())
        one_each = (-1, *(1 for _ in signal.shape[2:]))
        normalised = (wide - mean.reshape(one_each)) * torch.rsqrt(variance + self.eps).reshape(one_each)
        weight, bias = self.weight.reshape(one_each), self.bias.reshape(one_each)
        return torch.addcmul(bias, normalised.to(weight.dtype), weight).to(signal.dtype)

    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


class _AllReduce(torch.autograd.Function):
    """The sum over the processes. Every process's loss depends on it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return _all_reduce(tensor)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _all_reduce(gradient)


def _all_reduce(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
