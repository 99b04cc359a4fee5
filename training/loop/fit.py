"""The training loop: epochs of shuffled, augmented batches, forward and backward.

In: a network and digits on the same device, a `Config`, a `Checkpointer`. Out: the network, trained in place, and an
`Epoch` of facts after each epoch. The data is one tensor in memory, and a batch is an index into it. Where several
processes train together, each works on its part of every batch, and all make the same step.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import nn

from ..choices import LOSSES, OPTIMIZERS, SCHEDULES, cross_entropy
from ..data.augment import Augment
from ..data.digits import Digits
from ..errors import Diverged, UsageError
from ..evaluation.metrics import outputs
from . import distributed
from .checkpoint import Checkpoint, Position
from .distillation import distillation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from ..config import Config
    from ..network.classifier import Classifier
    from ..network.teacher import Teacher
    from .checkpoint import Checkpointer


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The facts of one epoch.

    `loss` and `gradient_norms` (of each layer's weights, first to last) are means over its steps, `learning_rate` is
    that of the step after it, and `seconds` counts from the start of the training, validation and teacher included.
    """

    epoch: int
    loss: float
    validation_nll: float
    validation_accuracy: float
    seconds: float
    learning_rate: float
    gradient_norms: list[float]


class Step(NamedTuple):
    """A step that the loop has made: number `step` of `steps` in its epoch, and the loss of its batch.

    To read the loss waits for the device, so a reader does it now and then, not at each step.
    """

    epoch: int
    step: int
    steps: int
    loss: Tensor


