"""Malicious bodies and requests: bombs, ambiguous framing, garbled bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import socket
import struct
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from tests.support import formats
from tests.support.processes import forget_memory, most_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

PREDICT, INFER = "/predict", "/v2/models/mnist-mlp/infer"
MEBIBYTE = 2**20
# A request that is hidden behind another one: whoever answers it was deceived about where that one ends.
SMUGGLED = b"GET /model HTTP/1.1\r\nHost: smuggled\r\n\r\n"
ONCE = (  # headers that have one value, which readers could take from the first line or from the last
    b"Content-Type Content-Encoding Authorization X-API-Key X-Request-ID x-request-timeout-ms Expect Upgrade Origin "
    b"Inference-Header-Content-Length Sec-Fetch-Site Range"
).split()
NO_TARGETS = (
    b"http://h http:// a://b ws://x http://[::1 http://[::1] http:///x http://h?x http://h#x http://h:x/ "
    b"http://h:99999/ http://u@h/predict http://u:p@h/predict ftp://h/predict http://h/predict#x /predict#x #x ?x h:80 "
    b"http:/x http: :// * predict http://[::1]x/predict http://h:1:2/predict http://h\\@x/predict /\xff http://\xff/a"
).split()
NO_HOSTS = b"[ ] [::1 x/y x?y x#y @ u@h x:y x:99999 x:80:80 [::1]x http://x x\\ <x> \xff".split()


class Body(NamedTuple):
    """A request's body that is small, and would be large, deep or slow."""

    path: str
    content: bytes
    headers: dict[str, str] | None = None


def png(*chunks: tuple[bytes, bytes], side: int = 28) -> bytes:
    """A grey PNG of side × side pixels, of which it holds a million at most, with more chunks before them."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(min(side * (side + 1), 1_000_000)), 9)
    whole = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in whole
    )


def jpeg_of_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan, a few bytes that go over all of the picture, comes `count` times."""
    file = io.BytesIO()
    Image.new("L", (side, side), 200).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def nested(depth: int) -> bytes:
    """Lists in lists."""
    return b"[" * depth + b"]" * depth


def bombs_in_other_formats() -> dict[str, bytes]:
    """By name: files that are neither PNG nor JPEG."""
    rows = {"t278": 1, "t273": (8,) * 1_000_000, "t279": (5,) * 1_000_000}
    tile = formats.box(b"dimg", struct.pack(">HH", 1, 4000) + struct.pack(">H", 2) * 4000)
    return {
        "WebP of 16,384 × 16,384": b"RIFF\x7f\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + b"\xff" * 4 + bytes(99),
        "WebP of 1,000,000 chunks": formats.encode(Image.new("L", (28, 28)), "WEBP", exif=b"x")
        + b"JUNK\0\0\0\0" * 1_000_000,
        "GIF of 65,535 × 65,535": formats.gif(screen=(65_535, 65_535)),
        "GIF of 5,000,000 blocks": formats.gif(b"!\xfe" + b"\1x" * 5_000_000 + b"\0"),
        "BMP of 65,536 × 32,768 in run lengths": formats.bmp_in_run_lengths(65_536, 32_768, b"\0\0"),
        "BMP of 3,000,000 run lengths": formats.bmp_in_run_lengths(7000, 7000, b"\0\0" * 3_000_000),
        "TIFF of 65,000 tags": formats.tiff(formats.grey_tiff(40, 30), bytes(1200), more=65_000),
        "TIFF of 1,000,000 strips": formats.tiff(formats.grey_tiff(5, 1_000_000, **rows), bytes(5)),
        "TIFF in tiles of 60,000 × 60,000": formats.tiff(
            {256: 40, 257: 30, 258: 8, 259: 5, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 9}, bytes(9)
        ),
        "AVIF of 50,000 × 50,000": formats.boxes(50_000, 50_000),
        "AVIF of 60,000 items": formats.boxes(40, 30, items=[(item, b"av01") for item in range(2, 60_000)]),
        "AVIF of 4,000 times the same tile": formats.boxes(
            8000, 8000, kind=b"grid", references=tile, items=[(2, b"av01")], tile=8000
        ),
    }


