"""The description of the Open Inference Protocol's routes in `/openapi.json`: requests and responses.

In: the settings, whose limits the schemas quote. Out: plain OpenAPI objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..codec.v2_json import HEADER_LENGTH
from ..codec.v2_tensors import CLASSES, INPUT, OUTPUT
from ..openapi import (
    ANYTHING,
    BINARY,
    COUNT,
    FLAG,
    TEXT,
    answer,
    array,
    choice,
    constant,
    example_base64,
    example_rows,
    nullable,
    path_parameter,
    record,
    ref,
    timeout_parameter,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..openapi import Responses, Schema
    from ..settings import Settings

DONE = {"description": "Done."}
ERRORS: Responses = {
    "4XX": answer(ref("InferenceError"), "The request is wrong; the error gives the reason."),
    "5XX": answer(ref("InferenceError"), "Not ready, overloaded, too slow, or an internal error."),
}
SERVER = ref("ServerMetadata")
LIVE = ref("ServerLive")
READY = ref("ServerReady")
MODEL_READY = ref("ModelReady")
METADATA = ref("ModelMetadata")
CONFIGURATION = ref("ModelConfiguration")
STATISTICS = ref("Statistics")
INDEX = array(ref("ModelVersion"))
INFERENCE = answer(
    ref("InferenceResponse"),
    "The probabilities, or the most probable classes; as bytes after the JSON on request.",
) | {"headers": {HEADER_LENGTH: {"description": "Bytes of JSON, if a tensor's bytes follow.", "schema": TEXT}}}
INFERENCE["content"]["application/octet-stream"] = {"schema": BINARY}

_DURATIONS = "success fail queue compute_input compute_infer compute_output cache_hit cache_miss".split()


def operation_id(handler: str, path: str, paths: Sequence[str]) -> str:
    """Return the operation id of one of a handler's routes; generated clients name a function after it."""
    if path == paths[0]:
        return handler
    return f"{handler}_of_version" if "{version}" in path else f"{handler}_of_model"


def readiness(schema: Schema) -> Responses:
    """Return the responses of a readiness check: 200 and 503 have the same schema."""
    return {200: answer(schema, "It is ready."), 503: answer({"anyOf": [schema, ref("InferenceError")]}, "It is not.")}


def schemas(settings: Settings) -> dict[str, Schema]:
    """Return the named schemas."""
    return _metadata_schemas() | _inference_schemas(settings.max_images)


def _metadata_schemas() -> dict[str, Schema]:
    return {
        "InferenceError": record({"error": TEXT}),
        "ServerMetadata": record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
        "ServerLive": record({"live": FLAG}),
        "ServerReady": record({"live": FLAG, "ready": FLAG}),
        "ModelReady": record({"name": TEXT, "ready": FLAG}),
        "TensorMetadata": record({"name": TEXT, "datatype": TEXT, "shape": array({"type": "integer"})}),
        "ModelMetadata": record(
            {
                "name": TEXT,
                "versions": array(TEXT),
                "platform": TEXT,
                "inputs": array(ref("TensorMetadata")),
                "outputs": array(ref("TensorMetadata")),
            }
        ),
        "TensorConfiguration": record({"name": TEXT, "data_type": TEXT, "dims": array(COUNT)}),
        "ModelConfiguration": record(
            {
                "name": TEXT,
                "platform": TEXT,
                "backend": TEXT,
                "max_batch_size": COUNT,
                "input": array(ref("TensorConfiguration")),
                "output": array(ref("TensorConfiguration")),
            }
        ),
        "Duration": record({"count": COUNT, "ns": COUNT}),
        "InferenceStatistics": record(dict.fromkeys(_DURATIONS, ref("Duration"))),
        "ModelStatistics": record(
            {
                "name": TEXT,
                "version": TEXT,
                "last_inference": COUNT | {"description": "Unix time in milliseconds; 0: never."},
                "inference_count": COUNT,
                "execution_count": COUNT,
                "inference_stats": ref("InferenceStatistics"),
                "batch_stats": array({"type": "object"}),
            }
        ),
        "Statistics": record({"model_stats": array(ref("ModelStatistics"))}),
        "ModelVersion": record(
            {"name": TEXT, "version": TEXT, "state": choice("READY", "UNAVAILABLE"), "reason": TEXT}
        ),
    }


