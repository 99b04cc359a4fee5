"""From a trained network to the one file that ships, and the check that ONNX Runtime and PyTorch agree.

In: a `Network`, probabilities, digits. Out: the bytes of model.onnx, the same for the same weights; the bytes of
golden.npz.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import torch
from torch import Tensor

from ..errors import GateError
from ..network.fold import fold

if TYPE_CHECKING:
    from ..data.digits import Digits
    from ..evaluation.metrics import Metrics
    from ..network.mlp import Network

OPSET: Final = 20  # the first in which GELU is one node
TOLERANCE: Final = 1e-5  # between two probabilities for the same pixels
GOLDEN_PER_CLASS: Final = (
    10  # with 3, 14 of 1,000 changed bytes of a model went unnoticed though they changed a prediction
)


@dataclass(frozen=True)
class Parity:
    """PyTorch against ONNX Runtime: the number of images, and the largest difference of a probability."""

    images: int
    max_difference: float


def to_onnx(network: Network) -> bytes:
    """Export the folded network as one ONNX file: `images` uint8[N,1,28,28] to `probabilities` float32[N,10], any N.

    The same weights give the same bytes on every machine, because the exporter's notes are left out.
    """
    example = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # This exporter records one run of the network, in 0.1 s. The default one imports PyTorch's compiler, and takes
        # 5 s for the same nodes.
        torch.onnx.export(
            fold(network),
            (example,),
            file,  # type: ignore[arg-type]  # this exporter writes to memory too
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_axes={"images": {0: "N"}, "probabilities": {0: "N"}},
        )
    model = compact(onnx.load_model_from_string(file.getvalue()))
    onnx.checker.check_model(model, full_check=True)
    return model


def compact(model: onnx.ModelProto) -> bytes:
    """Return the bytes of a model without notes, stack traces and paths, with short names and each constant once."""
    graph = model.graph
    graph.ClearField("value_info")
    for part in (model, graph, *graph.node, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    constants = [node for node in graph.node if node.op_type == "Constant"]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {node.output[0]: node.attribute[0].t for node in constants}
    for node in constants:
        graph.node.remove(node)
    names = {name: name for name in ("", *(value.name for value in (*graph.input, *graph.output)))}  # "": left out
    contents: dict[bytes, str] = {}
    for name, tensor in tensors.items():
        for field in ("name", "metadata_props", "doc_string"):
            tensor.ClearField(field)
        names[name] = contents.setdefault(tensor.SerializeToString(deterministic=True), f"c{len(contents)}")
    graph.ClearField("initializer")
    for content, name in contents.items():
        graph.initializer.add().MergeFromString(content)
        graph.initializer[-1].name = name
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
        for name in node.output:
            names.setdefault(name, f"v{len(names)}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.attribute.sort(key=lambda attribute: attribute.name)
    compacted: bytes = model.SerializeToString(deterministic=True)
    return compacted


def prove_parity(expected: Tensor, found: Tensor) -> Parity:
    """Compare PyTorch's and ONNX Runtime's probabilities float32[N,10] of the same images.

    Raises `GateError` if one differs by `TOLERANCE` or more, or if the digit of an image differs.
    """
    difference = (expected - found).abs().max().item()
    changed = int((expected.argmax(dim=1) != found.argmax(dim=1)).sum())
    if changed or not difference < TOLERANCE:
        raise GateError(
            f"PyTorch and ONNX Runtime disagree: probabilities differ by up to {difference:.2g} "
            f"(the limit is {TOLERANCE:g}), and {changed} of {len(expected)} digits are predicted differently"
        )
    return Parity(len(expected), difference)


def require_accuracy(metrics: Metrics, minimum: float) -> None:
    """Raise `GateError` unless the accuracy is at least `minimum`."""
    if metrics.accuracy < minimum:
        raise GateError(f"not published: test accuracy {metrics.accuracy:.2%} is below --min-accuracy {minimum:.2%}")


def make_golden(digits: Digits, probabilities: Tensor) -> bytes:
    """Return an npz of the first digits of each class: `images` uint8[M,1,28,28], `labels` int64[M], and PyTorch's
    `probabilities` float32[M,10] for them.
    """
    firsts = [torch.nonzero(digits.labels == label)[:GOLDEN_PER_CLASS, 0] for label in range(10)]
    chosen = torch.cat(firsts)
    images, labels = digits.take(chosen)
    file = io.BytesIO()
    np.savez_compressed(file, images=images.numpy(), labels=labels.numpy(), probabilities=probabilities[chosen].numpy())
    return file.getvalue()
