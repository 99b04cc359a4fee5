"""The network: fixed layers, then linear layers, with activations and losses by name.

In: images, uint8[N,1,28,28] (or float32 of the same shape and range: a warped batch). Out: logits float32[N,10], or
probabilities. `fold` gives the same function with the fewest nodes, which is what ships. It knows nothing of data,
schedules or files.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..loop.distributed import BatchNorm
from .deslant import SHIFTS, UPRIGHT, WHOLE, Frame, Upright

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config import Activation, Config, Loss

CLASSES: Final = 10
NONE: Final = 10  # the label of what is no digit
MEAN: Final = 0.1307  # of all training pixels, as a share of 255
STD: Final = 0.3081
CHUNK: Final = 512  # images at once: their floats fit the cache

ACTIVATIONS: Final[dict[Activation, type[nn.Module]]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

# The standard deviation of a weight is gain / sqrt(inputs) after He, gain * sqrt(2 / (inputs + outputs)) after Xavier:
# the gain keeps the variance of a signal that passes through the activation.
_HE: Final[dict[str, float]] = {"relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + 0.01**2)), "gelu": math.sqrt(2)}
_XAVIER: Final[dict[str, float]] = {"tanh": 5 / 3, "sigmoid": 4.0}


class Network(nn.Module):
    """A multilayer perceptron of any depth on raw pixels.

    Cast, deslant, scale and normalise are fixed layers of it, and so are temperature and softmax when it serves: the
    arithmetic is written once. `frame` is the part of the 28×28 pixels that its first weights see. Weights start as in
    He et al. 2015 (relu, leaky_relu, gelu) or Glorot and Bengio 2010 (tanh, sigmoid).
    """

    def __init__(
        self,
        hidden: Sequence[int],
        activation: Activation,
        *,
        batch_norm: bool,
        deslant: bool,
        shifts: bool = False,
        seed: int,
    ) -> None:
        super().__init__()
        self.frame = UPRIGHT if deslant else WHOLE
        self.geometry = Geometry(deslant=deslant, shifts=shifts)
        sizes = [math.prod(self.frame.shape), *hidden, CLASSES]
        # Batch norm subtracts the mean, so a bias before it could never matter.
        biased = [not batch_norm] * len(hidden) + [True]
        self.linears = nn.ModuleList(nn.Linear(i, o, bias=b) for (i, o), b in zip(pairwise(sizes), biased, strict=True))
        self.norms = nn.ModuleList(BatchNorm(size) if batch_norm else nn.Identity() for size in hidden)
        self.activation = ACTIVATIONS[activation]()
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        initialise(self, activation, torch.Generator().manual_seed(seed))

    @classmethod
    def of(cls, config: Config) -> Network:
        """The fresh network that a training job asks for."""
        return cls(
            config.hidden,
            config.activation,
            batch_norm=config.batch_norm,
            deslant=config.deslant,
            shifts=config.shifts,
            seed=config.seed,
        )

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers, first to last."""
        return cast("list[nn.Linear]", list(self.linears))

    def prepared(self, images: Tensor, part: Frame) -> Tensor:
        """A part of images uint8[N,1,28,28] after the fixed geometry: what is done once, before many epochs."""
        if self.frame is WHOLE:
            return part.crop(images)
        upright = Upright(part).to(images.device)
        return torch.cat([upright(chunk).round().byte() for chunk in torch.split(images, CHUNK)])

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N,10] of images [N,1,28,28] in 0..255."""
        logits: Tensor = self.geometry(images, self.logits)
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N,10] of images [N,1,R,C] in 0..255, the `frame` of prepared ones."""
        *body, head = self.layers
        signal = images.flatten(1).to(self.temperature.dtype)
        signal = (signal / 255 - MEAN) / STD
        for layer, norm in zip(body, self.norms, strict=True):
            signal = self.activation(norm(layer(signal)))
        logits: Tensor = head(signal)
        return logits

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities [N,10], each row summing to 1: softmax of the logits over the temperature."""
        return functional.softmax(self(images) / self.temperature, dim=1)


class Geometry(nn.Module):
    """The fixed layers around the others: digits are made to stand before, answers to shifts of them averaged after."""

    def __init__(self, *, deslant: bool, shifts: bool) -> None:
        super().__init__()
        self._upright = Upright(WHOLE if shifts else UPRIGHT) if deslant else nn.Identity()
        self._shifts = shifts

    def forward(self, images: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """Logits [N,10] of images [N,1,28,28], from what gives them for a frame of them [N,1,R,C]."""
        upright = self._upright(images)
        if not self._shifts:
            return logits(upright)
        views = torch.cat([UPRIGHT.moved(*by).crop(upright) for by in SHIFTS])  # [9·N,1,R,C]
        return logits(views).reshape(len(SHIFTS), -1, CLASSES).mean(dim=0)


def initialise(network: Network, activation: Activation, generator: torch.Generator) -> None:
    """Draw fresh weights in place, fitted to the activation; biases are 0."""
    *body, head = network.layers
    for layer in body:
        nn.init.normal_(layer.weight, std=_std(layer, activation), generator=generator)
    nn.init.xavier_normal_(head.weight, generator=generator)
    for layer in network.layers:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _std(layer: nn.Linear, activation: Activation) -> float:
    if activation in _HE:
        return _HE[activation] / math.sqrt(layer.in_features)
    return _XAVIER[activation] * math.sqrt(2 / (layer.in_features + layer.out_features))


class Folded(nn.Module):
    """What ships: cast and deslant, then linear layers with everything else fixed folded into them, then softmax.

    In: images uint8[N,1,28,28]. Out: probabilities float32[N,10].
    """

    def __init__(self, geometry: Geometry, weights: Sequence[tuple[Tensor, Tensor]], activation: nn.Module) -> None:
        super().__init__()
        self.geometry = geometry
        steps = [step for weight, bias in weights for step in (_linear(weight, bias), activation)]
        self.steps = nn.Sequential(*steps[:-1])  # no activation after the last

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [N,10] of images [N,1,28,28]."""
        return functional.softmax(self.geometry(images, self._logits), dim=1)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.steps(images.flatten(1).to(torch.float32))
        return logits