def _inference_schemas(max_images: int) -> dict[str, Schema]:
    count = {"type": "integer", "minimum": 1, "maximum": max_images}
    sides = [count, *({"type": "integer", "const": side} for side in (1, 28, 28))]
    shape = array({"type": "integer"}, minItems=4, maxItems=4) | {"prefixItems": sides}
    value = {"type": "integer", "minimum": 0, "maximum": 255}
    pixels = array({"anyOf": [value, array(ANYTHING)]})
    classes = COUNT | {"maximum": CLASSES}
    return {
        "PixelsInput": _input("UINT8", shape, pixels),
        "FilesInput": _input("BYTES", array(count, minItems=1), array(ANYTHING)),
        "InputParameters": record({"binary_data_size": COUNT}, required=[]),
        "OutputParameters": record({"binary_data": FLAG, "classification": classes}, required=[]),
        "RequestedOutput": record(
            {"name": constant(OUTPUT), "parameters": nullable(ref("OutputParameters"))}, required=["name"]
        ),
        "RequestParameters": record({"binary_data_output": FLAG}, required=[]),
        "InferenceRequest": record(
            {
                "id": nullable(TEXT),
                "parameters": nullable(ref("RequestParameters")),
                "inputs": array({"oneOf": [ref("PixelsInput"), ref("FilesInput")]}, minItems=1, maxItems=1),
                "outputs": nullable(array(ref("RequestedOutput"), maxItems=1)),
            },
            required=["inputs"],
        ),
        "InferenceOutput": record(
            {
                "name": constant(OUTPUT),
                "datatype": choice("FP32", "BYTES"),
                "shape": array(COUNT),
                "data": array({"anyOf": [{"type": "number"}, TEXT]}),
            }
        ),
        "InferenceResponse": record(
            {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": array(ref("InferenceOutput"))},
            required=["model_name", "model_version", "outputs"],
        ),
    }


def _input(datatype: str, shape: Schema, data: Schema) -> Schema:
    return record(
        {
            "name": constant(INPUT),
            "shape": shape,
            "datatype": constant(datatype),
            "data": data | {"description": "Flat or nested; absent if the tensor's bytes follow the JSON."},
            "parameters": nullable(ref("InputParameters")),
        },
        required=["name", "shape", "datatype"],
    )


def inference_extra() -> dict[str, Any]:
    """Return the request body and the headers of an inference."""
    pixels = {"name": INPUT, "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [[example_rows()]]}
    picture = {"name": INPUT, "shape": [1], "datatype": "BYTES", "data": [example_base64()]}
    length = {
        "name": HEADER_LENGTH,
        "in": "header",
        "description": "Bytes of JSON, if a tensor's bytes follow; 0: the body is one tensor's bytes.",
        "schema": COUNT,
    }
    return {
        "parameters": [length, timeout_parameter()],
        "requestBody": {
            "required": True,
            "description": "The Content-Type is ignored; Content-Encoding may be gzip or deflate.",
            "content": {
                "application/json": {
                    "schema": ref("InferenceRequest"),
                    "examples": {
                        "a picture's file in base64": {"value": {"inputs": [picture]}},
                        "pixels": {"value": {"inputs": [pixels]}},
                    },
                },
                "application/octet-stream": {
                    "schema": BINARY | {"description": "JSON, then the tensor's bytes; or the tensor's bytes alone."}
                },
            },
        },
    }


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Return the parameters of a route's template."""
    return [path_parameter(name) for name in ("model", "version") if f"{{{name}}}" in path]
