"""The network: fixed layers, then linear layers, with activations and losses by name.

In: images, uint8[N,1,28,28] (or float32 of the same shape and range: a warped batch). Out: logits float32[N,10], or
probabilities. `fold` gives the same function with the fewest nodes, which is what ships. It knows nothing of data,
schedules or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import Activation, Loss

PIXELS: Final = 28 * 28
CLASSES: Final = 10
MEAN: Final = 0.1307  # of all training pixels, as a share of 255
STD: Final = 0.3081

ACTIVATIONS: Final[dict[Activation, type[nn.Module]]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

# Standard deviation of a weight, as gain / sqrt(inputs) for the He family and gain * sqrt(2 / (inputs + outputs)) for the
# Xavier family: the gain keeps the variance of a signal that passes through the activation.
_HE: Final[dict[str, float]] = {"relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + 0.01**2)), "gelu": math.sqrt(2)}
_XAVIER: Final[dict[str, float]] = {"tanh": 5 / 3, "sigmoid": 4.0}


class Network(nn.Module):
    """A multilayer perceptron of any depth on raw pixels.

    Cast, scale and normalise are fixed layers of it, and so are temperature and softmax when it serves: the arithmetic is
    written once. Weights start as He et al. 2015 (relu, leaky_relu, gelu) or Glorot and Bengio 2010 (tanh, sigmoid) say.
    """

    def __init__(self, hidden: Sequence[int], activation: Activation, *, batch_norm: bool, seed: int) -> None:
        super().__init__()
        sizes = [PIXELS, *hidden, CLASSES]
        # Batch norm subtracts the mean, so a bias before it could never matter.
        biased = [not batch_norm] * len(hidden) + [True]
        self.linears = nn.ModuleList(nn.Linear(i, o, bias=b) for (i, o), b in zip(pairwise(sizes), biased, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) if batch_norm else nn.Identity() for size in hidden)
        self.activation = ACTIVATIONS[activation]()
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        initialise(self, activation, torch.Generator().manual_seed(seed))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N,10] of images [N,1,28,28] in 0..255."""
        signal = images.reshape(-1, PIXELS).to(self.temperature.dtype)
        signal = (signal / 255 - MEAN) / STD
        for linear, norm in zip(self.linears, self.norms, strict=False):  # the last linear layer has no norm
            signal = self.activation(norm(linear(signal)))
        logits: Tensor = self.linears[-1](signal)
        return logits

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities [N,10], each row summing to 1: softmax of the logits over the temperature."""
        return functional.softmax(self(images) / self.temperature, dim=1)


def initialise(network: Network, activation: Activation, generator: torch.Generator) -> None:
    """Draw fresh weights in place, fitted to the activation; biases are 0."""
    *body, head = network.linears
    for linear in body:
        outputs, inputs = linear.weight.shape
        he, xavier = _HE.get(activation), _XAVIER.get(activation)
        std = he / math.sqrt(inputs) if he else (xavier or 1) * math.sqrt(2 / (inputs + outputs))
        nn.init.normal_(linear.weight, std=std, generator=generator)
    nn.init.xavier_normal_(head.weight, generator=generator)
    for linear in network.linears:
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)


class Folded(nn.Module):
    """What ships: cast, then linear layers with everything fixed folded into them, then softmax.

    In: images uint8[N,1,28,28]. Out: probabilities float32[N,10].
    """

    def __init__(self, weights: Sequence[tuple[Tensor, Tensor]], activation: nn.Module) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(w.shape[1], w.shape[0]) for w, _ in weights)
        self.activation = activation
        for linear, (weight, bias) in zip(self.linears, weights, strict=True):
            linear.weight.data.copy_(weight)
            linear.bias.data.copy_(bias)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [N,10] of images [N,1,28,28]."""
        signal = images.reshape(-1, PIXELS).to(torch.float32)
        *body, head = self.linears
        for linear in body:
            signal = self.activation(linear(signal))
        return functional.softmax(head(signal), dim=1)


def fold(network: Network) -> Folded:
    """The same function with the fewest nodes: each batch norm (with the statistics it has learnt) goes into the linear
    layer before it, scale and normalise into the first, temperature into the last. Computed in float64.
    """
    weights = [_fold_norm(*layer) for layer in zip(network.linears, [*network.norms, nn.Identity()], strict=True)]
    weight, bias = weights[0]
    weights[0] = weight / (255 * STD), bias - weight.sum(dim=1) * MEAN / STD
    weight, bias = weights[-1]
    weights[-1] = weight / network.temperature, bias / network.temperature
    return Folded(weights, network.activation)


def _fold_norm(linear: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of one linear layer that does what the linear layer and the norm after it did."""
    assert isinstance(linear, nn.Linear)  # noqa: S101
    weight = linear.weight.detach().double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if linear.bias is None else linear.bias.detach().double()
    if not isinstance(norm, nn.BatchNorm1d):
        return weight, bias
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
    factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return weight * factor[:, None], (bias - norm.running_mean.double()) * factor + norm.bias.detach().double()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of labels int64[N] under softmax of logits [N,10]."""
    return functional.cross_entropy(logits, labels)


def mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of the squared distance between softmax of logits [N,10] and one-hot labels int64[N].

    This is the Brier score (Brier 1950), a proper score: the softmax is the probability here as well, so the exported
    graph is the same whichever loss trained it.
    """
    target = functional.one_hot(labels, CLASSES).to(logits.dtype)
    return (functional.softmax(logits, dim=1) - target).square().sum(dim=1).mean()


LOSSES: Final[dict[Loss, Callable[[Tensor, Tensor], Tensor]]] = {"cross_entropy": cross_entropy, "mse": mse}
