"""Requests and responses of the Open Inference Protocol, version 2, in JSON.

In: a body and its `Inference-Header-Content-Length`, or a document that gRPC makes of its messages. Out: a `Request`;
then, with the probabilities, the body of the response and the length of its JSON. After the protocol's REST API
(github.com/kserve/open-inference-protocol), and Triton's extensions for binary tensor data and classification
(github.com/triton-inference-server/server, docs/protocol). It knows neither routes nor the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from ..errors import Malformed
from ..picture import formats
from ..quoting import quoted
from .json_text import parse_json
from .v2_tensors import (
    CLASSES,
    INPUT,
    OUTPUT,
    PIXELS,
    RANK,
    SHAPE,
    check_count,
    describe_output,
    pack_elements,
    read_pictures,
    read_pixels,
)

if TYPE_CHECKING:
    from ..arrays import Pixels, Probabilities

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
MAX_ID: Final = 1024  # bytes


@dataclass(frozen=True)
class OutputFormat:
    """How the client wants the output: as bytes after the JSON, or as its `classes` most probable digits."""

    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class Request:
    """One inference: pixels uint8[N,1,28,28], or N encoded pictures; and the format of the output."""

    identity: str | None
    pixels: Pixels | None
    pictures: list[bytes]
    wanted: OutputFormat
    blank: tuple[int, ...] = ()  # which of the pictures have no ink, ascending


def parse(body: bytes, header_length: str | None, *, max_images: int) -> Request:
    """Parse a body; raises `Malformed`, which quotes what was found, or `TooLarge` for too many values."""
    size = _json_length(header_length, len(body))
    if size == 0 and body:
        return _parse_raw(body, max_images)
    document = _require_object(parse_json(body[:size], max_images), "the request")
    return read(document, body[size:], max_images=max_images)


def read(document: dict[str, Any], binary: bytes, *, max_images: int) -> Request:
    """Read a document of the protocol's JSON form, and the bytes that follow it; raises `Malformed`."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        found = len(inputs) if isinstance(inputs, list) else type(inputs).__name__
        raise Malformed(f"inputs must be a list of the one input {INPUT!r}; found {found}.")
    tensor = _require_object(inputs[0], "an input")
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise Malformed(f"id must be a string; found {type(identity).__name__}.")
    if identity is not None:
        check_id(identity)
    wanted = _read_output_format(document)
    if tensor.get("name") != INPUT:
        found = quoted(tensor.get("name"))
        raise Malformed(f"unexpected inference input {found!r}: the model's input is {INPUT!r}.")
    shape = _read_shape(tensor.get("shape"), max_images)
    content = _read_content(tensor, binary)
    if tensor.get("datatype") == "BYTES":
        return Request(identity, None, read_pictures(shape, content), wanted)
    if tensor.get("datatype") != "UINT8":
        found = quoted(tensor.get("datatype"))
        raise Malformed(f"input {INPUT!r} has datatype {found}; expected UINT8 {SHAPE}, or BYTES [N].")
    if shape[1:] != [1, 28, 28]:
        raise Malformed(f"input {INPUT!r} has shape {shape}; expected {SHAPE}.")
    return Request(identity, read_pixels(shape[0], content), [], wanted)


def check_id(identity: str) -> None:
    """Raise `Malformed` for an id that is too long: it is returned as it is, never cut."""
    if len(identity.encode()) > MAX_ID:
        raise Malformed(f"id has more than {MAX_ID:,} bytes, which is the limit.", limit=MAX_ID)


def _parse_raw(body: bytes, max_images: int) -> Request:
    """Take the whole body as the one input; the response is binary (Triton's raw binary request)."""
    count, rest = divmod(len(body), PIXELS)
    if rest:
        raise Malformed(f"a raw body holds N·784 bytes, UINT8 {SHAPE}; {len(body):,} were sent.")
    if (error := formats.floats(body)) is not None:
        raise error
    check_count(count, max_images)
    return Request(None, read_pixels(count, body), [], OutputFormat(binary=True))


def _json_length(text: str | None, size: int) -> int:
    """The length of the body's JSON: all of its `size` bytes without the header."""
    if text is None:
        return size
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > size:
        raise Malformed(f"{HEADER_LENGTH} {quoted(text)!r} is no length within the body's {size:,} bytes.")
    return int(text)


def _require_object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{name} must be a JSON object; found {type(value).__name__}.")
    return value


def _parameters(part: dict[str, Any]) -> dict[str, Any]:
    parameters = part.get("parameters")
    return {} if parameters is None else _require_object(parameters, "parameters")


def _read_shape(shape: object, max_images: int) -> list[int]:
    if not isinstance(shape, list) or not shape:
        raise Malformed(f"shape must be a list of whole numbers of 1 or more; found {quoted(shape)}.")
    if len(shape) > RANK:
        raise Malformed(f"shape has {len(shape):,} sides; the limit is {RANK}.", limit=RANK)
    if not all(type(side) is int and side >= 1 for side in shape):
        raise Malformed(f"shape must be a list of whole numbers of 1 or more; found {quoted(shape)}.")
    check_count(shape[0], max_images)
    return shape


def _read_content(tensor: dict[str, Any], binary: bytes) -> bytes | list[Any]:
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


def _read_output_format(document: dict[str, Any]) -> OutputFormat:
    binary = _require_flag(_parameters(document).get("binary_data_output", False), "binary_data_output")
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return OutputFormat(binary=binary)
    if not isinstance(outputs, list) or len(outputs) != 1:
        raise Malformed(f"outputs must be a list of the one output {OUTPUT!r}, or be left out.")
    output = _require_object(outputs[0], "an output")
    if output.get("name") != OUTPUT:
        found = quoted(output.get("name"))
        raise Malformed(f"unexpected inference output {found!r}: the model's output is {OUTPUT!r}.")
    parameters = _parameters(output)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= CLASSES:
        raise Malformed(f"classification must be a number from 1 to {CLASSES}; found {quoted(classes)}.")
    return OutputFormat(_require_flag(parameters.get("binary_data", binary), "binary_data"), classes)


def _require_flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Malformed(f"{name} must be true or false; found {quoted(value)}.")
    return value


def encode(model: dict[str, str], request: Request, probabilities: Probabilities) -> tuple[bytes, int | None]:
    """Encode a response: its body, and the length of its JSON where bytes follow it."""
    output, elements = describe_output(probabilities, request.wanted.classes)
    response = {"model_name": model["name"], "model_version": model["version"], "outputs": [output]}
    if request.identity is not None:
        response["id"] = request.identity
    if not request.wanted.binary:
        output["data"] = elements
        return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY), None
    binary = pack_elements(elements)
    output["parameters"] = {"binary_data_size": len(binary)}
    text = orjson.dumps(response)
    return text + binary, len(text)
