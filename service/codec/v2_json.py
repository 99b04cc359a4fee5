"""The Open Inference Protocol, version 2: requests' bytes → tensors, and probabilities → answers' bytes.

In: a body and its `Inference-Header-Content-Length`; or the document of one, which gRPC makes of its messages. Out: a
`Request`; then, with the probabilities, the body of the answer and its own header length. After the protocol's REST API
(github.com/kserve/open-inference-protocol), and Triton's extensions for binary tensor data and classification
(github.com/triton-inference-server/server, docs/protocol). It knows the model's two tensors, and neither routes nor the
model.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from ..errors import Malformed
from ..quoting import quoted
from . import base64_text, json_values

if TYPE_CHECKING:
    from ..arrays import Pixels, Probabilities

INPUT: Final = "images"
OUTPUT: Final = "probabilities"
PIXELS: Final = 784
CLASSES: Final = 10
SHAPE: Final = "[N,1,28,28]"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
RANK: Final = 4  # sides of a shape, and lists within lists
LONGEST_ID: Final = 1024  # bytes


@dataclass(frozen=True)
class Wanted:
    """How the client wants the output: as bytes after the JSON, or as its `classes` most probable digits."""

    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class Request:
    """One inference: pixels uint8[N,1,28,28], or N encoded pictures; and how the answer is to be."""

    identity: str | None
    pixels: Pixels | None
    pictures: list[bytes]
    wanted: Wanted


def parse(body: bytes, header_length: str | None, *, max_images: int) -> Request:
    """The request in a body; raises `Malformed`, which names what was found."""
    size = _header_length(header_length, len(body))
    if size == 0 and body:
        return _raw(body, max_images)
    text = body[:size]
    json_values.check(text, max_images)
    return read(_object(_json(text), "the request"), body[size:], max_images=max_images)


def read(document: dict[str, Any], binary: bytes, *, max_images: int) -> Request:
    """The request in a document of the protocol's JSON form, and the bytes that follow it; raises `Malformed`."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        found = len(inputs) if isinstance(inputs, list) else type(inputs).__name__
        raise Malformed(f"inputs must be a list of the one input {INPUT!r}; found {found}.")
    tensor = _object(inputs[0], "an input")
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise Malformed(f"id must be a string; found {type(identity).__name__}.")
    if identity is not None and len(identity.encode()) > LONGEST_ID:
        raise Malformed(f"id has more than {LONGEST_ID:,} bytes, which is the limit.", limit=LONGEST_ID)
    wanted = _wanted(document)
    if tensor.get("name") != INPUT:
        found = quoted(tensor.get("name"))
        raise Malformed(f"unexpected inference input {found!r}: the model's input is {INPUT!r}.")
    shape = _shape(tensor.get("shape"), max_images)
    content = _content(tensor, binary)
    if tensor.get("datatype") == "BYTES":
        return Request(identity, None, _pictures(shape, content), wanted)
    if tensor.get("datatype") != "UINT8":
        found = quoted(tensor.get("datatype"))
        raise Malformed(f"input {INPUT!r} has datatype {found}; expected UINT8 {SHAPE}, or BYTES [N].")
    if shape[1:] != [1, 28, 28]:
        raise Malformed(f"input {INPUT!r} has shape {shape}; expected {SHAPE}.")
    return Request(identity, _pixels(shape[0], content), [], wanted)


def _raw(body: bytes, max_images: int) -> Request:
    """The whole body as the one input, and the answer in binary (Triton's raw binary request)."""
    count, rest = divmod(len(body), PIXELS)
    if rest:
        raise Malformed(f"a raw body holds N·784 bytes, UINT8 {SHAPE}; {len(body):,} were sent.")
    _check_count(count, max_images)
    return Request(None, np.frombuffer(body, np.uint8).reshape(count, 1, 28, 28), [], Wanted(binary=True))


