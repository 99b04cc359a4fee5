"""The description of the service's own routes in `/openapi.json`: every request format, every status code.

In: the settings, whose limits the texts quote. Out: plain OpenAPI objects. `service.v2.openapi` describes the routes
below /v2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..headers import TIMEOUT
from ..model.conformal import HIGHEST, LOWEST
from ..openapi import (
    ANYTHING,
    BINARY,
    TEXT,
    Responses,
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
from ..picture.formats import FORMATS, readable
from ..settings import formats

if TYPE_CHECKING:
    from ..openapi import Schema
    from ..settings import Settings

__all__ = [
    "CARD",
    "HEALTH",
    "INSTANCES_ERRORS",
    "answer",
    "instances_extra",
    "instances_responses",
    "predict_extra",
    "predict_responses",
    "problem",
    "schemas",
]

_WARNINGS = {
    "no_ink": "blank or nearly uniform image",
    "too_faint": "the ink has little contrast with its background",
    "several_shapes": "other shapes as large as the digit lie beside it",
    "cut_off": "the digit's strokes run out of the picture at its border",
    "unlike_a_digit": "the ink looks like no digit",
    "low_confidence": "the prediction is wrong nearly as often as right",
}
_DATA_URL = r"(data:[\w.+-]+/[\w.+-]+(;[\w.+=-]+)*;base64,)?"
_STANDARD, _URL_SAFE = (
    rf"({sign}{{4}})*({sign}{{2}}(==)?|{sign}{{3}}=?)?" for sign in ("[A-Za-z0-9+/]", "[A-Za-z0-9_-]")
)
_BASE64 = rf"^{_DATA_URL}({_STANDARD}|{_URL_SAFE})$"
_PNG = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
_STATUS = {"type": "integer"}

INSTANCES_ERRORS: Responses = {
    "4XX": answer(ref("InferenceError"), "The request is wrong; the error gives the reason."),
    "5XX": answer(ref("InferenceError"), "Not ready, overloaded, too slow, or an internal error."),
}
HEALTH = ref("Health")
CARD = ref("ModelCard")


def schemas(settings: Settings) -> dict[str, Schema]:
    """Return the named schemas."""
    problem = {
        "status": _STATUS,
        "detail": TEXT | {"description": "A readable sentence."},
        "reason": TEXT | {"description": "The reason as a word, for programs."},
    }
    limit = {"type": "number", "description": "The limit that was exceeded, where there is one."}
    numbers = array({"type": "number", "minimum": 0, "maximum": 255})
    image = [
        TEXT
        | {
            "pattern": _BASE64,
            "description": "A picture's file in base64 or URL-safe base64, padded or not; or a data URL of one.",
        },
        numbers | {"minItems": 784, "maxItems": 784},
        array(numbers | {"minItems": 28, "maxItems": 28}, minItems=28, maxItems=28),
    ]
    # In a batch, a value that is not a picture is an error of its own.
    item = {"anyOf": [*image, ANYTHING | {"description": "Anything else gets an `error` in its place."}]}
    return {
        "Problem": record(
            {"title": TEXT, **problem, "limit": limit, "request_id": TEXT},
            required=["title", *problem, "request_id"],
        ),
        "PictureError": record({**problem, "limit": limit}, required=[*problem]),
        "FailedPrediction": record({"error": ref("PictureError")}),
        "Explanation": record(
            {
                "image": _PNG | {"description": "PNG, 28×28: the network's input."},
                "heatmap": _PNG
                | {
                    "description": "PNG, 28×28, an occlusion map: lighter where the ink matters more, black where "
                    "there is no digit."
                },
                "polarity": choice("light_on_dark", "dark_on_light"),
                "box": nullable(
                    array({"type": "integer"}, minItems=4, maxItems=4)
                    | {"description": "Left, top, right and bottom of the digit in the upright picture."}
                ),
            }
        ),
        "Prediction": record(
            {
                "digit": nullable({"type": "integer", "minimum": 0, "maximum": 9})
                | {"description": "null where there is no ink to read: then the probabilities are even."},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                "probabilities": array({"type": "number"}, minItems=10, maxItems=10),
                "warnings": array(choice(*_WARNINGS))
                | {"description": "; ".join(f"{name}: {meaning}" for name, meaning in _WARNINGS.items())},
                "set": array({"type": "integer", "minimum": 0, "maximum": 9}, minItems=1, maxItems=10)
                | {"description": "With `coverage`: digits that hold the right one so often, most probable first."},
                "explain": ref("Explanation"),
            },
            required=["digit", "confidence", "probabilities", "warnings"],
        ),
        "ModelIdentity": record({"name": TEXT, "version": TEXT}),
        "Predictions": record(
            {
                "model": ref("ModelIdentity"),
                "predictions": array({"anyOf": [ref("Prediction"), ref("FailedPrediction")]}),
            }
        ),
        "Instances": record(
            {
                "instances": array(item, minItems=1, maxItems=settings.max_images)
                | {
                    "description": "Each is a picture as in `images`, or an object that holds it as `image`, "
                    '`image_bytes` or `data`, or as base64 in `b64`; a value may be `{"b64": …}` itself.'
                }
            }
        ),
        "OneImage": record({"image": {"anyOf": image}}),
        "SeveralImages": record({"images": array(item, minItems=1, maxItems=settings.max_images)}),
        "Health": record({"status": TEXT | {"description": "`ready`, `alive`, or why the service is not ready."}}),
        "ModelCard": record({"schema": constant("mnist-mlp/1"), "name": TEXT, "version": {"type": "integer"}})
        | {"additionalProperties": True},
    }


def predict_extra(settings: Settings, *names: str) -> dict[str, Any]:
    """Return the parameters and the request body of `/predict`; `names` are further path parameters."""
    text = example_base64()
    return {
        "parameters": [*map(path_parameter, names), _explain_parameter(), _coverage_parameter(), timeout_parameter()],
        "requestBody": {
            "required": True,
            "description": f"At most {settings.max_body_bytes:,} bytes and {settings.max_images} pictures.",
            "content": {
                **{FORMATS[name].media_type: {"schema": BINARY} for name in readable(formats(settings.formats))},
                "multipart/form-data": {
                    "schema": record({"image": BINARY})
                    | {
                        "description": "Each file of the form is a picture; field names do not matter.",
                        "additionalProperties": BINARY,
                    }
                },
                "application/octet-stream": {
                    "schema": BINARY | {"description": "uint8[N,28,28], row by row: N·784 bytes."},
                },
                "application/json": {
                    "schema": {"oneOf": [ref("OneImage"), ref("SeveralImages")]},
                    "examples": {
                        "base64": {"value": {"image": text}},
                        "data URL": {"value": {"image": f"data:image/png;base64,{text}"}},
                        "28 rows of numbers": {"value": {"image": example_rows()}},
                        "several": {"value": {"images": [text, text]}},
                    },
                },
            },
        },
    }


def instances_extra(settings: Settings) -> dict[str, Any]:
    """Return the parameters and the request body of KServe's version 1."""
    text = example_base64()
    examples = {
        "numbers": {"value": {"instances": [example_rows()]}},
        "files": {"value": {"instances": [{"b64": text}, {"image_bytes": {"b64": text}}]}},
    }
    return {
        "parameters": [path_parameter("model"), timeout_parameter()],
        "requestBody": {
            "required": True,
            "description": f"At most {settings.max_body_bytes:,} bytes and {settings.max_images} pictures.",
            "content": {"application/json": {"schema": ref("Instances"), "examples": examples}},
        },
    }


