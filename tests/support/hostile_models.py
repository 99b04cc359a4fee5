"""Model versions made to hurt: small files that take much memory or time, or reach outside, under a card that vouches.

In: a folder. Out: one version in it. Each must be refused, at no cost to the service.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEBIBYTE = 2**20


def golden() -> bytes:
    """A batch as it should be."""
    file = io.BytesIO()
    np.savez(file, images=np.zeros((1, 1, 28, 28), np.uint8), probabilities=np.full((1, 10), 0.1, np.float32))
    return file.getvalue()


def publish(folder: Path, model: bytes, batch: bytes | None = None) -> None:
    """Write a version, whole at once, whose card has the checksums of its files."""
    batch = golden() if batch is None else batch
    card = {"schema": "mnist-mlp/1", "name": "mnist-mlp", "version": int(folder.name)}
    card |= {"sha256": hashlib.sha256(model).hexdigest(), "golden_sha256": hashlib.sha256(batch).hexdigest()}
    unfinished = folder.with_name(f".{folder.name}")
    unfinished.mkdir()
    (unfinished / "model.onnx").write_bytes(model)
    (unfinished / "golden.npz").write_bytes(batch)
    (unfinished / "model.json").write_text(json.dumps(card))
    unfinished.rename(folder)


def network(nodes: list[NodeProto], **constants: Any) -> bytes:
    """A model with the right signature, which adds a number called `much` to the same probabilities for all digits."""
    constants |= {"flat": np.array([-1, 784]), "weights": np.zeros((784, 10), np.float32)}
    whole = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat"], ["inputs"]),
        helper.make_node("MatMul", ["inputs", "weights"], ["outputs"]),
        helper.make_node("Softmax", ["outputs"], ["even"]),
        *nodes,
        helper.make_node("Add", ["even", "much"], ["probabilities"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 28, 28])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(whole, "hostile", [images], [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def of_zeros(side: int, *, rounds: int = 0) -> bytes:
    """A square matrix of zeros, multiplied by itself in each run, and summed up: small in the file."""
    constants = {"row": np.zeros((1, side), np.float32), "column": np.zeros((side, 1), np.float32)}
    nodes = [
        helper.make_node("Add", ["row", "column"], ["square"]),
        helper.make_node("ReduceSum", ["outputs"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["square", "nothing"], ["product0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"product{n}", "product0"], [f"product{n + 1}"]) for n in range(rounds)]
    nodes += [helper.make_node("ReduceSum", [f"product{rounds}"], ["much"], keepdims=0)]
    return network(nodes, **constants)


def of_fields(size: int) -> bytes:
    """Nothing but empty nodes."""
    nodes = b"\x0a\x00" * (size // 2)
    length = b"".join(bytes([len(nodes) >> shift & 127 | (128 if shift < 28 else 0)]) for shift in range(0, 35, 7))
    return b"\x3a" + length + nodes


def elsewhere() -> TensorProto:
    """A tensor whose numbers are in another file."""
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "elsewhere")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def sparse(values: TensorProto) -> SparseTensorProto:
    """A sparse tensor of one number."""
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0])), [1])


def sparse_elsewhere() -> bytes:
    """A constant that is sparse, with its numbers in another file."""
    node = helper.make_node("Constant", [], ["much"], sparse_value=sparse(elsewhere()))
    return network([node])


def archive(members: dict[str, bytes], **options: Any) -> bytes:
    """A zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **options) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def array(shape: str, kind: str = "|u1", content: bytes = b"") -> bytes:
    """An array's file, with a header that says so."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def deflated_bomb(unpacked: int) -> bytes:
    """An archive that says its array is small, and unpacks to much more."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(unpacked)) + packer.flush()
    content = archive({"images.npy": b"", "probabilities.npy": b""})
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        at, end = whole.infolist()[0].header_offset, whole.start_dir
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, len(packed), 784, 10, 0) + b"images.npy" + packed
    central = (
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, len(packed), 784, 10, 0, 0, 0, 0, 0, 0)
        + b"images.npy"
    )
    assert (at, end > 0) == (0, True)
    return local + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)


def layers(weights: dict[str, Any]) -> bytes:
    """A model that multiplies what would be its answer with these weights, and adds nothing to it."""
    nodes, last = [], "even"
    for name in weights:
        nodes.append(helper.make_node("MatMul", [last, name], [f"{name} done"]))
        last = f"{name} done"
    nodes.append(helper.make_node("Add", [last, "nothing"], ["much"]))
    return network(nodes, nothing=np.zeros(1, np.float32), **weights)


def harmless() -> bytes:
    """A model that is as it should be."""
    return network([], much=np.zeros(1, np.float32))


# By name: how it is made, and how its refusal ends.
MODELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a matrix of 1.6 GB from 160 KB": (lambda: of_zeros(20_000), "that it needs more"),
    "multiplications for a minute": (lambda: of_zeros(1500, rounds=600), "that it takes longer"),
    "32 MiB of empty nodes": (lambda: of_fields(31 * MEBIBYTE), "more than 100,000 fields"),
    "sparse numbers in another file": (sparse_elsewhere, "'external data'"),
}
BATCHES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a batch of 2**40 digits": (lambda: archive({"images.npy": array(f"({2**40}, 1, 28, 28)")}), "1, 28, 28)"),
    "a batch of nothing, 2**60 times": (lambda: archive({"images.npy": array(f"({2**60},)", "|S0")}), "46976,)"),
    "a batch of 900 MB in 900 KB": (lambda: deflated_bomb(900 * MEBIBYTE), "'images.npy'"),
    "a batch that says that it is large": (lambda: archive({"images.npy": bytes(900 * MEBIBYTE)}), "943,718,400 bytes"),
    "a batch of 9,000 members": (lambda: archive({f"{n:x}": b"" for n in range(9_000)}), "more than 16 members"),
    "a header 200 deep": (lambda: archive({"images.npy": array("(" * 9_000)}), ""),
}