def _header_length(text: str | None, size: int) -> int:
    """How much of the body is JSON: all of it without the header."""
    if text is None:
        return size
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > size:
        raise Malformed(f"{HEADER_LENGTH} {quoted(text)!r} is no length within the body's {size:,} bytes.")
    return int(text)


def _json(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the request is not JSON: {error}.") from None


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} must be a JSON object; found {type(value).__name__}.")
    return value


def _parameters(part: dict[str, Any]) -> dict[str, Any]:
    parameters = part.get("parameters")
    return {} if parameters is None else _object(parameters, "parameters")


def _shape(shape: object, max_images: int) -> list[int]:
    if not isinstance(shape, list) or not shape:
        raise Malformed(f"shape must be a list of whole numbers of 1 or more; found {quoted(shape)}.")
    if len(shape) > RANK:
        raise Malformed(f"shape has {len(shape):,} sides; the limit is {RANK}.", limit=RANK)
    if not all(type(side) is int and side >= 1 for side in shape):
        raise Malformed(f"shape must be a list of whole numbers of 1 or more; found {quoted(shape)}.")
    _check_count(shape[0], max_images)
    return shape


def _check_count(count: int, max_images: int) -> None:
    if count > max_images:
        raise Malformed(f"{count} pictures were sent; the limit is {max_images} in one request.", limit=max_images)


def _content(tensor: dict[str, Any], binary: bytes) -> bytes | list[Any]:
    """A tensor's data: the bytes after the JSON, or a list."""
    size = _parameters(tensor).get("binary_data_size")
    data = tensor.get("data")
    if size is None:
        if not isinstance(data, list):
            raise Malformed(f"input {INPUT!r} must have data, or binary_data_size; found {type(data).__name__}.")
        if binary:
            raise Malformed(f"{len(binary):,} bytes follow the JSON, and no input has binary_data_size.")
        return data
    if data is not None:
        raise Malformed(f"input {INPUT!r} has both data and binary_data_size.")
    if type(size) is not int or size != len(binary):
        raise Malformed(f"binary_data_size is {quoted(size)}, and {len(binary):,} bytes follow the JSON.")
    return binary


def _pixels(count: int, content: bytes | list[Any]) -> Pixels:
    """uint8[count,1,28,28] of bytes, or of numbers, flat or nested."""
    numbers = content if isinstance(content, bytes) else _numbers(content, count * PIXELS)
    if len(numbers) != count * PIXELS:
        raise Malformed(f"input {INPUT!r} holds {len(numbers):,} numbers; its shape says {count * PIXELS:,}.")
    return np.frombuffer(numbers, np.uint8).reshape(count, 1, 28, 28)


def _numbers(data: list[Any], count: int) -> bytes:
    flat = data
    for _ in range(RANK):
        if not (flat and isinstance(flat[0], list)):
            break
        if not all(isinstance(row, list) for row in flat):
            raise Malformed(f"the data of input {INPUT!r} mixes numbers and lists.")
        flat = [number for row in flat for number in row]
    if len(flat) > count:
        raise Malformed(f"input {INPUT!r} holds {len(flat):,} numbers; its shape says {count:,}.")
    try:
        return bytes(flat)
    except (TypeError, ValueError):
        raise Malformed(f"the data of input {INPUT!r} must be whole numbers from 0 to 255 (UINT8).") from None


def _pictures(shape: list[int], content: bytes | list[Any]) -> list[bytes]:
    """PNG or JPEG files: as many as the shape says."""
    if any(side != 1 for side in shape[1:]):
        raise Malformed(f"input {INPUT!r} has shape {shape}; expected [N] for BYTES, one picture an element.")
    pictures = _elements(content, shape[0]) if isinstance(content, bytes) else _texts(content, shape[0])
    if len(pictures) != shape[0]:
        raise Malformed(f"input {INPUT!r} holds {len(pictures)} elements; its shape {shape} says {shape[0]}.")
    return pictures


