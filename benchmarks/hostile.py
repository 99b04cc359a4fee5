"""What the service does with bodies made to hurt, and with model files that were spoilt: the long form of the tests.

In: nothing. Out: a table of each body's answer, time and memory, and what became of a thousand changed bytes.

    python -m benchmarks.hostile
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import struct
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import numpy as np
from PIL import Image

from benchmarks.servers import ours
from service.classifier import GOLDEN_TOLERANCE, Classifier
from service.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREDICT, INFER = "/predict", "/v2/models/mnist-mlp/infer"
VERSION = Path("models/mnist-mlp/2")
CHANGES = 1000
MEBIBYTE = 2**20


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
        "form of 100,000 parts": Body(PREDICT, part * 100_000 + b"--b--\r\n", form),
        "JSON 1,000 deep": Body(PREDICT, nested(1000), json_type),
        "JSON of 5,000,000 lists": Body(PREDICT, b'{"image":[' + b"[]," * 5_000_000 + b"[]]}", json_type),
        "inference, JSON 1,000 deep": Body(INFER, b'{"inputs":' + nested(1000) + b"}"),
        "inference, JSON of 5,000,000 lists": Body(INFER, b'{"inputs":[' + b"[]," * 5_000_000 + b"[]]}"),
        "inference, 200 MiB of gzip": Body(
            INFER, gzip.compress(bytes(200 * MEBIBYTE), 9), {"Content-Encoding": "gzip"}
        ),
    }


def most_memory(pid: int) -> int:
    """The most bytes that a process has held since `forget_memory`."""
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def forget_memory(pid: int) -> None:
    """Lets the count begin anew (Linux, proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def changed(data: bytes, *, count: int, seed: int = 0) -> Iterator[bytes]:
    """`data` with one byte changed, at a random place and in a random way, `count` times."""
    rng = np.random.default_rng(seed)
    for place, change in zip(rng.integers(len(data), size=count), rng.integers(1, 256, size=count), strict=True):
        yield data[:place] + bytes([data[place] ^ int(change)]) + data[place + 1 :]


def main() -> None:
    """Print both tables."""
    print(f"{'body':<38}{'bytes':>12}{'status':>8}{'ms':>8}{'MiB more':>10}")
    with ours(VERSION, workers=1) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        for name, body in bombs().items():
            client.get("/readyz")  # the connection is there
            status, seconds, grown = costs(client, server.pid, body)
            size = f"{len(body.content):,}"
            print(f"{name:<38}{size:>12}{status:>8}{seconds * 1000:>8.0f}{grown / MEBIBYTE:>10.0f}")
    print(f"\n{CHANGES:,} changed bytes of {VERSION}/model.onnx")
    for card, met in (("as it is", False), ("with their checksum", True)):
        print(f"under a card {card}: {dict(Counter(meet_changes(vouched_for=met)))}")


def costs(client: httpx.Client, pid: int, body: Body) -> tuple[int, float, int]:
    """The status of the answer, seconds, and the bytes that the service held more than before at most."""
    forget_memory(pid)
    before, started = most_memory(pid), time.perf_counter()
    status = client.post(body.path, content=body.content, headers=body.headers).status_code
    return status, time.perf_counter() - started, most_memory(pid) - before


def meet_changes(*, vouched_for: bool) -> Iterator[str]:
    """What became of each changed byte, in words."""
    good = Classifier.load(VERSION.parent, VERSION.name)
    pictures = np.random.default_rng(1).integers(0, 256, (100, 1, 28, 28), np.uint8)
    expected = good.predict(pictures)
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(VERSION, Path(temporary) / VERSION.name)
        for spoilt in changed((VERSION / "model.onnx").read_bytes(), count=CHANGES):
            (folder / "model.onnx").write_bytes(spoilt)
            if vouched_for:
                card = json.loads((VERSION / "model.json").read_text())
                (folder / "model.json").write_text(json.dumps(card | {"sha256": hashlib.sha256(spoilt).hexdigest()}))
            try:
                found = Classifier.load(folder.parent).predict(pictures)
            except ModelError:
                yield "refused"
            else:
                same = np.abs(found - expected).max() < GOLDEN_TOLERANCE
                yield "the same answers" if same else "other answers to noise than before"


if __name__ == "__main__":
    main()
