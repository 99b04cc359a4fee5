"""Messages of an inference → a request, and probabilities → the message that answers.

In: a `ModelInferRequest`. Out: an `openinference.Request`; then, with the probabilities, a `ModelInferResponse`. A
message is put in the words of the protocol's JSON form, so that both are checked in one place and refused in the same
sentences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service import openinference
from service.errors import Malformed
from service.grpc import inference_pb2 as pb
from service.quoting import quoted

if TYPE_CHECKING:
    from service.artefact import Probabilities


def parse(message: pb.ModelInferRequest, *, max_images: int) -> openinference.Request:
    """The request in a message; raises `Malformed`, which names what was found."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise Malformed(f"raw_input_contents holds {len(raw)} tensors, and there are {len(message.inputs)} inputs.")
    contents = raw or [None] * len(message.inputs)
    document = {
        "id": message.id or None,
        "inputs": [_input(*pair) for pair in zip(message.inputs, contents, strict=True)],
        "outputs": [
            {"name": output.name, "parameters": {name: _value(found) for name, found in output.parameters.items()}}
            for output in message.outputs
        ],
    }
    return openinference.read(document, b"".join(raw), max_images=max_images)


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


def encode(
    model: dict[str, str], request: openinference.Request, probabilities: Probabilities
) -> pb.ModelInferResponse:
    """The message that answers: the output's elements are raw bytes, whether the client sent such or not."""
    output, elements = openinference.described(request.wanted, probabilities)
    return pb.ModelInferResponse(
        model_name=model["name"],
        model_version=model["version"],
        id=request.identity,
        outputs=[output],
        raw_output_contents=[openinference.packed(elements)],
    )
