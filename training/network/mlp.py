"""The network: fixed layers, then linear layers with an activation between them.

In: images, uint8[N,1,28,28] (or float32 of the same shape and range: an augmented batch). Out: logits float32[N,10], or
probabilities.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..choices import ACTIVATIONS
from ..data.digits import CLASSES, WHOLE
from .batch_norm import BatchNorm
from .classifier import Classifier
from .deslant import DESLANTED, SHIFTS, Deslant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config import Config


class Network(Classifier):
    """A multilayer perceptron of any depth on raw pixels, or on so many principal `components` of them.

    Cast, deslant, scale and normalise are fixed layers, and so are temperature and softmax when it serves, so that the
    arithmetic is written once.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        activation: str,
        *,
        batch_norm: bool,
        deslant: bool,
        shifts: bool = False,
        components: int = 0,
        seed: int,
    ) -> None:
        super().__init__(deslant=deslant, components=components)
        self.geometry = Geometry(deslant=deslant, shifts=shifts)
        sizes = [components or math.prod(self.frame.shape), *hidden, CLASSES]
        # Batch norm subtracts the mean, so a bias before it has no effect.
        biased = [not batch_norm] * len(hidden) + [True]
        self.linears = nn.ModuleList(nn.Linear(i, o, bias=b) for (i, o), b in zip(pairwise(sizes), biased, strict=True))
        self.norms = nn.ModuleList(BatchNorm(size) if batch_norm else nn.Identity() for size in hidden)
        self.activation = ACTIVATIONS[activation].layer()
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        initialise(self, activation, torch.Generator().manual_seed(seed))

    @classmethod
    def of(cls, config: Config) -> Network:
        """Return a fresh network with the hyperparameters of a training job."""
        return cls(
            config.hidden,
            config.activation,
            batch_norm=config.batch_norm,
            deslant=config.deslant,
            shifts=config.shifts,
            components=config.components,
            seed=config.seed,
        )

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers, first to last."""
        return cast("list[nn.Linear]", list(self.linears))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N,10] of images [N,1,28,28] in 0..255."""
        logits: Tensor = self.geometry(images, self.logits)
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Return logits [N,10] of images [N,1,R,C] in 0..255, the `frame` of prepared ones."""
        return self.classify(self.see(images))

    def classify(self, signal: Tensor) -> Tensor:
        """Return logits [N,10] of what the first weights see, [N,inputs]."""
        *body, head = self.layers
        for layer, norm in zip(body, self.norms, strict=True):
            signal = self.activation(norm(layer(signal)))
        logits: Tensor = head(signal)
        return logits

    def probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities [N,10], whose rows sum to 1: softmax of the logits divided by the temperature."""
        return functional.softmax(self(images) / self.temperature, dim=1)


class Geometry(nn.Module):
    """The fixed layers around the others: deslant before them, and average the logits over shifts after them."""

    def __init__(self, *, deslant: bool, shifts: bool) -> None:
        super().__init__()
        self._deslant = Deslant(WHOLE if shifts else DESLANTED) if deslant else nn.Identity()
        self._shifts = shifts

    def forward(self, images: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """Return logits [N,10] of images [N,1,28,28]; `logits` gives them for a frame of the images, [N,1,R,C]."""
        deslanted = self._deslant(images)
        if not self._shifts:
            return logits(deslanted)
        views = torch.cat([DESLANTED.move(*by).crop(deslanted) for by in SHIFTS])  # [9·N,1,R,C]
        return logits(views).reshape(len(SHIFTS), -1, CLASSES).mean(dim=0)


def initialise(network: Network, activation: str, generator: torch.Generator) -> None:
    """Draw fresh weights in place, scaled for the activation; biases are 0."""
    *body, head = network.layers
    for layer in body:
        std = ACTIVATIONS[activation].weight_std(layer.in_features, layer.out_features)
        nn.init.normal_(layer.weight, std=std, generator=generator)
    nn.init.xavier_normal_(head.weight, generator=generator)
    for layer in network.layers:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
