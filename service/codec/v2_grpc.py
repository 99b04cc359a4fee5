"""Requests and responses of the Open Inference Protocol, version 2, as messages of gRPC.

In: the bytes of a `ModelInferRequest`. Out: an `InferCall` with the model's name and version, and a `v2_json.Request`;
then, with the probabilities, a `ModelInferResponse`. A message becomes a document of the protocol's JSON form, so that
both are checked in one place and refused with the same sentences. Of a large message only the names are read here; a
reader parses the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from ..errors import Malformed
from ..quoting import quoted
from ..system.spool import SMALL
from . import inference_pb2 as pb
from . import protobuf_wire, v2_json
from .compression import decompress_head, decompress_message
from .v2_tensors import PIXELS, RANK, SHAPE, describe_output, pack_elements

if TYPE_CHECKING:
    from ..arrays import Probabilities

MAX_PARAMETERS = 16  # of an output
MODEL_NAME, MODEL_VERSION, IDENTITY, RAW_INPUT_CONTENTS = 1, 2, 3, 7  # field numbers in inference.proto


@dataclass
class InferCall:
    """An inference, as far as it is known before its tensors are read."""

    model_name: str
    model_version: str
    id: str
    data: bytes  # of the message; released when a reader has it
    message: pb.ModelInferRequest | None = None  # where it is small

    @property
    def names(self) -> dict[str, str | None]:
        """What a reader is told of the call."""
        return {"model_name": self.model_name, "model_version": self.model_version, "id": self.id}

    @property
    def pictures(self) -> bool:
        """Whether there may be pictures to decode."""
        message = self.message
        return message is None or (len(message.inputs) == 1 and message.inputs[0].datatype == "BYTES")

    def parse(self, max_images: int) -> v2_json.Request | None:
        """Parse the request; None where a reader has to. Raises `Malformed`."""
        if self.message is None:
            return None
        return _read_message(self.message, list(self.message.raw_input_contents), max_images)


def read_call(data: bytes) -> InferCall:
    """Read the names in a message, and parse it if it is small; raises `Malformed`."""
    plain, complete = decompress_head(data, SMALL)
    if not complete or len(plain) > SMALL:
        name, version, identity = protobuf_wire.read_texts(plain, MODEL_NAME, MODEL_VERSION, IDENTITY, cut=not complete)
        v2_json.check_id(identity)
        return InferCall(name, version, identity, data)
    message = parse_message(pb.ModelInferRequest, plain)
    v2_json.check_id(message.id)
    return InferCall(message.model_name, message.model_version, message.id, plain, message)


def parse_message(kind: Any, data: bytes) -> Any:
    """Parse a message of this type; raises `Malformed`."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Malformed(f"the {len(data):,} bytes are no message of the type {kind.DESCRIPTOR.full_name}.") from None


def parse_bytes(data: bytes, names: list[str], *, max_images: int, max_bytes: int) -> v2_json.Request:
    """Parse the bytes of a `ModelInferRequest` of any size, compressed or not, with these names.

    Raises `Malformed`, also where the names differ: those of a compressed message were read from its beginning. Raises
    `TooLarge` where it decompresses to more than `max_bytes`.
    """
    plain = decompress_message(data, max_bytes)
    protobuf_wire.check_inference(plain, max_images)
    if protobuf_wire.read_texts(plain, MODEL_NAME, MODEL_VERSION, IDENTITY) != names:
        raise Malformed(f"the model's name, its version and the id must be in the first {SMALL:,} bytes of a message.")
    message, raw = _split_raw(plain)
    return _read_message(parse_message(pb.ModelInferRequest, message), raw, max_images)


def _split_raw(data: bytes) -> tuple[bytes, list[bytes]]:
    """Split a message into its raw tensors and the rest: parsing would copy the tensors twice."""
    rest, raw = [], []
    end = 0
    for field in protobuf_wire.iterate_fields(data, 0, len(data)):
        if field.number == RAW_INPUT_CONTENTS and field.wire_type == protobuf_wire.BYTES:
            raw.append(data[field.start : field.end])
        else:
            rest.append(data[end : field.end])
        end = field.end
    return b"".join(rest), raw


def _read_message(message: pb.ModelInferRequest, raw: list[bytes], max_images: int) -> v2_json.Request:
    if raw and len(raw) != len(message.inputs):
        raise Malformed(f"raw_input_contents holds {len(raw)} tensors, and there are {len(message.inputs)} inputs.")
    _check_counts(message, max_images)
    contents: list[bytes | None] = [*raw] or [None]
    document = {
        "id": message.id or None,
        "inputs": [_describe_input(*pair) for pair in zip(message.inputs, contents, strict=True)],
        "outputs": [
            {"name": output.name, "parameters": {name: _value(found) for name, found in output.parameters.items()}}
            for output in message.outputs
        ],
    }
    return v2_json.read(document, b"".join(raw), max_images=max_images)


def _check_counts(message: pb.ModelInferRequest, max_images: int) -> None:
    """Raise `Malformed` for more parts than `max_images` pictures need."""
    if len(message.inputs) != 1:
        raise Malformed(f"inputs must be a list of the one input 'images'; found {len(message.inputs)}.")
    if len(message.outputs) > 1:
        raise Malformed("outputs must be a list of the one output 'probabilities', or be left out.")
    if any(len(output.parameters) > MAX_PARAMETERS for output in message.outputs):
        raise Malformed(f"an output has more than {MAX_PARAMETERS} parameters.", limit=MAX_PARAMETERS)
    (tensor,) = message.inputs
    if len(tensor.shape) > RANK:
        raise Malformed(f"shape has {len(tensor.shape):,} sides; expected {SHAPE}, or [N] for BYTES.")
    if len(tensor.contents.bytes_contents) > max_images:
        found = len(tensor.contents.bytes_contents)
        raise Malformed(f"{found:,} pictures were sent; the limit is {max_images} in one request.", limit=max_images)
    if len(tensor.contents.uint_contents) > max_images * PIXELS:
        found = len(tensor.contents.uint_contents)
        raise Malformed(f"input 'images' holds {found:,} numbers; the limit is {max_images} pictures.")


def _describe_input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> dict[str, Any]:
    described = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if raw is None:
        typed = tensor.contents.bytes_contents if tensor.datatype == "BYTES" else tensor.contents.uint_contents
        return described | {"data": list(typed)}
    if tensor.HasField("contents"):
        raise Malformed(f"input {quoted(tensor.name)!r} has both contents and raw_input_contents.")
    return described | {"parameters": {"binary_data_size": len(raw)}}


def _value(parameter: pb.InferParameter) -> object:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def encode(model: dict[str, str], request: v2_json.Request, probabilities: Probabilities) -> pb.ModelInferResponse:
    """Encode a response; the output's elements are raw bytes, even where the client sent typed contents."""
    output, elements = describe_output(probabilities, request.wanted.classes)
    return pb.ModelInferResponse(
        model_name=model["name"],
        model_version=model["version"],
        id=request.identity,
        outputs=[output],
        raw_output_contents=[pack_elements(elements)],
    )