def fold(network: Network) -> Folded:
    """The same function with the fewest nodes, computed in float64.

    Each batch norm, with the statistics it has learnt, goes into the linear layer before it; scale and normalise go
    into the first, temperature into the last.
    """
    norms = [*network.norms, nn.Identity()]
    weights = [_fold_norm(layer, norm) for layer, norm in zip(network.layers, norms, strict=True)]
    weight, bias = weights[0]
    weights[0] = weight / (255 * STD), bias - weight.sum(dim=1) * MEAN / STD
    weight, bias = weights[-1]
    weights[-1] = weight / network.temperature, bias / network.temperature
    return Folded(network.geometry, weights, network.activation).eval()


def _fold_norm(layer: nn.Linear, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, that do what the layer and the norm after it did."""
    weight = layer.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    if not isinstance(norm, nn.BatchNorm1d):
        return weight, bias
    learnt = {name: tensor.double() for name, tensor in norm.state_dict().items()}
    factor = learnt["weight"] / torch.sqrt(learnt["running_var"] + norm.eps)
    return weight * factor[:, None], (bias - learnt["running_mean"]) * factor + learnt["bias"]


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def targets(labels: Tensor) -> Tensor:
    """The probabilities [N,10] to be learnt for labels int64[N]: all on the digit, or evenly spread where it is `NONE`.

    Even probabilities for what is no digit are "outlier exposure" (Hendrycks, Mazeika and Dietterich 2019, arXiv
    1812.04606).
    """
    return _targets(labels.device)[labels]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of softmax of logits [N,10] against the `targets` of labels int64[N]."""
    return functional.cross_entropy(logits, targets(labels))


def mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance between softmax of logits [N,10] and the `targets` of labels int64[N], over the batch.

    This is the Brier score (Brier 1950), a proper score: the softmax is the probability here as well, so the exported
    graph is the same whichever loss trained it.
    """
    return (functional.softmax(logits, dim=1) - targets(labels)).square().sum(dim=1).mean()


@cache
def _targets(device: torch.device) -> Tensor:
    """The rows of each label, float32[11,10]."""
    return torch.cat([torch.eye(CLASSES), torch.full((1, CLASSES), 1 / CLASSES)]).to(device)


LOSSES: Final[dict[Loss, Callable[[Tensor, Tensor], Tensor]]] = {"cross_entropy": cross_entropy, "mse": mse}
