"""Requests as bytes, connections of their own, and the responses that come back on them."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service import Service

OCTETS = "application/octet-stream"
MADE = re.compile(rb"[0-9a-f]{12}-[0-9a-f]+")  # an id
LOAD, UNLOAD = (f"/v2/repository/models/mnist-mlp/{verb}" for verb in ("load", "unload"))


def post(body: bytes, *headers: str, version: str = "1.1", kind: str = "image/png") -> bytes:
    """A `POST /predict` as bytes."""
    lines = [f"POST /predict HTTP/{version}", "Host: x", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def read_response(stream: BinaryIO) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next response."""
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def digit_of(body: bytes) -> int:
    return int(json.loads(body)["predictions"][0]["digit"])


def connect(service: Service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(service: Service, *parts: bytes) -> bytes:
    """All that comes back on a connection until the service closes it."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:  # closed while more was there
            pass
        return received


class Response(NamedTuple):
    """An answer."""

    status: int
    headers: list[bytes]
    body: bytes


def responses(service: Service, sent: bytes) -> list[Response]:
    """The answers to a client who sends this and no more."""
    host, port = service.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:  # closed while more was there
            pass
    return list(split_responses(received))


def split_responses(received: bytes) -> Iterator[Response]:
    """Each answer, without its date and the id that was made for it."""
    for one in re.split(rb"(?=HTTP/1\.1 \d{3} [A-Z])", received)[1:]:
        head, _, body = MADE.sub(b"", one).partition(b"\r\n\r\n")
        status, *headers = head.split(b"\r\n")
        kept = [line for line in headers if not line.startswith((b"date", b"content-length"))]
        yield Response(int(status.split()[1]), sorted(kept), body)
