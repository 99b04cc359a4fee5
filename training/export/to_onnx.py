"""From a trained network to the one file that ships, and the proof that it says what PyTorch says.

In: a `Network`, and digits to prove it on. Out: the bytes of model.onnx, the same for the same weights; what ONNX
Runtime makes of them; the bytes of golden.npz. It knows nothing of folders or cards.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from ..errors import GateError
from ..evaluation.metrics import CHUNK, Metrics
from ..network.mlp import Network, fold

if TYPE_CHECKING:
    from ..data.mnist import Digits

OPSET: Final = 20  # the first in which GELU is one node
TOLERANCE: Final = 1e-5  # between two probabilities for the same pixels
GOLDEN_PER_CLASS: Final = 10  # with 3, 14 of 1,000 changed bytes of a model altered an answer unnoticed


@dataclass(frozen=True)
class Parity:
    """PyTorch against ONNX Runtime: on how many images, and how far apart two probabilities were at most."""

    images: int
    max_difference: float


def to_onnx(network: Network) -> bytes:
    """The folded network as one ONNX file: `images` uint8[N,1,28,28] to `probabilities` float32[N,10], N dynamic.

    The same weights give the same bytes, wherever and whenever: what the exporter notes of this machine is left out.
    """
    example = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells at length that torchvision is not installed
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
        program = torch.onnx.export(
            fold(network),
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    model = _anonymous(cast("torch.onnx.ONNXProgram", program).model_proto)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without stack traces, paths and other notes, and with attributes in a fixed order."""
    graph = model.graph
    graph.ClearField("value_info")
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for node in graph.node:
        node.attribute.sort(key=lambda attribute: attribute.name)
    return model


def run_onnx(model: bytes, images: Tensor) -> Tensor:
    """ONNX Runtime's probabilities float32[N,10] of images uint8[N,1,28,28]."""
    runner = session(model)
    chunks = [runner.run(None, {"images": chunk.numpy()})[0] for chunk in torch.split(images, CHUNK)]
    return torch.from_numpy(np.concatenate(chunks))


def session(model: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime with a model, on one thread of the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def prove(expected: Tensor, found: Tensor) -> Parity:
    """Compare PyTorch's and ONNX Runtime's probabilities float32[N,10] of the same images.

    Raises `GateError` if any differs by `TOLERANCE` or more, or if any image gets another digit.
    """
    difference = (expected - found).abs().max().item()
    changed = int((expected.argmax(dim=1) != found.argmax(dim=1)).sum())
    if changed or not difference < TOLERANCE:
        raise GateError(
            f"PyTorch and ONNX Runtime disagree: probabilities differ by up to {difference:.2g} "
            f"(the limit is {TOLERANCE:g}), and {changed} of {len(expected)} digits are read differently"
        )
    return Parity(len(expected), difference)


def require_accuracy(metrics: Metrics, minimum: float) -> None:
    """Raise `GateError` unless the accuracy is at least `minimum`."""
    if metrics.accuracy < minimum:
        raise GateError(f"not published: test accuracy {metrics.accuracy:.2%} is below --min-accuracy {minimum:.2%}")


def golden(digits: Digits, probabilities: Tensor) -> bytes:
    """An npz of the first digits of each class: `images` uint8[M,1,28,28], `labels` int64[M], and the `probabilities`
    float32[M,10] that PyTorch gave for them.
    """
    firsts = [torch.nonzero(digits.labels == label)[:GOLDEN_PER_CLASS, 0] for label in range(10)]
    chosen = torch.cat(firsts)
    images, labels = digits.take(chosen)
    file = io.BytesIO()
    np.savez_compressed(file, images=images.numpy(), labels=labels.numpy(), probabilities=probabilities[chosen].numpy())
    return file.getvalue()
