"""The loop: epochs of shuffled batches, warped, through the network, and back.

In: a `Network` and digits on the same device, a `Config`, a `Keeper` of checkpoints. Out: the network, trained in
place, and an `Epoch` of facts after each epoch. The data is one tensor in memory, and a batch is an index into it;
where several processes train together, each works on its part of every batch, and all make the same step. It knows
nothing of files or screens.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import TYPE_CHECKING, cast

import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import OneCycleLR

from ..data.augment import Augment
from ..data.mnist import Digits
from ..errors import Diverged, UsageError
from ..evaluation.metrics import outputs
from ..network.deslant import WHOLE
from ..network.mlp import LOSSES, Network, cross_entropy
from . import distributed as ranks
from .checkpoint import Checkpoint, Position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.optim import Optimizer

    from ..config import Config
    from .checkpoint import Keeper


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The facts of one epoch.

    `loss` and `gradient_norms` (of each layer's weights, first to last) are means over its steps, `learning_rate` is
    that of the step after it, and `seconds` are those of the loop so far, validation included.
    """

    epoch: int
    loss: float
    validation_nll: float
    validation_accuracy: float
    seconds: float
    learning_rate: float
    gradient_norms: list[float]


def fit(network: Network, train: Digits, validation: Digits, config: Config, keeper: Keeper) -> Iterator[Epoch]:
    """Train `network` in place; yields after each epoch, from the one in which the keeper's last checkpoint lies.

    The order and the warps of an epoch follow from the seed and the epoch's number alone; so a run that goes on from a
    checkpoint ends with the same bits as one that was never interrupted. Raises `Diverged`, `CheckpointError`,
    `Stopped`, and `UsageError` for a checkpoint of another program.
    """
    steps = max(1, len(train.labels) // config.batch_size)
    optimizer, schedule = make_optimizer(network, config, steps * config.epochs)
    augment = Augment(**{field.name: getattr(config, field.name) for field in dataclasses.fields(Augment)})
    device = train.images.device
    random, sums = torch.Generator(), torch.zeros(1 + len(network.layers), device=device)
    last = ranks.from_first(keeper.last())
    position = last.position if last else Position()
    # The clock starts here: the first optimizer makes PyTorch import its compiler, and imports are no training.
    started = time.perf_counter() - position.seconds
    # Warps bring into the frame what lies beside it.
    images = network.prepared(train.images, WHOLE if augment else network.frame)
    validation = Digits(network.prepared(validation.images, network.frame), validation.labels)
    for epoch in range(position.epoch, config.epochs + 1):
        network.train()
        random.manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train.labels), generator=random).to(device)
        sums.zero_()
        first = 0
        if last:
            first = position.batch
            _restore(last.tensors, network, optimizer, random, sums)
            _forward(schedule, (epoch - 1) * steps + first)
            last = None
        for step in range(first, steps):
            batch = order[step * config.batch_size : (step + 1) * config.batch_size]
            mine = ranks.part(len(batch))
            labels = train.labels[batch[mine]]
            seen = augment(images[batch], random, network.frame, mine) if augment else images[batch[mine]]
            logits = network.logits(seen)
            loss = LOSSES[config.loss](logits, labels) * (len(labels) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's backward has no annotations
            loss, asked = ranks.sum_up(loss, network, keeper.asked)
            sums += torch.stack([loss, *(_norm(layer.weight) for layer in network.layers)])
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if asked:
                keeper.asked = True  # all processes end at the same step
            if keeper.due():
                _require_finite(sums, epoch)
                here = Position(epoch, step + 1, time.perf_counter() - started)
                keeper.keep(Checkpoint(here, _tensors(network, optimizer, random, sums)))
        _require_finite(sums, epoch)
        network.eval()
        nll, accuracy = _judge(network, validation)
        loss_mean, *norms = (sums / steps).tolist()
        rate = float(schedule.get_last_lr()[0])
        yield Epoch(epoch, loss_mean, nll, accuracy, time.perf_counter() - started, rate, norms)


def _norm(weight: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(cast("Tensor", weight.grad))
    return norm


def _require_finite(sums: Tensor, epoch: int) -> None:
    if not torch.isfinite(sums[0]):
        raise Diverged(f"the loss is {sums[0].item()} in epoch {epoch}: a lower --learning-rate may help")


def _tensors(network: Network, optimizer: Optimizer, random: torch.Generator, sums: Tensor) -> dict[str, Tensor]:
    """All that the next step depends on, but for what follows from the knobs and the position."""
    moments = {
        f"optimizer.{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {**weights, **moments, "random": random.get_state(), "sums": sums}


def _restore(
    tensors: dict[str, Tensor], network: Network, optimizer: Optimizer, random: torch.Generator, sums: Tensor
) -> None:
    """Undo `_tensors`. Raises `UsageError` for the tensors of another program."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _below("optimizer", tensors):
        _, number, name = key.split(".")
        state.setdefault(int(number), {})[name] = value
    try:
        network.load_state_dict({key.removeprefix("network."): value for key, value in _below("network", tensors)})
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        random.set_state(tensors["random"])
        sums.copy_(tensors["sums"])
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the checkpoint is of a network that this program does not make: {reason}") from error


def _below(part: str, tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(key, value) for key, value in tensors.items() if key.startswith(part + ".")]


def _forward(schedule: OneCycleLR, steps: int) -> None:
    """Put the schedule where it is after so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer's steps before this one were another process's
        schedule.last_epoch = steps - 1
        schedule.step()


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
    """NLL and accuracy on prepared digits, as they were trained on: without shifts and temperature."""
    logits = outputs(network.logits, digits.images)
    accuracy = (logits.argmax(dim=1) == digits.labels).float().mean().item()
    return cross_entropy(logits, digits.labels).item(), accuracy
