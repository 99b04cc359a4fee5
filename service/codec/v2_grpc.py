"""Messages of an inference → a request, and probabilities → the message that answers.

In: the bytes of a `ModelInferRequest`. Out: who is asked, and an `openinference.Request`; then, with the probabilities,
a `ModelInferResponse`. A message is put in the words of the protocol's JSON form, so that both are checked in one place
and refused in the same sentences. A large one is read in a reader, and who is asked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from ..errors import Malformed
from ..quoting import quoted
from ..system.spool import SMALL
from . import grpc_compression, protobuf_wire, v2_json
from . import inference_pb2 as pb

if TYPE_CHECKING:
    from ..arrays import Probabilities

MOST_PARAMETERS = 16  # of an output
MODEL_NAME, MODEL_VERSION, IDENTITY, RAW_INPUT_CONTENTS = 1, 2, 3, 7  # numbers of fields, in inference.proto


@dataclass
class Asked:
    """What an inference asks for, as far as it is known before its pictures are."""

    model_name: str
    model_version: str
    id: str
    data: bytes  # of the message; let go when a reader has it
    message: pb.ModelInferRequest | None = None  # where it is small

    @property
    def names(self) -> dict[str, str | None]:
        """What a reader is told."""
        return {"model_name": self.model_name, "model_version": self.model_version, "id": self.id}

    @property
    def pictures(self) -> bool:
        """Are there any to be decoded, as far as is known?"""
        message = self.message
        return message is None or (len(message.inputs) == 1 and message.inputs[0].datatype == "BYTES")

    def parse(self, max_images: int) -> v2_json.Request | None:
        """The request; None where a reader is to read it. Raises `Malformed`."""
        return None if self.message is None else parse(self.message, max_images=max_images)


def asked(data: bytes) -> Asked:
    """What is asked in a message; raises `Malformed`. Of a large one no more is read here than what is told of it."""
    plain, whole = grpc_compression.head(data, SMALL) if grpc_compression.is_packed(data) else (data, True)
    if not whole or len(plain) > SMALL:
        name, version, identity = protobuf_wire.texts(plain, MODEL_NAME, MODEL_VERSION, IDENTITY, cut=not whole)
        return Asked(name, version, _short(identity), data)
    message = unpacked(pb.ModelInferRequest, plain)
    return Asked(message.model_name, message.model_version, _short(message.id), plain, message)


def unpacked(kind: Any, data: bytes) -> Any:
    """The message of this type; raises `Malformed`."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Malformed(f"the {len(data):,} bytes are no message of the type {kind.DESCRIPTOR.full_name}.") from None


def parse_bytes(data: bytes, names: list[str], *, max_images: int, max_bytes: int) -> v2_json.Request:
    """The request in the bytes of a `ModelInferRequest`, of any size and compressed or not, which has these names.

    Raises `Malformed`, also where the names are others: those of a compressed message were looked for in its beginning.
    Raises `TooLarge` where it unpacks to more than `max_bytes`.
    """
    plain = grpc_compression.unpack(data, max_bytes)
    protobuf_wire.check_inference(plain, max_images)
    if protobuf_wire.texts(plain, MODEL_NAME, MODEL_VERSION, IDENTITY) != names:
        raise Malformed(f"the model's name, its version and the id must be in the first {SMALL:,} bytes of a message.")
    message, raw = _apart(plain)
    return _read(unpacked(pb.ModelInferRequest, message), raw, max_images)


def _apart(data: bytes) -> tuple[bytes, list[bytes]]:
    """A message without its raw tensors, and these: unpacking would copy them twice."""
    rest, raw = [], []
    end = 0
    for field in protobuf_wire.fields(data, 0, len(data)):
        if field.number == RAW_INPUT_CONTENTS and field.kind == protobuf_wire.BYTES:
            raw.append(data[field.start : field.end])
        else:
            rest.append(data[end : field.end])
        end = field.end
    return b"".join(rest), raw


def parse(message: pb.ModelInferRequest, *, max_images: int) -> v2_json.Request:
    """The request in a message; raises `Malformed`, which names what was found."""
    return _read(message, list(message.raw_input_contents), max_images)


def _read(message: pb.ModelInferRequest, raw: list[bytes], max_images: int) -> v2_json.Request:
    if raw and len(raw) != len(message.inputs):
        raise Malformed(f"raw_input_contents holds {len(raw)} tensors, and there are {len(message.inputs)} inputs.")
    _check_counts(message, max_images)
    contents: list[bytes | None] = [*raw] or [None]
    document = {
        "id": message.id or None,
        "inputs": [_input(*pair) for pair in zip(message.inputs, contents, strict=True)],
        "outputs": [
            {"name": output.name, "parameters": {name: _value(found) for name, found in output.parameters.items()}}
            for output in message.outputs
        ],
    }
    return v2_json.read(document, b"".join(raw), max_images=max_images)


def _check_counts(message: pb.ModelInferRequest, max_images: int) -> None:
    """Raises `Malformed` where there is more to look at than a good request has."""
    if len(message.inputs) != 1:
        raise Malformed(f"inputs must be a list of the one input 'images'; found {len(message.inputs)}.")
    if len(message.outputs) > 1:
        raise Malformed("outputs must be a list of the one output 'probabilities', or be left out.")
    if any(len(output.parameters) > MOST_PARAMETERS for output in message.outputs):
        raise Malformed(f"an output has more than {MOST_PARAMETERS} parameters.", limit=MOST_PARAMETERS)
    (tensor,) = message.inputs
    if len(tensor.shape) > len(v2_json.SHAPE.split(",")):
        raise Malformed(f"shape has {len(tensor.shape):,} sides; expected {v2_json.SHAPE}, or [N] for BYTES.")
    if len(tensor.contents.bytes_contents) > max_images:
        found = len(tensor.contents.bytes_contents)
        raise Malformed(f"{found:,} pictures were sent; the limit is {max_images} in one request.", limit=max_images)
    if len(tensor.contents.uint_contents) > max_images * v2_json.PIXELS:
        found = len(tensor.contents.uint_contents)
        raise Malformed(f"input 'images' holds {found:,} numbers; the limit is {max_images} pictures.")


def _short(identity: str) -> str:
    if len(identity.encode()) > v2_json.LONGEST_ID:
        limit = v2_json.LONGEST_ID
        raise Malformed(f"id has more than {limit:,} bytes, which is the limit.", limit=limit)
    return identity


def _input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> dict[str, Any]:
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
    """The message that answers: the output's elements are raw bytes, whether the client sent such or not."""
    output, elements = v2_json.described(request.wanted, probabilities)
    return pb.ModelInferResponse(
        model_name=model["name"],
        model_version=model["version"],
        id=request.identity,
        outputs=[output],
        raw_output_contents=[v2_json.packed(elements)],
    )
