"""The weights of the page /learn: train recipe `article` with weight decay, and write its network as 8-bit numbers.

In: MNIST. Out: service/page/learn/weights.bin: a line of JSON, then the weights of all layers, int8, neuron by neuron.
The JSON has the network's accuracy on MNIST's test digits before rounding, and for each layer its sizes, its biases,
and each neuron's scale, by which its whole numbers are multiplied. The first layer takes pixels from 0 to 1.

    python -m training learn-weights
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import numpy_helper
from rich.console import Console

from . import files
from .config import RECIPES, default_data_dir
from .train import train

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

HELP: Final = "train the network of the page /learn, and write its weights"
FILE: Final = Path(__file__).parents[1] / "service" / "page" / "learn" / "weights.bin"
MAX_WEIGHT: Final = 127  # as int8
# Weight decay shrinks weights that change nothing, so that a picture of them shows what a neuron looks for.
CONFIG: Final = dataclasses.replace(RECIPES["article"], weight_decay=3e-4)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: the recipe has all hyperparameters."""


def run(_: dict[str, Any]) -> None:
    """Train, and replace the page's weights. Raises `TrainingError`."""
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(CONFIG, data_dir=default_data_dir(), models_dir=Path(folder))
        version = train(config, Console())
        assert version is not None  # one process trains
        content = pack(version)
    files.replace(FILE, content)
    print(f"{FILE.name}: {len(content):,} bytes")


def pack(version: Path) -> bytes:
    """Return the weights of a version that has linear layers on all 784 pixels, in the page's format."""
    card = json.loads((version / "model.json").read_text())
    graph = onnx.load(version / "model.onnx").graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers: list[dict[str, Any]] = []
    rows: list[bytes] = []
    for node in graph.node:
        if node.op_type != "Gemm":
            continue
        weights, biases = (stored[name] for name in node.input[1:])
        scales, whole = _round(weights * (1 if layers else 255))
        outputs, inputs = whole.shape
        layers.append({"inputs": inputs, "outputs": outputs, "scales": _shorten(scales), "biases": _shorten(biases)})
        rows.append(whole.tobytes())
    facts = {"recipe": "article", "accuracy": card["metrics"]["test"]["accuracy"], "layers": layers}
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n" + b"".join(rows)


def _round(weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return a scale for each neuron, float32[outputs], and whole numbers int8[outputs,inputs]."""
    scales = np.abs(weights).max(axis=1) / MAX_WEIGHT
    return scales, np.rint(weights / scales[:, None]).astype(np.int8)


def _shorten(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
