"""Requests that are made to take the service down, by what they ask of it.

In: nothing. Out: attacks, each with the bytes of its request, and how many clients send it at once. They are of the
kinds that were found to work once: work without a bound on what one request asks for.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import socket
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tests.support.hostile_bodies import INFER, PREDICT, jpeg_of_scans, png

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 33_000_000  # bytes of a body, within its limit
JSON = "Content-Type: application/json"


class Attack(NamedTuple):
    """A request, and how it is sent."""

    name: str
    sent: bytes
    clients: int = 8
    slow: bool = False  # its clients read nothing for a while
    silent: int = 0  # connections that are open meanwhile, and say nothing or a part of a head
    head: bytes = b""  # this part

    def connections(self, port: int) -> Iterator[contextlib.closing[socket.socket]]:
        """The connections that are open meanwhile; what is refused is left out."""
        for _ in range(self.silent):
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), timeout=5)
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.send(self.head)
                yield contextlib.closing(connection)


@functools.cache
def photograph() -> bytes:
    """A digit as a phone's camera takes it: 12 megapixels."""
    image = Image.new("RGB", (4000, 3000), (205, 200, 190))
    ImageDraw.Draw(image).line([(1200, 600), (2800, 600), (1700, 2500)], fill=(40, 40, 60), width=150)
    noise = np.random.default_rng(0).integers(0, 12, (3000, 4000, 1), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image) - noise).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def request(path: str, body: bytes, *headers: str) -> bytes:
    """A POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def packed(path: str, body: bytes, *headers: str) -> bytes:
    """The same, compressed."""
    return request(path, gzip.compress(body, 9), "Content-Encoding: gzip", *headers)


def jpeg(*segments: bytes) -> bytes:
    """A small JPEG with these segments before its own."""
    stream = io.BytesIO()
    Image.new("L", (60, 60), 200).save(stream, "JPEG")
    return stream.getvalue()[:2] + b"".join(segments) + stream.getvalue()[2:]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(before: bytes = b"", behind: bytes = b"") -> bytes:
    """A small PNG with chunks before and behind its pixels."""
    small = png()
    pixels, end = small.index(b"IDAT") - 4, small.index(b"IEND") - 4
    return small[:pixels] + before + small[pixels:end] + behind + small[end:]


def infer(tensor: dict[str, object], **others: object) -> bytes:
    """The JSON of an inference."""
    return json.dumps({"inputs": [tensor], **others}, separators=(",", ":")).encode()


def get(path: str) -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def attacks() -> Iterator[Attack]:
    """All of them."""
    yield from _of_tensors()
    yield from _of_pictures()
    yield from _of_forms()
    yield from _of_connections()


def _of_tensors() -> Iterator[Attack]:
    pixels: dict[str, object] = {"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
    sides: dict[str, object] = pixels | {"shape": [1] + [2**62] * 60_000, "datatype": "BYTES", "data": [""]}
    yield Attack("tensor: 60,000 sides of 2^62", packed(INFER, infer(sides)))
    elements = infer(
        {"name": "images", "shape": [64], "datatype": "BYTES", "parameters": {"binary_data_size": 32_000_000}}
    )
    header = f"Inference-Header-Content-Length: {len(elements)}"
    yield Attack("tensor: 8 million empty elements", packed(INFER, elements + bytes(32_000_000), header))
    yield Attack("tensor: 33 MB of zeros in gzip", packed(INFER, bytes(33_000_000)), clients=40)
    yield Attack(
        "tensor: an id of 33 MB in gzip", packed(INFER, infer(pixels, id="x" * LARGEST)), clients=20, slow=True
    )
    named = pixels | {"name": "\N{SNOWMAN}" * 5_000_000}
    yield Attack("tensor: a name of 30 MB in gzip", packed(INFER, infer(named)), clients=20, slow=True)
    yield Attack("tensor: numbers nested 1,000,000 deep", packed(INFER, b'{"inputs":' + b"[" * 1_000_000))
    yield Attack("tensor: 5 million values", packed(INFER, b'{"inputs":[' + b"[]," * 5_000_000 + b"[]]}"))


def _of_pictures() -> Iterator[Attack]:
    def repeated(part: bytes) -> bytes:
        return part * (LARGEST // len(part))

    for name, part in (
        ("markers", b"\xff\xe0\0\2"),
        ("comments", b"\xff\xfe\0\3x"),
        ("small Exif", b"\xff\xe1\0\x0aExif\0\0xx"),
        ("fill bytes", b"\xff"),
        ("junk", b"x"),
        ("Photoshop blocks", b"\xff\xed\xff\xfdPhotoshop 3.0\0" + (b"8BIM" + bytes(8)) * 5460 + b"\0"),
    ):
        yield Attack(f"jpeg: {name}", request(PREDICT, jpeg(repeated(part))), clients=4)
    yield Attack("jpeg: 98 scans of 49 megapixels", request(PREDICT, jpeg_of_scans(7000, 90)))
    yield Attack("jpeg: 20 scans of 49 megapixels", request(PREDICT, jpeg_of_scans(7000, 10)))
    for name, part in (("empty", chunk(b"abCd")), ("tEXt", chunk(b"tEXt", b"a\0b")), ("IDAT", chunk(b"IDAT"))):
        yield Attack(f"png: {name} chunks", request(PREDICT, png_with(before=repeated(part))), clients=4)
        yield Attack(f"png: {name} chunks behind", request(PREDICT, png_with(behind=repeated(part))), clients=4)
    stream = io.BytesIO()
    Image.new("RGBA", (7000, 7000), (1, 2, 3, 100)).save(stream, "PNG")
    yield Attack("png: 49 megapixels of four bytes", request(PREDICT, stream.getvalue()), clients=12)
    stream = io.BytesIO()
    Image.new("RGB", (7000, 7000), (1, 2, 3)).save(stream, "JPEG", progressive=True, subsampling=0)
    yield Attack("jpeg: 49 megapixels, progressive", request(PREDICT, stream.getvalue()), clients=12)


def _of_forms() -> Iterator[Attack]:
    url = b'{"image":"data:image/png' + b";a" * 16_000_000 + b';base64,AAAA"}'
    yield Attack("json: a data URL of 16 million ;a", request(PREDICT, url, JSON), clients=4)
    yield Attack(
        "json: base64 of single letters", request(PREDICT, b'{"image":"' + b"A " * 16_000_000 + b'"}', JSON), 4
    )
    form = "Content-Type: multipart/form-data; boundary=b"
    yield Attack("form: a header of 33 MB", request(PREDICT, b"--b\r\nX: " + b"x" * LARGEST, form), clients=4)
    part = b'--b\r\nContent-Disposition: form-data; name="a"' + b"; a=b" * 6_000_000 + b"\r\n\r\nx\r\n--b--\r\n"
    yield Attack("form: 6 million parameters", request(PREDICT, part, form), clients=4)
    empty = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n'
    yield Attack("form: 400,000 parts", request(PREDICT, empty * 400_000 + b"--b--\r\n", form), clients=4)
    chunks = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5_000_000
    yield Attack("chunks of one byte", chunks + b"0\r\n\r\n", clients=4)


def _of_connections() -> Iterator[Attack]:
    yield Attack("scrape: 64 scrapers", get("/metrics"), clients=64)
    yield Attack("scrape: 64 of statistics", get("/v2/models/stats"), clients=64)
    yield Attack("openapi.json, read late", get("/openapi.json"), clients=500, slow=True)
    yield Attack("8,000 silent connections", get("/livez"), clients=1, silent=8000)
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000
    yield Attack("2,000 heads of 200 kB, unfinished", get("/livez"), clients=1, silent=2000, head=head)
    body = request(PREDICT, bytes(60_000))[:-1]
    yield Attack("4,000 bodies of 60 kB, unfinished", get("/livez"), clients=1, silent=4000, head=body)
