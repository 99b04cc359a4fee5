"""The vocabulary in which `api` and `v2` describe their routes: plain OpenAPI 3.1 objects.

A schema that has a name stands among the document's components and is referred to, so that generated clients have a
class of this name. Each schema has one type, and `null` is a schema of its own: generators understand no list of types.
"""

from __future__ import annotations

import base64
import io
from typing import Any, TypeAlias

from PIL import Image, ImageDraw

from .headers import TIMEOUT

Schema: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[int | str, dict[str, Any]]  # by status code

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
BINARY: Schema = {"type": "string", "format": "binary"}
ANYTHING: Schema = {}


def record(properties: dict[str, Schema], *, required: list[str] | None = None) -> Schema:
    """The schema of an object, all of whose properties are required unless some are named."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties} | ({"required": names} if names else {})


def array(items: Schema, **limits: int) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": items, **limits}


def constant(text: str) -> Schema:
    """The schema of one string."""
    return {"type": "string", "const": text}


def choice(*texts: str) -> Schema:
    """The schema of one of several strings."""
    return {"type": "string", "enum": [*texts]}


def nullable(schema: Schema) -> Schema:
    """The schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """A schema that stands among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer(schema: Schema, description: str = "The answer.", **content: Any) -> dict[str, Any]:
    """A response that is JSON of this schema."""
    return {"description": description, "content": {"application/json": {"schema": schema, **content}}}


def path_parameter(name: str) -> dict[str, Any]:
    """A part of a path."""
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def timeout_parameter() -> dict[str, Any]:
    """The header of a client that has a deadline."""
    return {
        "name": TIMEOUT,
        "in": "header",
        "description": "Deadline of the client, in milliseconds.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }


def _example() -> Image.Image:
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line([(10, 9), (15, 5), (15, 23)], fill=255, width=3)
    return picture


def example_base64() -> str:
    """A digit as a PNG file, in base64."""
    buffer = io.BytesIO()
    _example().save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def example_rows() -> list[list[int]]:
    """The same digit as 28 rows of 28 numbers."""
    pixels = list(_example().tobytes())
    return [pixels[row * 28 : row * 28 + 28] for row in range(28)]