def _more_elements(count: int) -> Malformed:
    return Malformed(f"input {INPUT!r} holds more elements than its shape says, which is {count}.")


def _elements(content: bytes, count: int) -> list[bytes]:
    """BYTES elements, each after its length in 4 bytes, little-endian; no more than `count` are looked at."""
    elements: list[bytes] = []
    at = 0
    while at < len(content):
        if len(elements) == count:
            raise _more_elements(count)
        if at + 4 > len(content):
            raise Malformed("a BYTES element breaks off in its length.")
        (size,) = struct.unpack_from("<I", content, at)
        at += 4 + size
        if at > len(content):
            raise Malformed(f"a BYTES element says that it has {size:,} bytes, and fewer are left.")
        elements.append(content[at - size : at])
    return elements


def _texts(data: list[Any], count: int) -> list[bytes]:
    """Base64, as JSON has no bytes; what is bytes already came in a message of gRPC."""
    if sum(len(row) if isinstance(row, list) else 1 for row in data[: count + 1]) > count:
        raise _more_elements(count)
    flat = [text for row in data for text in (row if isinstance(row, list) else [row])]
    try:
        return [text if isinstance(text, bytes) else base64_text.decoded(text) for text in flat]
    except (TypeError, ValueError):
        raise Malformed(f"BYTES elements of input {INPUT!r} in JSON must be pictures in base64.") from None


def _wanted(document: dict[str, Any]) -> Wanted:
    everywhere = _flag(_parameters(document).get("binary_data_output", False), "binary_data_output")
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return Wanted(binary=everywhere)
    if not isinstance(outputs, list) or len(outputs) != 1:
        raise Malformed(f"outputs must be a list of the one output {OUTPUT!r}, or be left out.")
    output = _object(outputs[0], "an output")
    if output.get("name") != OUTPUT:
        found = quoted(output.get("name"))
        raise Malformed(f"unexpected inference output {found!r}: the model's output is {OUTPUT!r}.")
    parameters = _parameters(output)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= CLASSES:
        raise Malformed(f"classification must be a number from 1 to {CLASSES}; found {quoted(classes)}.")
    return Wanted(_flag(parameters.get("binary_data", everywhere), "binary_data"), classes)


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Malformed(f"{name} must be true or false; found {quoted(value)}.")
    return value


def encode(model: dict[str, str], request: Request, probabilities: Probabilities) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where bytes follow it."""
    output, elements = described(request.wanted, probabilities)
    answer = {"model_name": model["name"], "model_version": model["version"], "outputs": [output]}
    if request.identity is not None:
        answer["id"] = request.identity
    if not request.wanted.binary:
        output["data"] = elements
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), None
    binary = packed(elements)
    output["parameters"] = {"binary_data_size": len(binary)}
    text = orjson.dumps(answer)
    return text + binary, len(text)


def described(wanted: Wanted, probabilities: Probabilities) -> tuple[dict[str, Any], list[str] | Probabilities]:
    """The output's name, datatype and shape; and its elements, in one row."""
    if wanted.classes:
        shape = [len(probabilities), wanted.classes]
        return {"name": OUTPUT, "datatype": "BYTES", "shape": shape}, _classes(probabilities, wanted.classes)
    return {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}, probabilities.ravel()


def packed(elements: list[str] | Probabilities) -> bytes:
    """A tensor's elements as bytes: FP32, or BYTES, each after its length."""
    if isinstance(elements, np.ndarray):
        return elements.tobytes()
    return b"".join(struct.pack("<I", len(text)) + text.encode() for text in elements)


def _classes(probabilities: Probabilities, count: int) -> list[str]:
    """ "value:index:label" of the `count` most probable digits of each row, best first."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    rows = zip(probabilities, best, strict=True)
    return [f"{row[digit]:f}:{digit}:{digit}" for row, digits in rows for digit in digits]
