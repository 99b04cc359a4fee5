"""`python -m qa.corpus [--port P …]`: record what the service answers to many requests, as JSON on stdout.

In: flags of the service, and `--folder`, the checkout whose service is asked. Out: for each request the status, the
headers and the body, with sentences for people, ids and times masked; then the samples of the metrics that count. Two
recordings, before and after a change that should change no behaviour, are compared with diff.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tests.support.service import MODELS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "service" / "page"
MASKED = re.compile(rb'"(detail|error|request_id|message)":"(?:[^"\\]|\\.)*"')
COUNTED = re.compile(r"^mnist_(?!.*(?:seconds|created|_time|bytes|depth|progress|connections)).*$", re.MULTILINE)


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Names, media types and bodies of pictures, good and bad."""
    rng = np.random.default_rng(0)
    seven = (PAGE / "seven.png").read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(seven)).convert("L"))
    grey = np.asarray(Image.fromarray(pixels).resize((28, 28)))

    def encoded(array: Any, kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(array).save(file, kind, **options)
        return file.getvalue()

    yield "seven", "image/png", seven
    for size in (1, 8, 28, 29, 64, 280, 1000):
        picture = np.asarray(Image.fromarray(pixels).resize((size, size)))
        yield f"png {size}", "image/png", encoded(picture, "PNG")
        yield f"negative {size}", "image/png", encoded(255 - picture, "PNG")
        yield f"jpeg {size}", "image/jpeg", encoded(picture, "JPEG")
    yield "noise", "image/png", encoded(rng.integers(0, 256, (90, 90), np.uint8), "PNG")
    yield "blank", "image/png", encoded(np.zeros((28, 28), np.uint8), "PNG")
    yield "white", "image/png", encoded(np.full((50, 50), 255, np.uint8), "PNG")
    yield "gif", "image/gif", encoded(grey, "GIF")
    yield "bmp", "image/bmp", encoded(grey, "BMP")
    yield "cut png", "image/png", seven[:100]
    yield "cut jpeg", "image/jpeg", encoded(pixels, "JPEG")[:-200]
    yield "changed png", "image/png", seven[:60] + b"xx" + seven[62:]
    yield "text", "image/png", b"hello"
    yield "empty", "image/png", b""
    for count in (0, 1, 3, 64, 65, 4096, 4097):
        yield f"pixels {count}", "application/octet-stream", grey.tobytes() * count
    yield "pixels float32", "application/octet-stream", (grey / 255).astype(np.float32).tobytes()
    yield "pixels and a half", "application/octet-stream", grey.tobytes() + b"\0" * 100
    yield "npy", "application/x-npy", _npy(grey[None])
    rows = grey.tolist()
    values: dict[str, Any] = {
        "rows": {"image": rows},
        "flat": {"image": grey.ravel().tolist()},
        "images": {"images": [rows, rows]},
        "images with an error": {"images": [rows, rows[:5], "xx"]},
        "instances": {"instances": [rows]},
        "scaled": {"image": (grey / 255).tolist()},
        "over": {"image": [[300] * 28] * 28},
        "base64": {"image": base64.b64encode(seven).decode()},
        "base64 url-safe": {"image": base64.urlsafe_b64encode(seven).decode().rstrip("=")},
        "data url": {"image": "data:image/png;base64," + base64.b64encode(seven).decode()},
        "bad base64": {"image": "!!!"},
        "b64": {"instances": [{"b64": base64.b64encode(seven).decode()}]},
        "no key": {"picture": 1},
        "none": {"images": []},
        "null": None,
        "a list": [1, 2],
    }
    for name, value in values.items():
        yield f"json {name}", "application/json", json.dumps(value).encode()
    yield "json broken", "application/json", b'{"image": [[1, 2'
    yield "json deep", "application/json", b"[" * 5000
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + seven + b"\r\n--x--\r\n"
    yield "form", "multipart/form-data; boundary=x", form
    yield "form of two", "multipart/form-data; boundary=x", form.replace(b"\r\n--x--\r\n", b"\r\n" + form)
    yield "form without end", "multipart/form-data; boundary=x", form[:-8]
    yield "form without files", "multipart/form-data; boundary=x", b"--x--\r\n"
    yield "form without boundary", "multipart/form-data", form
    yield "no media type", "", seven
    yield "another media type", "text/html", seven
    yield "large png", "image/png", encoded(rng.integers(0, 256, (400, 400), np.uint8), "PNG")


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def requests() -> Iterator[tuple[str, bytes]]:
    """Names and bytes of requests."""
    for name, kind, body in bodies():
        for path in ("/predict", "/predict?explain=1", "/predictions/mnist-mlp", "/v1/models/mnist-mlp:predict"):
            yield f"{path} {name}", post(path, body, f"Content-Type: {kind}" if kind else "X-None: 1")
    seven = (PAGE / "seven.png").read_bytes()
    pixels = bytes(784)
    yield "PUT a file", post("/predictions/mnist-mlp", seven).replace(b"POST", b"PUT", 1)
    for path in [
        "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/mnist-mlp",
        "/v1/models", "/v1/models/mnist-mlp", "/v1/models/other", "/v2/models/mnist-mlp/versions/50",
        "/v2/models/mnist-mlp/versions/1", "/v2/models/other", "/v2/models/mnist-mlp/ready",
        "/v2/models/mnist-mlp/config",
        "/v2/models/stats", "/livez", "/readyz", "/healthz", "/model", "/", "/docs", "/nothing", "/predict",
        "/metrics/x",
        "/v2/repository/index", "/LIVEZ", "/livez/", "/%6civez", "/favicon.ico",
    ]:  # fmt: skip
        yield f"GET {path}", f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for model in ("mnist-mlp", "mnist-mlp/versions/50", "mnist-mlp/versions/9", "x"):
        path = f"/v2/models/{model}/infer"
        yield f"{path} raw", post(path, pixels, "Inference-Header-Content-Length: 0")
        yield f"{path} raw wrong", post(path, pixels[:-1], "Inference-Header-Content-Length: 0")
        for name, document in documents(seven).items():
            yield f"{path} {name}", post(path, json.dumps(document).encode(), "Content-Type: application/json")
    infer = "/v2/models/mnist-mlp/infer"
    for length in ("-1", "9999", "x", "1" * 50):
        yield f"header length {length}", post(infer, pixels, f"Inference-Header-Content-Length: {length}")
    for encoding in ("gzip", "br", "identity", "deflate"):
        yield f"encoding {encoding}", post(infer, pixels, f"Content-Encoding: {encoding}")
    for timeout in ("1000", "0", "x", "9" * 20):
        yield f"timeout {timeout[:9]}", post("/predict", seven, f"X-Request-Timeout-Ms: {timeout}")
    for given in ("abc", "a b", "x" * 65, "ok.1:2-3_4"):
        yield f"request id {given[:9]}", post("/predict", seven, f"X-Request-ID: {given}")
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"):
        yield f"{method} /predict", f"{method} /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    yield "1.0", b"POST /predict HTTP/1.0\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(seven) + seven
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield "chunked", head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(seven), seven)
    yield "two lengths", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"
    yield "no host", b"GET /livez HTTP/1.1\r\n\r\n"
    yield "garbage", b"\x16\x03\x01garbage\r\n\r\n"
    load = "/v2/repository/models/mnist-mlp/load"
    yield "load", post(load, b"{}")
    yield "other origin", post(load, b"{}", "Origin: http://evil", "Sec-Fetch-Site: cross-site")


