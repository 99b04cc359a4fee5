"""A request's body → the pictures in it.

In: content type and bytes. Out: `Pictures`: per picture its encoded bytes, its 784 numbers, or the error that is its
alone; and whether the request was about one picture (an error is the request's) or several (an error is the item's).
It knows the forms that `/predict` takes, not what a picture shows.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

import numpy as np
import orjson
from python_multipart.multipart import parse_options_header

from ..errors import Malformed, NotAPicture, ServiceError, TooLarge, UnknownMediaType, Unusable
from ..picture import formats
from ..quoting import quoted
from . import any_multipart, base64_text, json_values
from . import multipart as plain_form

Picture: TypeAlias = "bytes | Numbers | ServiceError"  # PNG or JPEG; pixels; or why it is neither

ACCEPTED = "image/png, image/jpeg, multipart/form-data, application/json or application/octet-stream"
FORM = "multipart/form-data"
PARTS = 16  # of a form, for each picture that it may hold: fields that are no files are passed over
TYPE_BYTES = 1000  # of a form's Content-Type
DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[\w.+=-]+)*;base64,", re.ASCII)
DATA_URL_HEAD = 200  # characters before its data


class Numbers(NamedTuple):
    """A picture of 28 x 28 that was sent as numbers."""

    rows: bytes  # 784, from 0 to 255


class Pictures(NamedTuple):
    """What a body held."""

    items: list[Picture]
    several: bool  # the request was written for several pictures, even if it held just one


def parse(content_type: str, body: bytes, *, max_images: int) -> Pictures:
    """The pictures in a body; raises `Malformed`, `UnknownMediaType`, `TooLarge` or `Unusable`."""
    if not body:
        raise Malformed(f"The body is empty; send {ACCEPTED}.")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        return _form(content_type, body, max_images)
    if kind == "application/json" or kind.endswith("+json"):
        return _json(body, max_images)
    # curl's --data-binary names no picture type: the bytes themselves say it.
    if kind.startswith("image/") or formats.is_supported(body):
        return Pictures([body], several=False)
    if kind == "application/octet-stream":
        return _raw(body, max_images)
    found = quoted(kind) or "(none)"
    unknown = UnknownMediaType(f"Content-Type {found} is not one that is read here; send {ACCEPTED}.")
    raise formats.unsupported(body) or unknown


def _raw(body: bytes, max_images: int) -> Pictures:
    count, rest = divmod(len(body), 784)
    if rest:
        odd = Malformed(f"application/octet-stream takes N·784 bytes (uint8[N,28,28]); {len(body):,} were sent.")
        raise formats.unsupported(body) or odd
    _check_count(count, max_images)
    return Pictures([Numbers(body[at : at + 784]) for at in range(0, len(body), 784)], several=count > 1)


def _form(content_type: str, body: bytes, max_images: int) -> Pictures:
    """The files of a form (RFC 7578), whatever its fields are called; other fields are passed over."""
    if len(content_type) > TYPE_BYTES:
        raise Malformed(f"The form's Content-Type has more than {TYPE_BYTES:,} bytes, which is the limit.")
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    files = plain_form.files(body, boundary, max_parts=PARTS * max_images)
    if files is None:
        files = any_multipart.files(boundary, body, PARTS * max_images)
    if not files:
        raise Malformed("The form holds no file; send each picture as a file (curl: -F image=@digit.png).")
    _check_count(len(files), max_images)
    return Pictures(list(files), several=len(files) > 1)


def _json(body: bytes, max_images: int) -> Pictures:
    json_values.check(body, max_images)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error}.") from None
    match document:
        case {"image": image, **others} if "images" not in others:
            return Pictures([_picture(image)], several=False)
        case {"images": list() as images, **others} if images and "image" not in others:
            _check_count(len(images), max_images)
            return Pictures([_item(image) for image in images], several=True)
    raise Malformed('Expected {"image": …} or {"images": […, …]} with at least one picture.')


def _item(image: object) -> Picture:
    try:
        return _picture(image)
    except ServiceError as error:
        return error


def _picture(image: object) -> bytes | Numbers:
    if isinstance(image, str):
        return _base64(image)
    if isinstance(image, list):
        return _numbers(image)
    raise Malformed(
        "A picture in JSON is a base64 string, a data URL, 28 rows of 28 numbers, or 784 numbers; "
        f"found {type(image).__name__}."
    )


def _base64(text: str) -> bytes:
    if text.startswith("data:"):
        header = DATA_URL.match(text[:DATA_URL_HEAD])
        if header is None:
            raise Malformed("The data URL is not of the form data:image/png;base64,…")
        text = text[header.end() :]
    try:
        picture = base64_text.decoded_lines(text)
    except ValueError as error:
        raise Malformed(f"The picture's text is not base64: {error}.") from None
    if not picture:
        raise NotAPicture("The picture's text holds no bytes.")
    return picture


def _numbers(rows: list[object]) -> Numbers:
    flat = rows
    if len(rows) == 28:
        flat = [number for row in rows if isinstance(row, list) and len(row) == 28 for number in row]
    if len(flat) != 784:
        raise Malformed(f"Expected 28 rows of 28 numbers, or 784 numbers; found a list of {len(rows)}.")
    try:
        return Numbers(bytes(flat))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # not whole, not numbers, or outside 0..255
        return _rounded(flat)


def _rounded(flat: list[object]) -> Numbers:
    if not all(isinstance(number, int | float) for number in flat):
        raise Malformed("Expected 784 numbers; found another type among them.")
    values = np.array(flat, np.float64)
    if values.min() < 0 or values.max() > 255:
        raise Unusable(f"Pixels are numbers from 0 to 255; found {values.min():g} to {values.max():g}.", limit=255)
    if values.max() <= 1:
        raise Unusable("Pixels are numbers from 0 to 255; these look scaled to 0..1: multiply them by 255.", limit=255)
    return Numbers(np.rint(values).astype(np.uint8).tobytes())


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise TooLarge(f"The request holds {count:,} pictures; the limit is {limit}.", limit=limit)
