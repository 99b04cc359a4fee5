"""Parse the body of a `/predict` request into pictures.

In: its Content-Type and its bytes. Out: `Pictures`: for each the encoded bytes, 784 numbers, or its own error; and
whether the request is for one picture (an error is the request's) or for several (an error is the item's). It knows the
media types that `/predict` accepts, not what a picture shows.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

import numpy as np
from python_multipart.multipart import parse_options_header

from ..errors import Malformed, NotAPicture, ServiceError, TooLarge, UnknownMediaType, Unusable
from ..picture import formats
from ..quoting import quoted
from . import json_text, multipart

Picture: TypeAlias = "bytes | Numbers | ServiceError"  # a file; pixels; or why it is neither

ACCEPTED = "a picture (such as image/png), multipart/form-data, application/json or application/octet-stream"
MULTIPART = "multipart/form-data"
CURL = "application/x-www-form-urlencoded"  # the Content-Type that curl gives to -d and --data-binary
USE_DATA_BINARY = "curl -d removes line ends from a file; --data-binary @FILE sends it as it is."
MAX_PARTS = 16  # of a form, for each picture that it may hold: fields that are not files are skipped
MAX_CONTENT_TYPE = 1000  # bytes of a form's Content-Type
DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[\w.+=-]+)*;base64,", re.ASCII)
NAMES = frozenset({"image", "images", "instances"})  # of pictures in a body of JSON, which has one of them
INSTANCE_NAMES = ("image", "image_bytes", "data", "b64")  # of a picture in an instance that is an object
MAX_DATA_URL_HEAD = 200  # characters before its data


class Numbers(NamedTuple):
    """A picture of 28 x 28 that was sent as numbers."""

    rows: bytes  # 784 pixels


class Pictures(NamedTuple):
    """The pictures of a body, in order: items, or the pixels of all."""

    items: list[Picture]
    several: bool  # whether the request was written for several pictures, even if it holds just one
    pixels: bytes = b""  # n·784, of a body that holds nothing else

    def each(self) -> list[Picture]:
        """Return every picture as an item."""
        pixels = self.pixels
        return self.items or [Numbers(pixels[at : at + 784]) for at in range(0, len(pixels), 784)]


def parse(content_type: str, body: bytes, *, max_images: int) -> Pictures:
    """Parse a body; raises `Malformed`, `UnknownMediaType`, `TooLarge` or `Unusable`."""
    if not body:
        raise Malformed(f"The body is empty; send {ACCEPTED}.")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        return _parse_multipart(content_type, body, max_images)
    if media_type == "application/json" or media_type.endswith("+json") or (media_type == CURL and body[:1] == b"{"):
        return _parse_json(body, max_images)
    # curl's --data-binary does not name a picture's type: the bytes themselves say it.
    if media_type.startswith("image/") or formats.is_picture(body):
        return Pictures([body], several=False)
    if media_type == "application/octet-stream":
        return _split_octets(body, max_images)
    found = quoted(media_type) or "(none)"
    unknown = f"Content-Type {found} is not one that is read here; send {ACCEPTED}."
    raise formats.unsupported(body) or UnknownMediaType(
        f"{unknown} {USE_DATA_BINARY}" if media_type == CURL else unknown
    )


def _split_octets(body: bytes, max_images: int) -> Pictures:
    count, rest = divmod(len(body), 784)
    if rest:
        odd = Malformed(f"application/octet-stream takes N·784 bytes (uint8[N,28,28]); {len(body):,} were sent.")
        raise formats.unsupported(body) or odd
    if (error := formats.floats(body)) is not None:
        raise error
    _check_count(count, max_images)
    if count == 1:
        return Pictures([Numbers(body)], several=False)
    return Pictures([], several=True, pixels=body)


def _parse_multipart(content_type: str, body: bytes, max_images: int) -> Pictures:
    """Take the files of a form, whatever its fields are called."""
    if len(content_type) > MAX_CONTENT_TYPE:
        raise Malformed(f"The form's Content-Type has more than {MAX_CONTENT_TYPE:,} bytes, which is the limit.")
    _, options = parse_options_header(content_type)
    files = multipart.files(body, options.get(b"boundary", b""), MAX_PARTS * max_images)
    if not files:
        raise Malformed("The form holds no file; send each picture as a file (curl: -F image=@digit.png).")
    _check_count(len(files), max_images)
    return Pictures(list(files), several=len(files) > 1)


def _parse_json(body: bytes, max_images: int) -> Pictures:
    match json_text.parse_json(body, max_images):
        case {"image": image, **others} if others.keys().isdisjoint(NAMES):
            return Pictures([_parse_picture(image)], several=False)
        case {"images": list() as images, **others} if images and others.keys().isdisjoint(NAMES):
            _check_count(len(images), max_images)
            return Pictures([_parse_item(image) for image in images], several=True)
        case {"instances": list() as instances, **others} if instances and others.keys().isdisjoint(NAMES):
            _check_count(len(instances), max_images)
            return Pictures([_parse_instance(instance) for instance in instances], several=len(instances) > 1)
    raise Malformed('Expected {"image": …}, {"images": […, …]} or {"instances": […, …]} with at least one picture.')


def _parse_item(image: object) -> Picture:
    try:
        return _parse_picture(image)
    except ServiceError as error:
        return error


def _parse_instance(instance: object) -> Picture:
    """Parse a picture that may be in an object: {"b64": …}, or under another name, where it may be {"b64": …} too."""
    for _ in range(2):
        if isinstance(instance, dict):
            names = [name for name in INSTANCE_NAMES if name in instance]
            if len(names) != 1:
                return Malformed(
                    f"An instance that is an object has one of {', '.join(INSTANCE_NAMES)}; found {names}."
                )
            instance = instance[names[0]]
    return _parse_item(instance)


def _parse_picture(image: object) -> bytes | Numbers:
    if isinstance(image, str):
        return _decode_base64(image)
    if isinstance(image, list):
        return _parse_numbers(image)
    raise Malformed(
        "A picture in JSON is a base64 string, a data URL, 28 rows of 28 numbers, or 784 numbers; "
        f"found {type(image).__name__}."
    )


def _decode_base64(text: str) -> bytes:
    if text.startswith("data:"):
        head = DATA_URL.match(text[:MAX_DATA_URL_HEAD])
        if head is None:
            raise Malformed("The data URL is not of the form data:image/png;base64,…")
        text = text[head.end() :]
    try:
        picture = json_text.decode_base64_lines(text)
    except ValueError as error:
        raise Malformed(f"The picture's text is not base64: {error}.") from None
    if not picture:
        raise NotAPicture("The picture's text holds no bytes.")
    return picture


def _parse_numbers(rows: list[object]) -> Numbers:
    flat = rows
    if len(rows) == 28:
        flat = [number for row in rows if isinstance(row, list) and len(row) == 28 for number in row]
    if len(flat) != 784:
        raise Malformed(f"Expected 28 rows of 28 numbers, or 784 numbers; found a list of {len(rows)}.")
    try:
        return Numbers(bytes(flat))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # not whole, not numbers, or outside 0..255
        return _round(flat)


def _round(flat: list[object]) -> Numbers:
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
