"""What `/openapi.json` says of `/predict`: every input form with an example, every status code with its problem.

In: the settings whose limits the texts quote. Out: plain OpenAPI objects. It describes; `service.codec.body` reads and
`service.app` answers. What is said of the routes below /v2 is `service.v2.openapi`'s.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from ..inference.admission import TIMEOUT

if TYPE_CHECKING:
    from ..settings import Settings

_WARNINGS = {
    "no_ink": "the picture is blank, or so even that nothing stands out",
    "too_faint": "the ink hardly stands out from its ground",
    "several_shapes": "other shapes as large as the digit lie beside it",
    "unlike_a_digit": "the ink looks like no digit",
    "low_confidence": "the answer is more likely wrong than right",
}


def record(properties: dict[str, Any], *, required: list[str] | None = None) -> dict[str, Any]:
    """The schema of an object, all of whose properties are required unless some are named."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


PROBLEM = record(
    {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that a person can act on."},
        "reason": {"type": "string", "description": "The same, for programs."},
        "limit": {"type": "number", "description": "The limit that was passed, where there is one."},
        "request_id": {"type": "string"},
    },
    required=["title", "status", "detail", "reason", "request_id"],
)
_EXPLANATION = record(
    {
        "image": {"type": "string", "contentEncoding": "base64", "description": "PNG, 28×28: what the network saw."},
        "heatmap": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "PNG, 28×28: lighter where covering the ink costs the answer more of its probability.",
        },
        "polarity": {"enum": ["light_on_dark", "dark_on_light"]},
        "box": {
            "type": ["array", "null"],
            "items": {"type": "integer"},
            "description": "Left, top, right, bottom of the digit in the upright picture.",
        },
    }
)
_PREDICTION = record(
    {
        "digit": {"type": "integer", "minimum": 0, "maximum": 9},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "probabilities": {"type": "array", "items": {"type": "number"}, "minItems": 10, "maxItems": 10},
        "warnings": {
            "type": "array",
            "items": {"enum": list(_WARNINGS)},
            "description": "; ".join(f"{name}: {meaning}" for name, meaning in _WARNINGS.items()),
        },
        "explain": _EXPLANATION,
    },
    required=["digit", "confidence", "probabilities", "warnings"],
)
_FAILED = record(
    {"error": record({k: v for k, v in PROBLEM["properties"].items() if k in {"status", "detail", "reason"}})}
)
ANSWER = record(
    {
        "model": record({"name": {"type": "string"}, "version": {"type": "string"}}),
        "predictions": {"type": "array", "items": {"anyOf": [_PREDICTION, _FAILED]}},
    }
)
HEALTH = record({"status": {"type": "string", "description": "Or why no requests should be sent here."}})
CARD = record(
    {"schema": {"const": "mnist-mlp/1"}, "name": {"type": "string"}, "version": {"type": "integer"}},
)
_BINARY = {"type": "string", "format": "binary"}
_BASE64 = r"^(data:[\w.+-]+/[\w.+-]+(;[\w.+=-]+)*;base64,)?([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}(==|[A-Za-z0-9+/]=))?$"
_EXAMPLE_ANSWER = {
    "model": {"name": "mnist-mlp", "version": "1"},
    "predictions": [
        {
            "digit": 1,
            "confidence": 0.998,
            "probabilities": [0, 0.998, 0.001, 0, 0, 0, 0, 0.001, 0, 0],
            "warnings": [],
        }
    ],
}


