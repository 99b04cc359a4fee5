"""Several processes that train together: the part and the device of this one, and the sums over all.

In: the environment that torchrun sets for each process (RANK, WORLD_SIZE, …); without it there is one process, and
nothing here costs anything. Out: this process's part of a batch; loss and gradients of the whole batch. Every process
holds the whole network and makes the same steps, so the results are those of one process, except for the order of sums.

Plain all-reduces instead of DistributedDataParallel: its mean over processes is wrong for parts of unequal size, its
wrapper renames the weights, and with one bucket of gradients it has nothing to overlap.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

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


def process_count() -> int:
    """Return how many processes train together."""
    return _number("WORLD_SIZE", 1)


def is_main() -> bool:
    """Whether this is the main process, which alone writes files and prints."""
    return _number("RANK", 0) == 0


def is_restarted() -> bool:
    """Whether torchrun has restarted the processes after one of them failed."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) > 0


def part_of(size: int) -> slice:
    """Return this process's part of a batch: all of it, where there is one process."""
    rank, processes = _number("RANK", 0), process_count()
    return slice(size * rank // processes, size * (rank + 1) // processes)


def choose_device(device: Device) -> torch.device:
    """Return the device of this process: a GPU of its own, or the CPU. Raises `UsageError` for too few GPUs."""
    gpus, needed = torch.cuda.device_count(), _number("LOCAL_WORLD_SIZE", 1)
    if device == "cuda" and gpus < needed:
        raise UsageError(f"--device cuda: PyTorch finds {gpus} GPUs on this machine, for {needed} processes")
    if device == "cpu" or gpus < needed:
        return torch.device("cpu")
    chosen = torch.device("cuda", _number("LOCAL_RANK", 0))
    torch.cuda.set_device(chosen)
    torch.set_float32_matmul_precision("high")  # TF32; bf16 gains nothing more on matrices of this size
    return chosen


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes of a run for the sums over them. Raises `Lost` where one of them has ended."""
    if process_count() == 1:
        yield
        return
    try:
        _join(device)
        yield
    except RuntimeError as error:  # gloo has no class of its own
        raise Lost(f"another process of the run has ended: {str(error).split('. ')[0]}") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(device: torch.device) -> None:
    store, rank, processes = next(rendezvous("env://"))
    if processes == _number("LOCAL_WORLD_SIZE", 1):
        # After a restart, torchrun's store still has the addresses of the old processes. (Machines count restarts
        # differently.)
        store = PrefixStore(f"start {_number('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend, mine = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, device_id=mine)


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the main process run the body alone, before the others, so that they find what it has fetched."""
    if not is_main():
        _wait()
    yield
    if is_main():
        _wait()


def broadcast(value: T) -> T:
    """Return the main process's value, in every process."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def all_reduce(loss: Tensor, network: nn.Module, flag: bool) -> tuple[Tensor, bool]:
    """Make each gradient the sum over the processes; returns the sum of the losses, and whether any flag is set.

    It is one all-reduce for all of them.
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


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))
