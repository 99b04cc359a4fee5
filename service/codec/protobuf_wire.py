"""Read the wire format of protocol buffers without parsing a message: a few fields, and the number of all.

In: bytes. Out: the fields of a message with their positions, or `Malformed` where there are more than a request can
have. Parsing makes an object for each field, of up to forty times its bytes. The wire format:
protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FIELDS = 256  # of one message, without those of its parts: an inference has four or so
PIXELS = 784
MAX_VARINT = 10  # bytes
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5  # wire types
FIXED = {FIXED_64: 8, FIXED_32: 4}
# Field numbers in inference.proto.
INPUTS, OUTPUTS, SHAPE, CONTENTS, UINT_CONTENTS = 5, 6, 3, 5, 4


class Field(NamedTuple):
    """One field of a message: its number, its wire type, and the position of its value."""

    number: int
    wire_type: int
    start: int
    end: int


def iterate_fields(data: bytes, start: int, end: int, max_fields: int = MAX_FIELDS) -> Iterator[Field]:
    """Iterate over the fields of the message in `data[start:end]`; raises `Malformed`, also for too many of them."""
    for _ in range(max_fields):
        if start == end:
            return
        key, start = _read_varint(data, start, end)
        wire_type = key & 7
        if wire_type == VARINT:
            _, after = _read_varint(data, start, end)
        elif wire_type == BYTES:
            size, start = _read_varint(data, start, end)
            after = start + size
        elif wire_type in FIXED:
            after = start + FIXED[wire_type]
        else:
            raise _not_a_message()
        if after > end:
            raise _not_a_message()
        yield Field(key >> 3, wire_type, start, after)
        start = after
    if start != end:
        raise Malformed(f"the message, or a part of it, has more than {max_fields:,} fields.", limit=max_fields)


def read_texts(data: bytes, *numbers: int, cut: bool = False) -> list[str]:
    """Read the text of each of these fields: the last one where there are several, as parsing does; else "".

    Where the message is `cut`, fields may be missing. Raises `Malformed`.
    """
    found = dict.fromkeys(numbers, b"")
    try:
        for field in iterate_fields(data, 0, len(data)):
            if field.number in found and field.wire_type == BYTES:
                found[field.number] = data[field.start : field.end]
    except Malformed:
        if not cut:
            raise
    try:
        return [text.decode() for text in found.values()]
    except UnicodeDecodeError:
        raise _not_a_message() from None


def check_inference(data: bytes, max_images: int) -> None:
    """Raise `Malformed` for a `ModelInferRequest` of more parts than `max_images` pictures need."""
    for field in iterate_fields(data, 0, len(data)):
        if field.number == INPUTS and field.wire_type == BYTES:
            _check_input(data, field, max_images)
        if field.number == OUTPUTS and field.wire_type == BYTES:
            for _ in iterate_fields(data, field.start, field.end):
                pass


def _check_input(data: bytes, tensor: Field, max_images: int) -> None:
    for field in iterate_fields(data, tensor.start, tensor.end):
        if field.number == SHAPE and field.end - field.start > MAX_FIELDS:
            raise Malformed("a shape has more sides than the model's input.")
        if field.number == CONTENTS and field.wire_type == BYTES:
            _check_contents(data, field, max_images)


def _check_contents(data: bytes, contents: Field, max_images: int) -> None:
    numbers = max_images * PIXELS
    for field in iterate_fields(data, contents.start, contents.end, max_images + MAX_FIELDS):
        if field.number == UINT_CONTENTS and field.end - field.start > numbers * MAX_VARINT:
            raise Malformed(f"uint_contents holds more than {numbers:,} numbers, which is the limit.", limit=numbers)


def _read_varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return a number of at most 64 bits, and the position behind it."""
    value = 0
    for place, byte in enumerate(data[start : min(end, start + MAX_VARINT)]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, start + place + 1
    raise _not_a_message()


def _not_a_message() -> Malformed:
    return Malformed("the bytes are no message of the type inference.ModelInferRequest.")