def bombs() -> dict[str, Body]:
    """By name: each must be refused by a 4xx, at no great cost."""
    zeros = zlib.compress(bytes(200 * MEBIBYTE), 9)
    text = zlib.compress(bytes(MEBIBYTE - 1), 9)
    json_type = {"Content-Type": "application/json"}
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return {
        "PNG of 50,000 × 50,000": Body(PREDICT, png(side=50_000)),
        "PNG with 200 MiB of text": Body(PREDICT, png((b"zTXt", b"a\0\0" + zeros))),
        "PNG with 60 texts of 1 MiB": Body(PREDICT, png(*[(b"zTXt", b"a\0\0" + text)] * 60)),
        "PNG with a colour profile of 200 MiB": Body(PREDICT, png((b"iCCP", b"a\0\0" + zeros))),
        "JPEG of 5,000 scans": Body(PREDICT, jpeg_of_scans(5000, 5000)),
        **{name: Body(PREDICT, content) for name, content in bombs_in_other_formats().items()},
        "form of 100,000 parts": Body(PREDICT, part * 100_000 + b"--b--\r\n", form),
        "JSON 1,000 deep": Body(PREDICT, nested(1000), json_type),
        "JSON of 5,000,000 lists": Body(PREDICT, b'{"image":[' + b"[]," * 5_000_000 + b"[]]}", json_type),
        "inference, JSON 1,000 deep": Body(INFER, b'{"inputs":' + nested(1000) + b"}"),
        "inference, JSON of 5,000,000 lists": Body(INFER, b'{"inputs":[' + b"[]," * 5_000_000 + b"[]]}"),
        "inference, 200 MiB of gzip": Body(
            INFER, gzip.compress(bytes(200 * MEBIBYTE), 9), {"Content-Encoding": "gzip"}
        ),
    }


def wrong_framing() -> dict[str, bytes]:
    """By name: requests whose end a proxy and the service could see in different places, each to be refused by 400."""
    start = b"POST /predict HTTP/1.1\r\n"
    head = start + b"Host: x\r\n"
    one = b"Content-Length: 1\r\n\r\na"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    end = b"a\r\n0\r\n\r\n"

    def length(value: bytes) -> bytes:
        return head + b"Content-Length: %b\r\n\r\na" % value

    def coding(value: bytes) -> bytes:
        return head + b"Transfer-Encoding: %b\r\n\r\n1\r\n%b" % (value, end)

    def chunk(line: bytes) -> bytes:
        return head + chunked + line + end

    def twice(name: bytes) -> bytes:
        return head + b"%b: 1\r\n%b: 2\r\n" % (name, name) + one

    def target(value: bytes) -> bytes:
        return (head + one).replace(b"/predict", value)

    twices = {f"two {name.decode()} headers": twice(name) for name in ONCE}
    targets = {f"target {value.decode('latin-1')}": target(value) for value in NO_TARGETS}
    hosts = {f"host {value.decode('latin-1')}": (head + one).replace(b": x", b": " + value) for value in NO_HOSTS}
    return {
        **twices,
        **targets,
        **hosts,
        "length, then chunked": head + b"Content-Length: 4\r\n" + chunked + b"1\r\n" + end,
        "chunked, then length": head + b"Transfer-Encoding: chunked\r\n" + b"Content-Length: 4\r\n\r\n1\r\n" + end,
        "two lengths": head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "one length twice": head + b"Content-Length: 1\r\n" + one,
        "list of lengths": length(b"1, 1"),
        "length with a plus": length(b"+1"),
        "length with a minus": length(b"-1"),
        "hexadecimal length": length(b"0x1"),
        "empty length": length(b""),
        "length in two words": length(b"1 0"),
        "length over 64 bits": length(b"9" * 20),
        "length after a vertical tab": length(b"\x0b1"),
        "folded line": head + b"X: a\r\n b\r\n" + one,
        "folded length": head + b"Content-Length:\r\n 1\r\n\r\na",
        "folded coding": head + b"Transfer-Encoding:\r\n chunked\r\n\r\n1\r\n" + end,
        "space before the first header": start + b" Host: x\r\n" + one,
        "bare line feeds": (head + one).replace(b"\r\n", b"\n"),
        "bare line feed after a header": head + b"X: a\n" + one,
        "bare line feed at the head's end": head + b"Content-Length: 1\r\n\na",
        "bare carriage return": head + b"X: a\rY: b\r\n" + one,
        "space before the colon": head + b"Content-Length : 1\r\n\r\na",
        "tab before the colon": head + b"Content-Length\t: 1\r\n\r\na",
        "space in a name": head + b"Content Length: 1\r\n\r\na",
        "no name": head + b": a\r\n" + one,
        "no colon": head + b"foo\r\n" + one,
        "null in a value": head + b"X: a\0b\r\n" + one,
        "null in a name": head + b"X\0: a\r\n" + one,
        "control character in a value": head + b"X: a\x01b\r\n" + one,
        "no host": start + one,
        "two hosts": head + b"Host: y\r\n" + one,
        "chunked in two headers": head + b"Transfer-Encoding: chunked\r\n" + chunked + b"1\r\n" + end,
        "chunked twice": coding(b"chunked, chunked"),
        "identity, then chunked": head + b"Transfer-Encoding: identity\r\n" + chunked + b"1\r\n" + end,
        "gzip, chunked": coding(b"gzip, chunked"),
        "xchunked": coding(b"xchunked"),
        "chunked in quotes": coding(b'"chunked"'),
        "chunked after a vertical tab": coding(b"\x0bchunked"),
        "identity": coding(b"identity"),
        "empty coding": coding(b""),
        "chunked in HTTP/1.0": coding(b"chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
        "hexadecimal chunk": chunk(b"0x1\r\n"),
        "chunk with a plus": chunk(b"+1\r\n"),
        "chunk with a minus": chunk(b"-1\r\n"),
        "space before a chunk's size": chunk(b" 1\r\n"),
        "space after a chunk's size": chunk(b"1 \r\n"),
        "chunk without a number": chunk(b"\r\n"),
        "chunk over 64 bits": chunk(b"f" * 17 + b"\r\n"),
        "bare line feed after a chunk's size": chunk(b"1\n"),
        "bare line feed in a chunk's extension": chunk(b"1;a\n"),
        "carriage return in a chunk's extension": chunk(b"1;a\rb\r\n"),
        "null in a chunk's extension": chunk(b"1;\0\r\n"),
        "chunk longer than its size": head + chunked + b"1\r\nabc\r\n0\r\n\r\n",
        "bare line feed after a chunk": head + chunked + b"1\r\na\n0\r\n\r\n",
        "length in a trailer": head + chunked + b"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.2": (head + one).replace(b"HTTP/1.1", b"HTTP/1.2"),
        "HTTP/2.0": (head + one).replace(b"HTTP/1.1", b"HTTP/2.0"),
        "HTTP/0.9": (head + one).replace(b"HTTP/1.1", b"HTTP/0.9"),
        "CONNECT": (head + one).replace(b"POST /predict", b"CONNECT x:80"),
        "method in small letters": (head + one).replace(b"POST", b"post"),
        "tabs in the request line": (head + one).replace(b"POST /predict ", b"POST\t/predict\t"),
        "space in the target": (head + one).replace(b"/predict", b"/pre dict"),
        "null in the target": (head + one).replace(b"/predict", b"/pre\0dict"),
    }


def garbled(count: int, *, seed: int) -> Iterator[bytes]:
    """Good and wrong requests, one after the other, with bytes changed, cut out, doubled, or put in from others."""
    rng = np.random.default_rng(seed)
    image = b"Content-Type: application/octet-stream\r\nContent-Length: 784\r\n\r\n" + bytes(784)
    seeds = [
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\n" + image,
        b"POST /v2/models/mnist-mlp/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\n" + image,
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        *wrong_framing().values(),
    ]
    pieces = [
        b"\r\n",
        b"\n",
        b"\0",
        b":",
        b" ",
        b"%00",
        b"Content-Length: 5\r\n",
        b"HTTP/1.1",
        b"//",
        b"http://",
        b"[",
        b"#",
        b"?",
        b"%2f",
        b"Upgrade: h2c\r\n",
        b"Host: y\r\n",
        b"\xff",
        b"9" * 30,
    ]
    for _ in range(count):
        request = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(min(len(request), 200) + 1))
            match rng.integers(4):
                case 0:
                    request[at : at + 1] = rng.bytes(1)
                case 1:
                    del request[at : at + int(rng.integers(1, 20))]
                case 2:
                    request[at:at] = request[at : at + int(rng.integers(1, 40))]
                case _:
                    request[at:at] = pieces[rng.integers(len(pieces))]
        yield bytes(request)


