"""A model version, verified: a folder `<model_dir>/<n>/` in, the bytes to serve and their card out.

In: `model.onnx`, `model.json`, `golden.npz`. Out: an `Artefact`, or one `ModelError` that names the file, what was
expected and what was found. The checksum is taken over the very bytes that are then given to the runtime.
It knows the contract (models/README.md) and ONNX's wire format; it does not run the model.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from service import versions
from service.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from service.picture import Pixels

    Probabilities = NDArray[np.float32]

SCHEMA = "mnist-mlp/1"  # models/README.md tells what it holds
MAX_FILE_BYTES = 256 * 2**20
# What an exported MLP is made of, quantised or not. Anything else is not ours, and is refused before it runs.
ALLOWED_OPS = frozenset(
    "Add Cast Clip Concat Constant DequantizeLinear Div DynamicQuantizeLinear Erf Flatten Floor GatherElements Gelu "
    "Gemm LeakyRelu MatMul MatMulInteger Max Mul QGemm QLinearMatMul QuantizeLinear ReduceMean ReduceSum Relu Reshape "
    "Sigmoid Slice Softmax Split Squeeze Sub Tanh Unsqueeze".split()
)


@dataclass(frozen=True)
class Artefact:
    """A version whose files agree with each other."""

    name: str
    version: str
    sha256: str
    model: bytes
    card: dict[str, Any]
    golden_images: Pixels  # uint8[M,1,28,28]
    golden_probabilities: Probabilities  # float32[M,10]


def read(model_dir: Path, version: str = "latest") -> Artefact:
    """Reads and checks `model_dir/version`; `latest` is the highest number there. Raises `ModelError`."""
    folder = model_dir / (version if version != versions.LATEST else str(versions.numbers(model_dir)[0]))
    card = _card(folder)
    model = _hashed(folder / "model.onnx", card["sha256"])
    _check_ops(folder / "model.onnx", model)
    golden = _hashed(folder / "golden.npz", card["golden_sha256"])
    images, probabilities = _golden(folder / "golden.npz", golden)
    return Artefact(card["name"], str(card["version"]), card["sha256"], model, card, images, probabilities)


def _bytes(path: Path) -> bytes:
    """What a file holds: no link, which could lead elsewhere a moment later, no device and no pipe, without end."""
    try:
        with open(path, "rb", opener=_no_link) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ModelError(f"{path}: expected a regular file, found a pipe or a device")
            if about.st_size > MAX_FILE_BYTES:
                raise ModelError(f"{path}: expected at most {MAX_FILE_BYTES:,} bytes, found {about.st_size:,}")
            return file.read()
    except OSError as error:
        found = "a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise ModelError(f"{path}: expected a readable file, found {found}") from None


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would else wait for its writer


def _hashed(path: Path, expected: str) -> bytes:
    data = _bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ModelError(
            f"{path}: expected sha256 {expected} (model.json), found {found} over {len(data):,} bytes: "
            "the file is truncated or altered"
        )
    return data


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    try:
        card = orjson.loads(_bytes(path))
    except orjson.JSONDecodeError as error:
        raise ModelError(f"{path}: expected JSON, found {error}") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        found = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise ModelError(f"{path}: expected schema {SCHEMA!r}, found {found!r}")
    for key, kind in (("name", str), ("version", int), ("sha256", str), ("golden_sha256", str)):
        if not isinstance(card.get(key), kind):
            raise ModelError(f"{path}: expected {key} to be of type {kind.__name__}, found {card.get(key)!r}")
    if str(card["version"]) != folder.name:
        raise ModelError(f"{path}: expected version {folder.name} (its folder), found {card['version']}")
    return card


def _golden(path: Path, data: bytes) -> tuple[Pixels, Probabilities]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            images, probabilities = arrays["images"], arrays["probabilities"].astype(np.float32)
            count = len(images)
    except Exception as error:  # noqa: BLE001 - zipfile, zlib and NumPy raise a dozen unrelated classes
        found = " ".join(f"{type(error).__name__} {error}".split())
        raise ModelError(f"{path}: expected arrays images and probabilities, found {found}") from None
    if count == 0 or images.dtype != np.uint8 or images.shape != (count, 1, 28, 28):
        raise ModelError(f"{path}: expected images uint8[M,1,28,28], found {images.dtype}{list(images.shape)}")
    if probabilities.shape != (count, 10):
        raise ModelError(f"{path}: expected probabilities [{count},10], found {list(probabilities.shape)}")
    return images, probabilities


def _check_ops(path: Path, model: bytes) -> None:
    try:
        for op in _ops(memoryview(model), _MODEL):
            if op not in ALLOWED_OPS:
                raise ModelError(f"{path}: expected only operators of an MLP, found {op!r}")
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path}: expected an ONNX model, found {error}") from None


# Where operators and tensors can hide in a model: field number → message (onnx.proto, IR version 13). A text is what
# stands there in models that reach outside of plain operators; it is yielded like one, and so refused.
_TENSOR: dict[int, Any] = {13: "external data"}
_ATTRIBUTE: dict[int, Any] = {5: _TENSOR, 10: _TENSOR, 6: "subgraph", 11: "subgraph"}
_NODE: dict[int, Any] = {4: str, 5: _ATTRIBUTE, 7: "operator domain"}
_GRAPH: dict[int, Any] = {1: _NODE, 5: _TENSOR, 15: {1: _TENSOR, 2: _TENSOR}}
_MODEL: dict[int, Any] = {7: _GRAPH, 20: "training info", 25: "local function"}


def _ops(message: memoryview, schema: dict[int, Any]) -> Iterator[str]:
    """The operators below a protobuf message, depth first (protobuf.dev/programming-guides/encoding)."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, position = _varint(message, position)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        elif wire == 2:
            size, position = _varint(message, position)
            value, position = message[position : position + size], position + size
            match schema.get(number):
                case dict() as inner:
                    yield from _ops(value, inner)
                case str() as forbidden if size:
                    yield forbidden
                case type():
                    yield bytes(value).decode()
        else:
            raise ValueError(f"wire type {wire}")
    if position != len(message):
        raise ValueError("a message that ends early")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")