def documents(seven: bytes) -> dict[str, Any]:
    """Requests of the Open Inference Protocol, good and bad."""
    tensor: dict[str, Any] = {"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
    encoded = base64.b64encode(seven).decode()

    def one(**more: Any) -> dict[str, Any]:
        return {"inputs": [tensor | more]}

    return {
        "good": one(),
        "with an id": one() | {"id": "a"},
        "classes": one() | {"parameters": {"classification": 3}},
        "outputs": one() | {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]},
        "nested": one(data=[[[[0] * 28] * 28]]),
        "bytes": one(datatype="BYTES", shape=[1], data=[encoded]),
        "two bytes": one(datatype="BYTES", shape=[2], data=[encoded, "xx"]),
        "shape": one(shape=[2, 1, 28, 28]),
        "rank": one(shape=[1] * 9),
        "type": one(datatype="FP32"),
        "name": one(name="x"),
        "over": one(data=[300] * 784),
        "few": one(data=[1]),
        "two inputs": {"inputs": [tensor, tensor]},
        "none": {},
        "wrong id": one() | {"id": 5},
        "long id": one() | {"id": "x" * 2000},
        "classification": one() | {"parameters": {"classification": "x"}},
    }


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request's bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(port: int, request: bytes) -> bytes:
    """Everything that comes back on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(65536):
            found += piece
        return found


def masked(found: bytes) -> dict[str, Any]:
    """An answer without what differs from run to run."""
    head, _, body = found.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    lines = sorted(line.lower() for line in lines)
    names = [line for line in lines if not line.startswith(("date:", "x-request-id:", "content-length:"))]
    ids = [line for line in lines if line.startswith("x-request-id:")]
    text = MASKED.sub(rb'"\1":"."', body)
    shown = text.decode("latin-1") if len(text) < 3000 else f"{len(text)} bytes"
    return {"status": status, "headers": names, "ids": len(ids), "body": shown}


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser(prog="python -m qa.corpus", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT, help="the checkout whose service is asked")
    options, flags = parser.parse_known_args()
    settings = {"PORT": "0", "WORKERS": "1", "MODEL_DIR": str(MODELS), "MODEL_VERSION": "50", "ADMIN": "true"}
    environment = os.environ | {f"MNIST_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "service", *flags]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=options.folder, env=environment, **pipes) as process:
        assert process.stdout
        port = next(int(found[1]) for line in process.stdout if (found := re.search(r"page +http://[^:]+:(\d+)", line)))
        recorded: dict[str, Any] = {name: masked(answer(port, request)) for name, request in requests()}
        counted = answer(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").decode()
        recorded["metrics"] = sorted(COUNTED.findall(counted))
        process.terminate()
    json.dump(recorded, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
