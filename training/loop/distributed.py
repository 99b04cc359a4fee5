"""Which part of a run this process is, where it computes, and how the processes of a run add up what each has found.

In: the environment in which torchrun starts each process (RANK, WORLD_SIZE, …); alone, there is none, and nothing here
costs anything. Out: this process's part of a batch; loss, gradients and batch norm of the whole batch. Every process
holds the whole network and makes the same steps: the results are those of one process, but for the order of sums. It
knows nothing of files or screens.

Plain all-reduces and no DistributedDataParallel: its mean over processes is wrong for parts of unequal size, it takes
the network in a wrapper of other names, and with one bucket of gradients there is nothing to overlap. PyTorch's
SyncBatchNorm is for GPUs alone.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ..errors import Lost, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Device

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return _number("WORLD_SIZE", 1)


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return _number("RANK", 0) == 0


def is_restarted() -> bool:
    """Whether torchrun has started the processes anew, after one of them failed."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) > 0


def part(size: int) -> slice:
    """What of a batch this process works on: all of it, where it is alone."""
    rank, processes = _number("RANK", 0), count()
    return slice(size * rank // processes, size * (rank + 1) // processes)


def choose(device: Device) -> torch.device:
    """The device of this process: a GPU of its own, or the CPU. Raises `UsageError` where there are too few GPUs."""
    gpus, needed = torch.cuda.device_count(), _number("LOCAL_WORLD_SIZE", 1)
    if device == "cuda" and gpus < needed:
        raise UsageError(f"--device cuda: PyTorch finds {gpus} GPUs on this machine, for {needed} processes")
    if device == "cpu" or gpus < needed:
        return torch.device("cpu")
    chosen = torch.device("cuda", _number("LOCAL_RANK", 0))
    torch.cuda.set_device(chosen)
    torch.set_float32_matmul_precision("high")  # TF32; bf16 would gain nothing more on matrices of this size
    return chosen


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within it, the processes of a run can add up. Raises `Lost` where one of them has ended."""
    if count() == 1:
        yield
        return
    try:
        _join(device)
        yield
    except RuntimeError as error:  # gloo has no class of its own
        raise Lost(f"another process of the run is gone: {str(error).split('. ')[0]}") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(device: torch.device) -> None:
    store, rank, processes = next(rendezvous("env://"))
    if processes == _number("LOCAL_WORLD_SIZE", 1):
        # After a restart torchrun's store still has the addresses of the dead. (Machines count restarts differently.)
        store = PrefixStore(f"start {_number('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend, mine = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, device_id=mine)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process goes through alone, so that the others find what it has fetched."""
    if not is_first():
        _wait()
    yield
    if is_first():
        _wait()


def from_first(value: T) -> T:
    """The first process's value, in every process."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def sum_up(loss: Tensor, network: nn.Module, flag: bool) -> tuple[Tensor, bool]:
    """Make each gradient the sum over the processes; returns the loss summed as well, and whether any flag is up.

    One all-reduce for all of it.
    """
    if not dist.is_initialized():
        return loss.detach(), flag
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    facts = torch.stack([loss.detach(), loss.new_tensor(float(flag))])
    every = torch.cat([facts, *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(every)
    facts, *summed = torch.split(every, [2, *(gradient.numel() for gradient in gradients)])
    for gradient, values in zip(gradients, summed, strict=True):
        gradient.copy_(values.view_as(gradient))
    return facts[0], bool(facts[1])


class BatchNorm(nn.BatchNorm1d):
    """PyTorch's, over the whole batch where several processes have parts of it."""

    def forward(self, signal: Tensor) -> Tensor:
        """Signal float32[N,features], normalised."""
        if not (self.training and dist.is_initialized()):
            normalised: Tensor = super().forward(signal)
            return normalised
        wide = signal.double()  # a variance as the difference of two sums needs the digits
        sums = torch.stack([torch.ones_like(wide), wide, wide.square()]).sum(dim=1)  # [3, features]
        size, first, second = _Sum.apply(sums)  # type: ignore[no-untyped-call]  # of PyTorch
        mean = first / size
        variance = second / size - mean.square()
        self._learn(mean.detach(), (variance * size / (size - 1)).detach())
        normalised = (wide - mean) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias, normalised.to(signal.dtype), self.weight)

    def _learn(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each process's loss depends on it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))
