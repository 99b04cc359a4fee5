"""What is read in the event loop, or would be if it were small: time grows as the size does, and memory has a limit.

Each shape is made in several sizes, all but the smallest far larger than what the loop itself reads.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from service import body, framing, openinference, texts, values
from tests import scaling
from tests.scaling import Repeated

if TYPE_CHECKING:
    from collections.abc import Callable

PART = b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n'
IMAGES, IMAGE = b'{"images":[', b'{"image":"'
INPUT = b'{"inputs":[{"name":"images","shape":[1,1,28,28],"datatype":"UINT8","data":['
SHAPE = b'{"inputs":[{"name":"images","datatype":"BYTES","data":[""],"shape":['
NAME = b'{"inputs":[{"name":"'

FORMS = {
    "one file": Repeated(b"x", PART, b"\r\n--b--"),
    "parts": Repeated(b"--b\r\n\r\n\r\n"),
    "files": Repeated(PART + b"x\r\n", end=b"--b--"),
    "boundaries that are none": Repeated(b"\r\n--bX", PART, b"\r\n--b--"),
    "boundaries that begin": Repeated(b"\r\n--", PART + b"\r\n", b"\r\n--b--"),
    "carriage returns": Repeated(b"\r", PART, b"\r\n--b--"),
    "spaces behind a boundary": Repeated(b" ", b"--b\r\n\r\n\r\n--b"),
    "a preamble of lines": Repeated(b"\r\n"),
    "a preamble of dashes": Repeated(b"-", b"\r\n"),
    "an epilogue": Repeated(b"\r\n", PART + b"x\r\n--b--"),
    "one name": Repeated(b"a", b"--b\r\n"),
    "one value": Repeated(b" ", b"--b\r\na:"),
    "headers": Repeated(b"a: b\r\n", b"--b\r\n"),
    "parameters": Repeated(b";a=b", b"--b\r\nContent-Disposition: x", b"\r\n\r\nx\r\n--b--"),
    "parts of parameters": Repeated(b"--b\r\nContent-Disposition: x" + b";" * 2000 + b"\r\n\r\nx\r\n", end=b"--b--"),
}
JSONS = {
    "lists": Repeated(b"[", IMAGES),
    "objects": Repeated(b'{"":', IMAGES),
    "empty lists": Repeated(b"[],", IMAGES, b"[]]}"),
    "numbers": Repeated(b"1,", IMAGES, b"1]}"),
    "one number": Repeated(b"1", IMAGES, b"]}"),
    "one fraction": Repeated(b"1", IMAGES + b"0.", b"]}"),
    "one text": Repeated(b"A", IMAGE, b'"}'),
    "escapes": Repeated(b"\\u0041", IMAGE, b'"}'),
    "words": Repeated(b"A ", IMAGE, b'"}'),
    "spaces": Repeated(b" ", IMAGE, b'"}'),
    "letters of another alphabet": Repeated("д".encode(), IMAGE, b'"}'),
    "a data URL's parameters": Repeated(b";a", IMAGE + b"data:a/b", b',"}'),
    "a data URL's type": Repeated(b"a", IMAGE + b"data:", b',"}'),
    "a data URL": Repeated(b"AAAA", IMAGE + b"data:image/png;base64,", b'"}'),
    "names": Repeated(b"a", b'{"', b'":1}'),
    "white space": Repeated(b" ", b"{", b"}"),
}
INFERENCES = {
    "data": Repeated(b"1,", INPUT, b"1]}]}"),
    "nested data": Repeated(b"[", INPUT),
    "a shape": Repeated(b"4611686018427387904,", SHAPE, b"1]}]}"),
    "a name": Repeated(b"\\u0001", NAME, b'"}]}'),
    "an id": Repeated(b"a", b'{"id":"', b'","inputs":[{}]}'),
    "parameters": Repeated(b'"a":1,', b'{"parameters":{', b'"b":1}}'),
}


def texts_of(made: bytes) -> bytes:
    """Base64, whose errors are not the service's yet."""
    try:
        return texts.decoded_lines(made.decode())
    except ValueError:
        return b""


def one_header(size: int) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"transfer-encoding", b" " * size)]


def check_head(made: list[tuple[bytes, bytes]]) -> None:
    framing.check("1.1", b"POST", made, dict(made))


def content_type(size: int) -> str:
    return "multipart/form-data" + ";a=b" * (size // 4)


def typed(made: str) -> object:
    return body.parse(made, b"--b--", max_images=64)


def document(size: int, **changes: Any) -> dict[str, Any]:
    """A request as gRPC makes it of a message: as long as its message may be, whatever JSON would be refused for."""
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [b""] * (size // 2)}
    return {"inputs": [tensor | {key: value * size for key, value in changes.items()}]}


def numbers(size: int) -> dict[str, Any]:
    """Numbers as gRPC makes them of a message."""
    return {"inputs": [{"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [7] * size}]}


def read_document(made: dict[str, Any]) -> object:
    return openinference.read(made, b"", max_images=64)


def elements(size: int) -> bytes:
    """BYTES elements that are empty."""
    return bytes(size)


def read_elements(made: bytes) -> object:
    tensor = {"name": "images", "shape": [64], "datatype": "BYTES", "parameters": {"binary_data_size": len(made)}}
    return openinference.read({"inputs": [tensor]}, made, max_images=64)


def parsed(kind: str) -> Callable[[bytes], object]:
    return functools.partial(body.parse, kind, max_images=64)


Reading = tuple["Callable[[Any], object]", "Callable[[int], Any]"]
READINGS: dict[str, Reading] = (
    {f"a form, {name}": (parsed("multipart/form-data; boundary=b"), make) for name, make in FORMS.items()}
    | {f"JSON, {name}": (parsed("application/json"), make) for name, make in JSONS.items()}
    | {f"an inference, {name}": (functools.partial(openinference.parse, header_length=None, max_images=64), make)
       for name, make in INFERENCES.items()}
    | {
        "values": (functools.partial(values.check, max_images=64), Repeated(b",")),
        "pixels": (parsed("application/octet-stream"), Repeated(bytes(784))),
        "no picture": (parsed("application/x"), Repeated(b" ")),
        "base64": (texts_of, Repeated(b"AAAA")),
        "base64 of words": (texts_of, Repeated(b"A ")),
        "base64 of signs": (texts_of, Repeated(b"=")),
        "one header": (check_head, one_header),
        "a Content-Type": (typed, content_type),
        "a message of elements": (read_document, document),
        "a message of sides": (read_document, functools.partial(document, shape=[2**62])),
        "a message of numbers": (read_document, numbers),
        "a message's name": (read_document, functools.partial(document, name="\0")),
        "a message's datatype": (read_document, functools.partial(document, datatype="\U000e0001")),
        "elements": (read_elements, elements),
    }
)  # fmt: skip
# Bytes at the peak for each that is read: the text as Python has it, and what is made of it.
MEMORY = 6.0


@pytest.mark.parametrize("name", READINGS)
def test_reading_is_linear(name: str) -> None:
    """The exponent of CPU time over size is at most 1.3, and memory stays within its multiple of the input."""
    read, make = READINGS[name]
    scaling.check(read, make, memory=MEMORY)
