"""What `/openapi.json` says of the Open Inference Protocol's routes: what each takes and answers.

In: the settings whose limits the schemas have. Out: plain OpenAPI objects. It describes; `service.codec.v2_json` reads
and writes tensors, `service.v2.metadata` and `service.v2.repository` tell of the model.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ..api.openapi import answer, example_picture, example_rows, path_parameter, record, timeout_parameter
from ..codec.v2_json import HEADER_LENGTH
from ..codec.v2_tensors import CLASSES, INPUT, OUTPUT

if TYPE_CHECKING:
    from ..settings import Settings

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_OBJECT = {"type": "object"}
_BINARY = {"type": "string", "format": "binary"}


def _list(items: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


def readiness(schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The responses of a question whether something is ready, which have one form for yes and no."""
    return {200: answer(schema, "It is ready."), 503: answer({"anyOf": [schema, _ERROR]}, "It is not.")}


_ERROR = record({"error": _TEXT})
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": answer(_ERROR, "Says what was wrong."),
    "5XX": answer(_ERROR, "Not ready, full, too slow, or a fault."),
}
DONE = {"description": "It is done."}

SERVER = record({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)})
LIVE = record({"live": _FLAG})
READY = record({"live": _FLAG, "ready": _FLAG})
MODEL_READY = record({"name": _TEXT, "ready": _FLAG})
_TENSOR = record({"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"})})
METADATA = record(
    {"name": _TEXT, "versions": _list(_TEXT), "platform": _TEXT, "inputs": _list(_TENSOR), "outputs": _list(_TENSOR)}
)
_CONFIGURED = record({"name": _TEXT, "data_type": _TEXT, "dims": _list(_COUNT)})
CONFIGURATION = record(
    {
        "name": _TEXT,
        "platform": _TEXT,
        "backend": _TEXT,
        "max_batch_size": _COUNT,
        "input": _list(_CONFIGURED),
        "output": _list(_CONFIGURED),
    }
)
_DURATION = record({"count": _COUNT, "ns": _COUNT})
_DURATIONS = "success fail queue compute_input compute_infer compute_output cache_hit cache_miss".split()
STATISTICS = record(
    {
        "model_stats": _list(
            record(
                {
                    "name": _TEXT,
                    "version": _TEXT,
                    "last_inference": _COUNT | {"description": "Unix time in milliseconds; 0: never."},
                    "inference_count": _COUNT,
                    "execution_count": _COUNT,
                    "inference_stats": record(dict.fromkeys(_DURATIONS, _DURATION)),
                    "batch_stats": _list(_OBJECT),
                }
            )
        )
    }
)
INDEX = _list(record({"name": _TEXT, "version": _TEXT, "state": {"enum": ["READY", "UNAVAILABLE"]}, "reason": _TEXT}))
_PROBABILITIES = record(
    {
        "name": {"const": OUTPUT},
        "datatype": {"enum": ["FP32", "BYTES"]},
        "shape": _list(_COUNT),
        "data": _list({"type": ["number", "string"]}),
    }
)
INFERENCE = {
    "description": "The probabilities, or the most probable classes; as bytes after the JSON where that was asked for.",
    "headers": {HEADER_LENGTH: {"description": "Bytes of JSON, where others follow.", "schema": _TEXT}},
    "content": {
        "application/json": {
            "schema": record(
                {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _list(_PROBABILITIES)},
                required=["model_name", "model_version", "outputs"],
            )
        },
        "application/octet-stream": {"schema": _BINARY},
    },
}


def inference_extra(settings: Settings) -> dict[str, Any]:
    """The request body of an inference, and its headers."""
    text = base64.b64encode(example_picture()).decode()
    pixels = {"name": INPUT, "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [[example_rows()]]}
    picture = {"name": INPUT, "shape": [1], "datatype": "BYTES", "data": [text]}
    length = {
        "name": HEADER_LENGTH,
        "in": "header",
        "description": "Bytes of JSON, where a tensor's bytes follow; 0: all of the body is one tensor's.",
        "schema": _COUNT,
    }
    return {
        "parameters": [length, timeout_parameter()],
        "requestBody": {
            "required": True,
            "description": "The Content-Type is not looked at; Content-Encoding may be gzip or deflate.",
            "content": {
                "application/json": {
                    "schema": _request(settings.max_images),
                    "examples": {
                        "a PNG or JPEG file in base64": {"value": {"inputs": [picture]}},
                        "pixels": {"value": {"inputs": [pixels]}},
                    },
                },
                "application/octet-stream": {
                    "schema": _BINARY | {"description": "JSON, then the tensor's bytes; or these alone."}
                },
            },
        },
    }


def _request(max_images: int) -> dict[str, Any]:
    count = {"type": "integer", "minimum": 1, "maximum": max_images}
    level = {"type": ["integer", "array"], "minimum": 0, "maximum": 255}
    sides = [count, {"const": 1}, {"const": 28}, {"const": 28}]
    shape = {"type": "array", "prefixItems": sides, "minItems": 4, "maxItems": 4}
    tensors = [_input("UINT8", shape, _list(level)), _input("BYTES", _list(count, minItems=1), _list({}))]
    classes = _COUNT | {"maximum": CLASSES}
    asked = record({"binary_data": _FLAG, "classification": classes}, required=[])
    output = record({"name": {"const": OUTPUT}, "parameters": _or_null(asked)}, required=["name"])
    return record(
        {
            "id": _or_null(_TEXT),
            "parameters": _or_null(record({"binary_data_output": _FLAG}, required=[])),
            "inputs": _list({"oneOf": tensors}, minItems=1, maxItems=1),
            "outputs": _or_null(_list(output, maxItems=1)),
        },
        required=["inputs"],
    )


def _input(datatype: str, shape: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    size = record({"binary_data_size": _COUNT}, required=[])
    return record(
        {
            "name": {"const": INPUT},
            "shape": shape,
            "datatype": {"const": datatype},
            "data": data | {"description": "Flat or nested; none where its bytes follow the JSON."},
            "parameters": _or_null(size),
        },
        required=["name", "shape", "datatype"],
    )


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [schema["type"], "null"]}


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Those of a route's template."""
    return [path_parameter(name) for name in ("model", "version") if f"{{{name}}}" in path]
