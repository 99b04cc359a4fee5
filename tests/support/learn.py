"""The network of the page /learn, in NumPy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tests.support.service import ROOT

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = ROOT / "service" / "page" / "learn" / "weights.bin"


class Layer(NamedTuple):
    """Weights float64[outputs,inputs], and biases float64[outputs]."""

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]


class LearnNetwork(NamedTuple):
    """Both layers, and the accuracy on MNIST's test digits before rounding."""

    hidden: Layer
    output: Layer
    accuracy: float


def read_weights(content: bytes | None = None) -> LearnNetwork:
    """The network of a file's bytes; of the page's file by default."""
    head, _, rest = (FILE.read_bytes() if content is None else content).partition(b"\n")
    facts = json.loads(head)
    layers = []
    for layer in facts["layers"]:
        count = layer["inputs"] * layer["outputs"]
        whole = np.frombuffer(rest[:count], np.int8).reshape(layer["outputs"], layer["inputs"])
        layers.append(Layer(whole * np.array(layer["scales"])[:, None], np.array(layer["biases"])))
        rest = rest[count:]
    assert rest == b""
    hidden, output = layers
    return LearnNetwork(hidden, output, facts["accuracy"])


def forward(network: LearnNetwork, pixels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Activations [N,30] and probabilities [N,10] of pixels [N,784] from 0 to 1."""
    hidden = 1 / (1 + np.exp(-(pixels @ network.hidden.weights.T + network.hidden.biases)))
    powers = np.exp(hidden @ network.output.weights.T + network.output.biases)
    return hidden, powers / powers.sum(axis=1, keepdims=True)
