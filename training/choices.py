"""The choices that have a name on the command line: activations, losses, optimizers, schedules. One row each.

To add one, add a row: the flag, its help and the sweep read these tables. What else a new row has to satisfy:
  - an activation: its ONNX operators are among those that the service allows; `docs/tutorial/index.md` has its
    slope, which the tests compare with PyTorch's;
  - a loss: it is 0 only for the right probabilities (a proper score), because the softmax ships as the probability;
  - an optimizer: `checkpoint.safetensors` keeps the tensors of its state, and nothing else;
  - a schedule: the rate depends on the number of the step alone.
"""

from __future__ import annotations

import inspect
import math
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from .data.digits import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.optim.lr_scheduler import LRScheduler


def _he(gain: float) -> Callable[[int, int], float]:
    """Return the initial standard deviation of He et al. 2015: `gain` keeps a signal's variance through the layer."""
    return lambda inputs, _: gain / math.sqrt(inputs)


def _xavier(gain: float) -> Callable[[int, int], float]:
    """Return that of Glorot and Bengio 2010, which keeps the variance of signal and gradient about equally."""
    return lambda inputs, outputs: gain * math.sqrt(2 / (inputs + outputs))


class Activation(NamedTuple):
    """A layer, and the standard deviation of the weights before it from their number of inputs and outputs."""

    layer: type[nn.Module]
    weight_std: Callable[[int, int], float]


ACTIVATIONS: Final[dict[str, Activation]] = {
    "relu": Activation(nn.ReLU, _he(math.sqrt(2))),
    "leaky_relu": Activation(nn.LeakyReLU, _he(math.sqrt(2 / (1 + 0.01**2)))),
    "gelu": Activation(nn.GELU, _he(math.sqrt(2))),
    "tanh": Activation(nn.Tanh, _xavier(5 / 3)),
    "sigmoid": Activation(nn.Sigmoid, _xavier(4.0)),
}


@cache
def _target_rows(device: torch.device) -> Tensor:
    """Return the target probabilities of each label, float32[11,10]."""
    return torch.cat([torch.eye(CLASSES), torch.full((1, CLASSES), 1 / CLASSES)]).to(device)


def _targets(labels: Tensor) -> Tensor:
    """Return the target probabilities [N,10] of labels int64[N]: 1 for the digit, or uniform for `NOT_A_DIGIT`.

    Uniform targets for pictures without a digit are "outlier exposure" (Hendrycks, Mazeika and Dietterich 2019, arXiv
    1812.04606).
    """
    return _target_rows(labels.device)[labels]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats, of logits [N,10] against the targets of labels int64[N]."""
    return functional.cross_entropy(logits, _targets(labels))


def mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared distance between the softmax of logits [N,10] and the targets of labels int64[N].

    This is the Brier score (Brier 1950). It is proper, so the softmax is the probability here too, and the exported
    graph does not depend on the loss.
    """
    return (functional.softmax(logits, dim=1) - _targets(labels)).square().sum(dim=1).mean()


LOSSES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"cross_entropy": cross_entropy, "mse": mse}

# PyTorch wraps the methods of its optimizers: the first call of one imports the compiler, for 1.5 s, to say that it is
# not to compile the method. Nothing is compiled here, so they are unwrapped; `step` then needs `no_grad`.
for _name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
    setattr(optim.Optimizer, _name, inspect.unwrap(getattr(optim.Optimizer, _name)))
for _class in (optim.Adam, optim.SGD):  # AdamW's step is Adam's
    setattr(_class, "step", torch.no_grad()(inspect.unwrap(_class.step)))  # noqa: B010 - mypy: a method


class Optimizer(NamedTuple):
    """How to make it from parameters, learning rate and weight decay, and its default peak learning rate.

    All are fused: one pass over the weights a step. With `cycles_momentum`, the one-cycle schedule lowers the momentum
    while it raises the rate; left to itself it would give momentum to plain SGD too.
    """

    make: Callable[[Iterator[nn.Parameter], float, float], optim.Optimizer]
    learning_rate: float
    cycles_momentum: bool = True


OPTIMIZERS: Final[dict[str, Optimizer]] = {
    "sgd": Optimizer(lambda p, rate, decay: optim.SGD(p, rate, weight_decay=decay, fused=True), 0.5, False),
    "momentum": Optimizer(
        lambda p, rate, decay: optim.SGD(p, rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=True), 0.2
    ),
    # This rate was chosen on the validation digits; the other two only train well.
    "adamw": Optimizer(lambda p, rate, decay: optim.AdamW(p, rate, weight_decay=decay, fused=True), 8e-3),
}


def _one_cycle(optimizer: optim.Optimizer, choice: Optimizer, rate: float, steps: int) -> LRScheduler:
    """Return the schedule of Smith 2018: the rate rises to its peak, and falls to almost nothing."""
    return OneCycleLR(optimizer, rate, total_steps=steps, cycle_momentum=choice.cycles_momentum)


def _constant(optimizer: optim.Optimizer, *_: object) -> LRScheduler:
    """Return the same rate for every step, as textbooks begin."""
    return LambdaLR(optimizer, lambda _: 1.0)


# From an optimizer, its row above, the peak of the rate, and the number of steps.
SCHEDULES: Final[dict[str, Callable[[optim.Optimizer, Optimizer, float, int], LRScheduler]]] = {
    "one_cycle": _one_cycle,
    "constant": _constant,
}
