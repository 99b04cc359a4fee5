"""The elements of the model's two tensors, as the Open Inference Protocol writes them in JSON or in bytes.

In: a tensor's shape and its data, as bytes or as a list; or probabilities. Out: pixels or encoded pictures; or the
output's elements. `Malformed` says what is wrong. It knows neither the document around a tensor nor the model.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import Malformed
from .json_text import decode_base64

if TYPE_CHECKING:
    from ..arrays import Pixels, Probabilities

INPUT: Final = "images"
OUTPUT: Final = "probabilities"
PIXELS: Final = 784
CLASSES: Final = 10
SHAPE: Final = "[N,1,28,28]"
RANK: Final = 4  # dimensions of a shape, and levels of nested lists


def check_count(count: int, max_images: int) -> None:
    """Raise `Malformed` for more pictures than a request may have."""
    if count > max_images:
        raise Malformed(f"{count} pictures were sent; the limit is {max_images} in one request.", limit=max_images)


def read_pixels(count: int, content: bytes | list[Any]) -> Pixels:
    """Read uint8[count,1,28,28] from bytes, or from numbers, flat or nested."""
    numbers = content if isinstance(content, bytes) else _flatten(content, count * PIXELS)
    if len(numbers) != count * PIXELS:
        raise Malformed(f"input {INPUT!r} holds {len(numbers):,} numbers; its shape says {count * PIXELS:,}.")
    return np.frombuffer(numbers, np.uint8).reshape(count, 1, 28, 28)


def _flatten(data: list[Any], count: int) -> bytes:
    flat = data
    for _ in range(RANK):
        if not (flat and isinstance(flat[0], list)):
            break
        if not all(isinstance(row, list) for row in flat):
            raise Malformed(f"the data of input {INPUT!r} mixes numbers and lists.")
        flat = [number for row in flat for number in row]
    if len(flat) > count:
        raise Malformed(f"input {INPUT!r} holds {len(flat):,} numbers; its shape says {count:,}.")
    try:
        return bytes(flat)
    except (TypeError, ValueError):
        raise Malformed(f"the data of input {INPUT!r} must be whole numbers from 0 to 255 (UINT8).") from None


def read_pictures(shape: list[int], content: bytes | list[Any]) -> list[bytes]:
    """Read files of pictures, one for each element of the shape."""
    if any(side != 1 for side in shape[1:]):
        raise Malformed(f"input {INPUT!r} has shape {shape}; expected [N] for BYTES, one picture an element.")
    count = shape[0]
    pictures = _split_elements(content, count) if isinstance(content, bytes) else _decode_texts(content, count)
    if len(pictures) != count:
        raise Malformed(f"input {INPUT!r} holds {len(pictures)} elements; its shape {shape} says {count}.")
    return pictures


def _split_elements(content: bytes, count: int) -> list[bytes]:
    """Split BYTES elements, each after its length in 4 bytes (little-endian); no more than `count` are read."""
    elements: list[bytes] = []
    at = 0
    while at < len(content):
        if len(elements) == count:
            raise _more_elements(count)
        if at + 4 > len(content):
            raise Malformed("a BYTES element breaks off in its length.")
        (size,) = struct.unpack_from("<I", content, at)
        at += 4 + size
        if at > len(content):
            raise Malformed(f"a BYTES element says that it has {size:,} bytes, and fewer are left.")
        elements.append(content[at - size : at])
    return elements


def _decode_texts(data: list[Any], count: int) -> list[bytes]:
    """Decode base64, because JSON has no bytes; elements of gRPC messages are bytes already."""
    if sum(len(row) if isinstance(row, list) else 1 for row in data[: count + 1]) > count:
        raise _more_elements(count)
    flat = [text for row in data for text in (row if isinstance(row, list) else [row])]
    try:
        return [text if isinstance(text, bytes) else decode_base64(text) for text in flat]
    except (TypeError, ValueError):
        raise Malformed(f"BYTES elements of input {INPUT!r} in JSON must be pictures in base64.") from None


def _more_elements(count: int) -> Malformed:
    return Malformed(f"input {INPUT!r} holds more elements than its shape says, which is {count}.")


def describe_output(probabilities: Probabilities, classes: int) -> tuple[dict[str, Any], list[str] | Probabilities]:
    """Return the output's name, datatype and shape; and its elements, in one row.

    These are the probabilities (FP32), or "value:index:label" of the `classes` most probable digits (BYTES).
    """
    if classes:
        shape = [len(probabilities), classes]
        return {"name": OUTPUT, "datatype": "BYTES", "shape": shape}, _most_probable(probabilities, classes)
    return {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}, probabilities.ravel()


def _most_probable(probabilities: Probabilities, count: int) -> list[str]:
    """Describe the `count` most probable digits of each row, the most probable first."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    rows = zip(probabilities, best, strict=True)
    return [f"{row[digit]:f}:{digit}:{digit}" for row, digits in rows for digit in digits]


def pack_elements(elements: list[str] | Probabilities) -> bytes:
    """Pack a tensor's elements as bytes: FP32, or BYTES, each after its length."""
    if isinstance(elements, np.ndarray):
        return elements.tobytes()
    return b"".join(struct.pack("<I", len(text)) + text.encode() for text in elements)
