"""The bytes of a message, looked at before it is unpacked: a few fields that are needed, and how many there are.

In: bytes. Out: the fields of a message and where each stands, or `Malformed` where there are more of them than a
request can have. Unpacking makes an object of each, of up to forty times its bytes. After the wire format of protocol
buffers (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FIELDS = 256  # of one message, its parts not counted: an inference has four or so
PIXELS = 784
LONGEST_VARINT = 10  # bytes
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
FIXED = {FIXED_64: 8, FIXED_32: 4}
# Numbers of fields, in inference.proto.
INPUTS, OUTPUTS, SHAPE, CONTENTS, UINT_CONTENTS = 5, 6, 3, 5, 4


class Field(NamedTuple):
    """One field of a message: its number, how it is written, and where its value begins and ends."""

    number: int
    kind: int
    start: int
    end: int


def fields(data: bytes, start: int, end: int, most: int = MOST_FIELDS) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`; raises `Malformed` where they are more than `most`, or none."""
    for _ in range(most):
        if start == end:
            return
        key, start = _varint(data, start, end)
        kind = key & 7
        if kind == VARINT:
            _, after = _varint(data, start, end)
        elif kind == BYTES:
            size, start = _varint(data, start, end)
            after = start + size
        elif kind in FIXED:
            after = start + FIXED[kind]
        else:
            raise _none()
        if after > end:
            raise _none()
        yield Field(key >> 3, kind, start, after)
        start = after
    if start != end:
        raise Malformed(f"the message, or a part of it, has more than {most:,} fields.", limit=most)


def texts(data: bytes, *numbers: int, cut: bool = False) -> list[str]:
    """The text in each of these fields of a message, the last where there are several, as in unpacking; else "".

    Of a message that is `cut` there may be more.
    """
    found = dict.fromkeys(numbers, b"")
    try:
        for field in fields(data, 0, len(data)):
            if field.number in found and field.kind == BYTES:
                found[field.number] = data[field.start : field.end]
    except Malformed:
        if not cut:
            raise
    try:
        return [text.decode() for text in found.values()]
    except UnicodeDecodeError:
        raise _none() from None


def check_inference(data: bytes, max_images: int) -> None:
    """Raises `Malformed` where an inference's message has more parts than any good one."""
    for field in fields(data, 0, len(data)):
        if field.number == INPUTS and field.kind == BYTES:
            _check_input(data, field, max_images)
        if field.number == OUTPUTS and field.kind == BYTES:
            for _ in fields(data, field.start, field.end):
                pass


def _check_input(data: bytes, tensor: Field, max_images: int) -> None:
    for field in fields(data, tensor.start, tensor.end):
        if field.number == SHAPE and field.end - field.start > MOST_FIELDS:
            raise Malformed("a shape has more sides than the model's input.")
        if field.number == CONTENTS and field.kind == BYTES:
            _check_contents(data, field, max_images)


def _check_contents(data: bytes, contents: Field, max_images: int) -> None:
    numbers = max_images * PIXELS
    for field in fields(data, contents.start, contents.end, max_images + MOST_FIELDS):
        if field.number == UINT_CONTENTS and field.end - field.start > numbers * LONGEST_VARINT:
            raise Malformed(f"uint_contents holds more than {numbers:,} numbers, which is the limit.", limit=numbers)


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A number of 64 bits at most, and where it ends."""
    value = 0
    for place, byte in enumerate(data[start : min(end, start + LONGEST_VARINT)]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, start + place + 1
    raise _none()


def _none() -> Malformed:
    return Malformed("the bytes are no message of the type inference.ModelInferRequest.")