def fit(
    network: Classifier,
    train: Digits,
    validation: Digits,
    config: Config,
    checkpointer: Checkpointer,
    *,
    teacher: Teacher | None = None,
    seconds: float = 0.0,
    on_step: Callable[[Step], None] = lambda _: None,
) -> Iterator[Epoch]:
    """Train `network` in place; yields after each epoch, starting with the epoch of the last checkpoint, if any.

    It learns the answers of a `teacher`, where there is one, instead of the labels; `seconds` of training came before.
    It calls `on_step` after each step.

    The order and the augmentation of an epoch depend on the seed and the epoch's number alone, so a resumed run ends
    with the same bits as one that was never interrupted. Raises `Diverged`, `CheckpointError`, `Stopped`, and
    `UsageError` for a checkpoint of another program.
    """
    steps = max(1, len(train.labels) // config.batch_size)
    optimizer, schedule = make_optimizer(network, config, steps * config.epochs)
    augment = Augment(**{field.name: getattr(config, field.name) for field in dataclasses.fields(Augment)})
    device = train.images.device
    random, sums = torch.Generator(), torch.zeros(1 + len(network.layers), device=device)
    last = distributed.broadcast(checkpointer.load())
    position = last.position if last else Position(seconds=seconds)
    started = time.perf_counter() - position.seconds
    if last:
        _restore(last.tensors, network, optimizer)
    else:
        network.find_components(train.images)
    inputs_of = _make_inputs(network, train.images, augment, random)
    validation = Digits(network.see_all(validation.images), validation.labels)
    for epoch in range(position.epoch, config.epochs + 1):
        network.train()
        random.manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train.labels), generator=random).to(device)
        sums.zero_()
        first = 0
        if last:
            first = position.batch
            random.set_state(last.tensors["random"])
            sums.copy_(last.tensors["sums"])
            _advance(schedule, (epoch - 1) * steps + first)
            last = None
        for step in range(first, steps):
            batch = order[step * config.batch_size : (step + 1) * config.batch_size]
            part = distributed.part_of(len(batch))
            labels = train.labels[batch[part]]
            seen = inputs_of(batch, part)  # [B,inputs]
            loss = _loss(network, teacher, config, seen, labels) * (len(labels) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's backward has no annotations
            loss, stop = distributed.all_reduce(loss, network, checkpointer.stop_requested)
            sums += torch.stack([loss, *(_norm(layer.weight) for layer in network.layers)])
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            on_step(Step(epoch, step + 1, steps, loss))
            if stop:
                checkpointer.stop_requested = True  # all processes end at the same step
            if checkpointer.is_due(at_end=(epoch, step + 1) == (config.epochs, steps)):
                _require_finite(sums, epoch)
                here = Position(epoch, step + 1, time.perf_counter() - started)
                checkpointer.save(Checkpoint(here, _tensors(network, optimizer, random, sums)))
        _require_finite(sums, epoch)
        network.eval()
        nll, accuracy = _validate(network, validation)
        loss_mean, *norms = (sums / steps).tolist()
        rate = float(schedule.get_last_lr()[0])
        yield Epoch(epoch, loss_mean, nll, accuracy, time.perf_counter() - started, rate, norms)


def _loss(network: Classifier, teacher: Teacher | None, config: Config, seen: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of the network on what it sees [B,inputs]: against the teacher's answers, or labels int64[B]."""
    logits = network.classify(seen)  # [B,10]
    return distillation(teacher, seen, logits) if teacher else LOSSES[config.loss](logits, labels)


def _make_inputs(
    network: Classifier, images: Tensor, augment: Augment, random: torch.Generator
) -> Callable[[Tensor, slice], Tensor]:
    """Return what gives, for indices int64[M] of images and a part of these, what the first weights see of the part."""
    if not augment:  # then an image is the same in every epoch
        seen = network.see_all(images)
        return lambda batch, part: seen.index_select(0, batch[part])  # six times as fast as seen[…]
    prepared = network.prepare(images)
    return lambda batch, part: network.see(augment(prepared.index_select(0, batch), random, network.frame, part))


def _norm(weight: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(cast("Tensor", weight.grad))
    return norm


def _require_finite(sums: Tensor, epoch: int) -> None:
    if not torch.isfinite(sums[0]):
        raise Diverged(f"the loss is {sums[0].item()} in epoch {epoch}: a lower --learning-rate may help")


def _tensors(network: Classifier, optimizer: Optimizer, random: torch.Generator, sums: Tensor) -> dict[str, Tensor]:
    """Return all that the next step depends on besides the hyperparameters and the position."""
    moments = {
        f"optimizer.{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {**weights, **moments, "random": random.get_state(), "sums": sums}


def _restore(tensors: dict[str, Tensor], network: Classifier, optimizer: Optimizer) -> None:
    """Restore network and optimizer from `_tensors`. Raises `UsageError` for the tensors of another program."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _select("optimizer", tensors):
        _, number, name = key.split(".")
        state.setdefault(int(number), {})[name] = value
    try:
        network.load_state_dict({key.removeprefix("network."): value for key, value in _select("network", tensors)})
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the checkpoint's network does not fit this program's: {reason}") from error


def _select(part: str, tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(key, value) for key, value in tensors.items() if key.startswith(part + ".")]


def _advance(schedule: LRScheduler, steps: int) -> None:
    """Move the schedule to its state after so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the optimizer has made no step: an earlier process made them
        schedule.last_epoch = steps - 1
        schedule.step()


def make_optimizer(network: nn.Module, config: Config, steps: int) -> tuple[Optimizer, LRScheduler]:
    """Return the optimizer and the schedule that the configuration names."""
    choice, rate = OPTIMIZERS[config.optimizer], config.learning_rate
    optimizer = choice.make(network.parameters(), rate, config.weight_decay)
    return optimizer, SCHEDULES[config.schedule](optimizer, choice, rate, steps)


def learning_rates(config: Config) -> list[tuple[float, float]]:
    """Return the schedule as pairs of an epoch's number, from 0 on and with fractions, and the learning rate there."""
    points = min(200, max(50, config.epochs))  # the shape does not depend on the number of steps
    _, schedule = make_optimizer(nn.Linear(1, 1), config, points + 1)
    rates = []
    for point in range(points + 1):
        if point:
            _advance(schedule, point)
        rates.append((point / points * config.epochs, float(schedule.get_last_lr()[0])))
    return rates


def _validate(network: Classifier, digits: Digits) -> tuple[float, float]:
    """Return NLL and accuracy on digits as the first weights see them, without shifts and temperature."""
    logits = outputs(network.classify, digits.images)
    accuracy = (logits.argmax(dim=1) == digits.labels).float().mean().item()
    return cross_entropy(logits, digits.labels).item(), accuracy
