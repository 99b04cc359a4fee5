"""The loop: epochs of shuffled batches, warped, through the network, and back.

In: a `Network`, digits, a `Config`. Out: the network, trained in place, and an `Epoch` of facts after each epoch.
The data is one tensor in memory, and a batch is an index into it. It knows nothing of files or screens.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import OneCycleLR

from training.augment import Augment
from training.evaluate import outputs
from training.network import LOSSES, Network, cross_entropy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.optim import Optimizer

    from training.config import Config
    from training.data import Digits


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The facts of one epoch; `seconds` are those of the loop so far, validation included."""

    epoch: int
    loss: float
    validation_nll: float
    validation_accuracy: float
    seconds: float


def fit(network: Network, train: Digits, validation: Digits, config: Config) -> Iterator[Epoch]:
    """Train `network` in place; yields after each epoch.

    The order and the warps of an epoch follow from the seed and the epoch's number alone.
    """
    steps = max(1, len(train.labels) // config.batch_size)
    optimizer, schedule = make_optimizer(network, config, steps * config.epochs)
    augment = Augment(**{field.name: getattr(config, field.name) for field in dataclasses.fields(Augment)})
    # The clock starts here: the first optimizer makes PyTorch import its compiler, and imports are no training.
    started = time.perf_counter()
    for epoch in range(1, config.epochs + 1):
        network.train()
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        total = torch.zeros(())
        for batch in _batches(len(train.labels), config.batch_size, steps, random):
            loss = LOSSES[config.loss](network(augment(train.images[batch], random)), train.labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's backward has no annotations
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            total += loss.detach()
        network.eval()
        nll, accuracy = _judge(network, validation)
        yield Epoch(epoch, total.item() / steps, nll, accuracy, time.perf_counter() - started)


def make_optimizer(network: Network, config: Config, steps: int) -> tuple[Optimizer, OneCycleLR]:
    """The optimizer by its name, fused (one pass over the weights a step), and its one-cycle schedule (Smith 2018)."""
    parameters, rate, decay = network.parameters(), config.learning_rate, config.weight_decay
    optimizer: Optimizer
    if config.optimizer == "adamw":
        optimizer = AdamW(parameters, rate, weight_decay=decay, fused=True)
    elif config.optimizer == "momentum":
        optimizer = SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    else:
        optimizer = SGD(parameters, rate, weight_decay=decay, fused=True)
    # Left to itself, the schedule would give momentum to plain SGD as well.
    return optimizer, OneCycleLR(optimizer, rate, total_steps=steps, cycle_momentum=config.optimizer != "sgd")


def _judge(network: Network, digits: Digits) -> tuple[float, float]:
    """NLL and accuracy, without a temperature."""
    logits = outputs(network, digits.images)
    accuracy = (logits.argmax(dim=1) == digits.labels).float().mean().item()
    return cross_entropy(logits, digits.labels).item(), accuracy


def _batches(count: int, size: int, steps: int, random: torch.Generator) -> Iterator[Tensor]:
    """Indices int64[size], shuffled; the few digits that fill no batch wait for another epoch."""
    order = torch.randperm(count, generator=random)
    for step in range(steps):
        yield order[step * size : (step + 1) * size]