def predict_extra(settings: Settings, *names: str) -> dict[str, Any]:
    """The parameters of `/predict`, those that a path has besides, and the request body."""
    text = base64.b64encode(example_picture()).decode()
    image = _image()
    # A batch is answered whatever is in it: a value that is no picture is an error of its own.
    item = {"anyOf": [*image["anyOf"], {"description": "Anything else gets an `error` in its place."}]}
    several = {"type": "array", "items": item, "minItems": 1, "maxItems": settings.max_images}
    return {
        "parameters": [*map(path_parameter, names), _explain_parameter(), timeout_parameter()],
        "requestBody": {
            "required": True,
            "description": f"At most {settings.max_body_bytes:,} bytes and {settings.max_images} pictures.",
            "content": {
                "image/png": {"schema": _BINARY},
                "image/jpeg": {"schema": _BINARY},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "description": "Each file of the form is a picture, whatever its field is called.",
                        "properties": {"image": _BINARY},
                        "required": ["image"],
                        "additionalProperties": _BINARY,
                    }
                },
                "application/octet-stream": {
                    "schema": _BINARY | {"description": "uint8[N,28,28], row by row: N·784 bytes."},
                },
                "application/json": {
                    "schema": {"oneOf": [_alone("image", image, "images"), _alone("images", several, "image")]},
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


def _alone(name: str, schema: dict[str, Any], other: str) -> dict[str, Any]:
    return record({name: schema, other: False}, required=[name])


def _image() -> dict[str, Any]:
    numbers = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 255}}
    text = {"type": "string", "pattern": _BASE64, "description": "A PNG or JPEG in base64, or as a data URL."}
    row = {**numbers, "minItems": 28, "maxItems": 28}
    rows = {"type": "array", "items": row, "minItems": 28, "maxItems": 28}
    return {"anyOf": [text, {**numbers, "minItems": 784, "maxItems": 784}, rows]}


def path_parameter(name: str) -> dict[str, Any]:
    """A part of a path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _explain_parameter() -> dict[str, Any]:
    return {
        "name": "explain",
        "in": "query",
        "description": "Add what the network saw, and why; empty, `0` and `false` are no.",
        "schema": {"type": "string", "default": "0", "examples": ["1"]},
    }


def timeout_parameter() -> dict[str, Any]:
    """The header of a client that has a deadline."""
    return {
        "name": TIMEOUT,
        "in": "header",
        "description": "Milliseconds after which the answer is worth nothing to the client.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }


def predict_responses(settings: Settings) -> dict[int | str, dict[str, Any]]:
    """Every answer of `/predict`, by status code."""
    seconds = f"{settings.timeout_seconds:g} s"
    problems = {
        400: "Malformed: an empty body, not JSON, not base64, or of another shape.",
        408: f"The body did not arrive within {seconds}.",
        413: f"Over {settings.max_body_bytes:,} bytes, {settings.max_pixels:,} pixels or {settings.max_images} files.",
        415: "Not a picture that is read here, or a Content-Type that is not.",
        422: "Readable, but no digit can be in it.",
        500: "A fault of the service.",
        503: "It would be answered too late, so much is waiting; `Retry-After` says when to come back.",
        504: f"Not answered within {seconds}, or within {TIMEOUT}.",
    }
    if settings.api_keys_file is not None:
        problems |= {
            401: "No API key, or none that is known.",
            403: "The API key is for something else.",
            429: "More requests than the API key has; `Retry-After` says when to come back.",
        }
    responses: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "One prediction per picture, in order; in a batch, a bad picture is that item's `error`.",
            "content": {"application/json": {"schema": ANSWER, "example": _EXAMPLE_ANSWER}},
        }
    }
    return responses | {code: problem(text) for code, text in problems.items()}


def answer(schema: dict[str, Any], description: str = "The answer.") -> dict[str, Any]:
    """A response that is JSON of this schema."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problem(description: str) -> dict[str, Any]:
    """A response of type application/problem+json (RFC 9457)."""
    return {"description": description, "content": {"application/problem+json": {"schema": PROBLEM}}}


def _example() -> Image.Image:
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line([(10, 9), (15, 5), (15, 23)], fill=255, width=3)
    return picture


def example_picture() -> bytes:
    """A digit as a PNG file."""
    buffer = io.BytesIO()
    _example().save(buffer, "PNG")
    return buffer.getvalue()


def example_rows() -> list[list[int]]:
    """The same digit as 28 rows of 28 numbers."""
    pixels = list(_example().tobytes())
    return [pixels[row * 28 : row * 28 + 28] for row in range(28)]
