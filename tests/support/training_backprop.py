"""Backpropagation from scratch: the chain rule written out in NumPy, to hold PyTorch's gradients against.

In: weights, images, labels, the names of activation and loss. Out: the loss and its gradient by every weight and bias.
It shares nothing with `training` but the mathematics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float64]
Layer = tuple[Array, Array]  # weight [outputs, inputs], bias [outputs]

_normal_cdf: Callable[[Array], Array] = np.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)


def _normal_density(x: Array) -> Array:
    density: Array = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return density


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# Each activation, and its derivative by what goes in.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(np.float64)),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)),
    "gelu": (lambda x: x * _normal_cdf(x), lambda x: _normal_cdf(x) + x * _normal_density(x)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (_logistic, lambda x: _logistic(x) * (1 - _logistic(x))),
}


def backprop(
    layers: list[Layer], images: NDArray[np.uint8], labels: NDArray[np.int64], activation: str, loss: str
) -> tuple[float, list[Layer]]:
    """The loss, and its gradients in the shape of `layers`, for images uint8[N,1,28,28] and labels int64[N]."""
    act, slope = ACTIVATIONS[activation]
    signal = (images.reshape(len(images), -1) / 255 - 0.1307) / 0.3081
    inputs, sums = [], []
    for weight, bias in layers:
        inputs.append(signal)
        sums.append(signal @ weight.T + bias)
        signal = act(sums[-1])
    value, delta = _loss(sums[-1], np.eye(10)[labels], loss)
    gradients: list[Layer] = []
    for index in reversed(range(len(layers))):
        gradients.insert(0, (delta.T @ inputs[index], delta.sum(axis=0)))
        if index:
            delta = (delta @ layers[index][0]) * slope(sums[index - 1])
    return value, gradients


def _loss(logits: Array, target: Array, loss: str) -> tuple[float, Array]:
    """The loss and its derivative by the logits, both means over the batch."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    if loss == "cross_entropy":
        return float(-np.log((softmax * target).sum(axis=1)).mean()), (softmax - target) / len(logits)
    outer = 2 * (softmax - target)  # then through the softmax's Jacobian, diag(s) - s sᵀ
    inner = softmax * (outer - (outer * softmax).sum(axis=1, keepdims=True))
    return float(((softmax - target) ** 2).sum(axis=1).mean()), inner / len(logits)
