from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from service.model.operators import ALLOWED_OPS
from training.choices import ACTIVATIONS
from training.errors import GateError
from training.evaluation.metrics import evaluate, outputs
from training.evaluation.onnx_runtime import run_onnx
from training.export import to_onnx as export
from training.network.mlp import Network

if TYPE_CHECKING:
    from tests.support.training import Trained
    from training.data.mnist import Dataset

NODES = {"relu": "Relu", "leaky_relu": "LeakyRelu", "gelu": "Gelu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


@pytest.fixture(scope="session")
def model(trained: Trained) -> bytes:
    return export.to_onnx(trained.network)


def test_onnx_runtime_says_what_pytorch_says(trained: Trained, model: bytes, dataset: Dataset) -> None:
    """On all 10,000 test digits the probabilities differ by less than 1e-5, and no digit is read differently."""
    expected = outputs(trained.network.probabilities, dataset.test.images)
    parity = export.prove_parity(expected, run_onnx(model, dataset.test.images))
    assert parity.images == 10_000
    assert parity.max_difference < 1e-5


def test_the_door_is_uint8_pixels_and_probabilities(model: bytes) -> None:
    """The file takes uint8[N,1,28,28] as `images` and gives float32[N,10] as `probabilities`, for any N."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (images,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["N", 1, 28, 28])
    assert (probabilities.name, probabilities.type, probabilities.shape) == (
        "probabilities",
        "tensor(float)",
        ["N", 10],
    )
    for count in (1, 7):
        assert session.run(None, {"images": np.zeros((count, 1, 28, 28), np.uint8)})[0].shape == (count, 10)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_the_graph_has_no_node_too_many(activation: str, dataset: Dataset) -> None:
    """Whatever the activation, norms, scale and temperature are gone: one node a layer, one an activation."""
    network = Network((16, 8), activation, batch_norm=True, deslant=False, seed=0).eval()
    model = export.to_onnx(network)
    kinds = [node.op_type for node in onnx.load_model_from_string(model).graph.node]
    act = NODES[activation]
    assert kinds == ["Flatten", "Cast", "Gemm", act, "Gemm", act, "Gemm", "Softmax"]
    images = dataset.test.images[:100]
    export.prove_parity(outputs(network.probabilities, images), run_onnx(model, images))


def test_deslanting_ships_in_the_graph(dataset: Dataset) -> None:
    """ONNX Runtime makes raw digits stand as PyTorch does, in 34 nodes more, and blank pictures pass unharmed."""
    network = Network((16, 8), "relu", batch_norm=True, deslant=True, seed=0).eval()
    model = export.to_onnx(network)
    assert len(onnx.load_model_from_string(model).graph.node) == 8 + 34
    images = torch.cat([dataset.test.images, torch.zeros(1, 1, 28, 28, dtype=torch.uint8)])
    export.prove_parity(outputs(network.probabilities, images), run_onnx(model, images))


def test_answers_averaged_over_shifts_ship_in_the_graph(dataset: Dataset) -> None:
    """The mean over five places of a digit is in the file, and the service allows its operators."""
    network = Network((16, 8), "relu", batch_norm=True, deslant=True, shifts=True, seed=0).eval()
    model = export.to_onnx(network)
    assert {node.op_type for node in onnx.load_model_from_string(model).graph.node} <= ALLOWED_OPS
    images = dataset.test.images
    export.prove_parity(outputs(network.probabilities, images), run_onnx(model, images))


def test_the_same_weights_give_the_same_file_in_every_process() -> None:
    """Two processes with other hash seeds, in other folders, export a network to the same bytes."""
    program = (
        "import hashlib\n"
        "from training.export.to_onnx import to_onnx\n"
        "from training.network.mlp import Network\n"
        "network = Network((16, 8), 'relu', batch_norm=True, deslant=True, seed=0).eval()\n"
        "print(hashlib.sha256(to_onnx(network)).hexdigest())"
    )
    root = os.getcwd()  # noqa: PTH109
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder, seed in ((root, "1"), ("/", "2"))
    ]
    first, second = (run.communicate()[0] for run in runs)
    assert first == second
    assert len(first.strip()) == 64


def test_each_constant_is_in_the_file_once() -> None:
    """The graph has no node for a constant, and no two initializers with the same content."""
    network = Network((16, 8), "relu", batch_norm=True, deslant=True, shifts=True, seed=0).eval()
    graph = onnx.load_model_from_string(export.to_onnx(network)).graph
    contents = [(list(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()) for tensor in graph.initializer]
    assert "Constant" not in {node.op_type for node in graph.node}
    assert all(content not in contents[:place] for place, content in enumerate(contents))


def test_the_file_tells_nothing_of_the_machine(model: bytes) -> None:
    """No path, no stack trace and no note of the exporter is in the file, and nothing lies outside of it."""
    graph = onnx.load_model_from_string(model).graph
    for word in (os.getcwd().encode(), b".py", b"stack_trace", b"site-packages", b"/home", b"pkg."):  # noqa: PTH109
        assert word not in model
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.initializer)


def test_a_difference_of_probabilities_is_refused(trained: Trained, model: bytes, dataset: Dataset) -> None:
    """A graph of other weights, or one with a shifted probability, does not pass, and the limit is named."""
    images = dataset.test.images[:200]
    expected = outputs(trained.network.probabilities, images)
    other = Network((64, 32), "relu", batch_norm=True, deslant=True, seed=5).eval()
    with pytest.raises(GateError, match=r"the limit is 1e-05.*of 200 digits are predicted differently"):
        export.prove_parity(expected, run_onnx(export.to_onnx(other), images))
    shifted = run_onnx(model, images) + torch.tensor([2e-5] + [0.0] * 9)
    with pytest.raises(GateError, match="disagree"):
        export.prove_parity(expected, shifted)
    with pytest.raises(GateError, match="nan"):
        export.prove_parity(expected, expected * float("nan"))


def test_accuracy_below_the_gate_is_refused(trained: Trained) -> None:
    """An accuracy equal to the gate passes, a lower one is refused with both figures."""
    probabilities = outputs(trained.network.probabilities, trained.validation.images)
    metrics = replace(evaluate(probabilities, trained.validation.labels), accuracy=0.9)
    export.require_accuracy(metrics, 0.9)
    with pytest.raises(GateError, match=r"90\.00% is below --min-accuracy 91\.00%"):
        export.require_accuracy(metrics, 0.91)


def test_the_golden_batch_holds_digits_of_each_class(trained: Trained, dataset: Dataset) -> None:
    """golden.npz has ten digits of each class and PyTorch's probabilities for them, reads without pickle, repeats."""
    probabilities = outputs(trained.network.probabilities, dataset.test.images)
    content = export.make_golden(dataset.test, probabilities)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels, golden = (arrays[name] for name in ("images", "labels", "probabilities"))
    assert np.bincount(labels).tolist() == [10] * 10
    assert (images.dtype, images.shape) == (np.uint8, (100, 1, 28, 28))
    assert (labels.dtype, golden.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(golden, outputs(trained.network.probabilities, torch.from_numpy(images)), atol=1e-6)
    assert hashlib.sha256(export.make_golden(dataset.test, probabilities)).digest() == hashlib.sha256(content).digest()