class Fate(NamedTuple):
    """What became of garbled bytes that a client sent and sent no more."""

    statuses: list[int]  # of the answers
    seconds: float  # until it was closed


def fate(url: str, sent: bytes) -> Fate:
    """Send this, say that there is no more, and read until the service closes."""
    host, port = url.removeprefix("http://").split(":")
    began, received = time.perf_counter(), b""
    with socket.create_connection((host, int(port)), timeout=30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            received += piece
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", received)]
    return Fate(statuses, time.perf_counter() - began)


def with_changed_bytes(data: bytes, *, count: int, seed: int = 0) -> Iterator[bytes]:
    """`data` with one byte changed, at a random place and in a random way, `count` times."""
    rng = np.random.default_rng(seed)
    for place, change in zip(rng.integers(len(data), size=count), rng.integers(1, 256, size=count), strict=True):
        yield data[:place] + bytes([data[place] ^ int(change)]) + data[place + 1 :]


def costs(client: httpx.Client, pid: int, body: Body) -> tuple[int, float, int]:
    """The status of the answer, seconds, and the bytes that the service held more than before at most."""
    forget_memory(pid)
    before, started = most_memory(pid), time.perf_counter()
    status = client.post(body.path, content=body.content, headers=body.headers).status_code
    return status, time.perf_counter() - started, most_memory(pid) - before
