"""Versions whose graph gives other answers than the committed one."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from tests.support.service import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Graph = Any  # onnx.GraphProto


def publish_edited(models: Path, version: int, edit: Callable[[Graph], None]) -> None:
    """A version made of version 2: its probabilities are `edit`ed, and its golden digits are what it says itself."""
    folder = shutil.copytree(MODELS / "2", models / ".unfinished")
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        node.output[:] = ["before" if name == "probabilities" else name for name in node.output]
    edit(model.graph)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    (arrays["probabilities"],) = onnxruntime.InferenceSession(content).run(None, {"images": arrays["images"]})
    np.savez(folder / "golden.npz", **arrays)
    card = json.loads((folder / "model.json").read_text())
    card |= {"version": version, "sha256": hashlib.sha256(content).hexdigest()}
    card["golden_sha256"] = hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(card))
    folder.rename(models / str(version))


def constant(graph: Graph, name: str, array: np.ndarray) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(array, name))


def next_digit(graph: Graph) -> None:
    """Every digit is taken for the next one."""
    constant(graph, "parts", np.array([9, 1]))
    graph.node.append(helper.make_node("Split", ["before", "parts"], ["first", "last"], axis=1))
    graph.node.append(helper.make_node("Concat", ["last", "first"], ["probabilities"], axis=1))


def ink(graph: Graph, row: int, column: int) -> None:
    """The ink of one pixel, as float32[N,1]."""
    ends = {"from": [0, 0, row, column], "to": [0x7FFF, 1, row + 1, column + 1], "flat": [-1, 1]}
    for name, values in ends.items():
        constant(graph, name, np.array(values))
    graph.node.append(helper.make_node("Slice", ["images", "from", "to"], ["pixel"]))
    graph.node.append(helper.make_node("Reshape", ["pixel", "flat"], ["flattened"]))
    graph.node.append(helper.make_node("Cast", ["flattened"], ["ink"], to=onnx.TensorProto.FLOAT))


def raises(graph: Graph, row: int, column: int) -> None:
    """Ink there has it look for a digit that there is not, and fail."""
    ink(graph, row, column)
    constant(graph, "digits", np.arange(10)[None])
    graph.node.append(helper.make_node("Cast", ["ink"], ["further"], to=onnx.TensorProto.INT64))
    graph.node.append(helper.make_node("Add", ["digits", "further"], ["places"]))
    graph.node.append(helper.make_node("GatherElements", ["before", "places"], ["probabilities"], axis=1))


def not_finite(graph: Graph, row: int, column: int) -> None:
    """Ink of 255 there has it divide by 0."""
    ink(graph, row, column)
    constant(graph, "full", np.array([255.0], np.float32))
    graph.node.append(helper.make_node("Sub", ["full", "ink"], ["rest"]))
    graph.node.append(helper.make_node("Div", ["rest", "full"], ["share"]))
    graph.node.append(helper.make_node("Div", ["before", "share"], ["probabilities"]))


def slow(graph: Graph) -> None:
    """The same answers, after millions of multiplications with 0."""
    for name, shape in (("in", (10, 1500)), ("through", (1500, 1500)), ("out", (1500, 10))):
        constant(graph, name, np.zeros(shape, np.float32))
    graph.node.append(helper.make_node("MatMul", ["before", "in"], ["wide"]))
    graph.node.append(helper.make_node("MatMul", ["wide", "through"], ["still"]))
    graph.node.append(helper.make_node("MatMul", ["still", "out"], ["nothing"]))
    graph.node.append(helper.make_node("Add", ["before", "nothing"], ["probabilities"]))