def instances_responses() -> Responses:
    """Return every response of a prediction in KServe's version 1, by status code."""
    return INSTANCES_ERRORS | {200: answer(ref("Predictions"), "One prediction per instance, in order.")}


def _explain_parameter() -> dict[str, Any]:
    return {
        "name": "explain",
        "in": "query",
        "description": "Add the network's input and an occlusion map; empty, `0` and `false` mean no.",
        "schema": {"type": "string", "default": "0", "examples": ["1"]},
    }


def _coverage_parameter() -> dict[str, Any]:
    return {
        "name": "coverage",
        "in": "query",
        "description": "Add a set of digits that holds the right one in this share of pictures (conformal prediction).",
        "schema": {"type": "number", "minimum": LOWEST, "maximum": HIGHEST, "examples": [0.999]},
    }


def predict_responses(settings: Settings) -> Responses:
    """Return every response of `/predict`, by status code."""
    seconds = f"{settings.timeout_seconds:g} s"
    problems = {
        400: "Malformed: an empty body, not JSON, not base64, or of another shape; or another coverage.",
        408: f"The body did not arrive within {seconds}.",
        413: f"Over {settings.max_body_bytes:,} bytes, {settings.max_pixels:,} pixels or {settings.max_images} files.",
        415: "An unsupported picture format or Content-Type.",
        422: "The picture is readable, but no digit can be read from it; or the version makes no sets for a coverage.",
        500: "An internal error.",
        503: "Too many requests wait, and the response would be late; `Retry-After` says when to retry.",
        504: f"No response within {seconds}, or within {TIMEOUT}.",
    }
    if settings.api_keys_file is not None:
        problems |= {
            401: "No API key, or an unknown one.",
            403: "The API key lacks this scope.",
            429: "The API key exceeds its rate; `Retry-After` says when to retry.",
        }
    prediction = {
        "digit": 1,
        "confidence": 0.998,
        "probabilities": [0, 0.998, 0.001, 0, 0, 0, 0, 0.001, 0, 0],
        "warnings": [],
    }
    predictions = answer(
        ref("Predictions"),
        "One prediction per picture, in order; in a batch, a bad picture is that item's `error`.",
        example={"model": {"name": "mnist-mlp", "version": "1"}, "predictions": [prediction]},
    )
    return {200: predictions, **{code: problem(text) for code, text in problems.items()}}


def problem(description: str) -> dict[str, Any]:
    """Return a response of type application/problem+json (RFC 9457)."""
    return {"description": description, "content": {"application/problem+json": {"schema": ref("Problem")}}}
