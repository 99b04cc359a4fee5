"""Raw HTTP/2 for gRPC, as no client speaks it: calls without messages, messages without ends, answers not taken.

After RFC 9113 and gRPC over HTTP/2 (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md); headers are sent as plain literals.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW = 0, 1, 3, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW = 4  # a setting
LARGEST_FRAME = 16_384


class Connection:
    """One to HOST:PORT; `window` is how much of each stream's answer the server may send."""

    def __init__(self, address: str, *, window: int = 65_535) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self._stream = -1
        self._window = 65_535  # of the connection, to the server
        self._initial = 65_535
        self._windows: dict[int, int] = {}
        self._bytes = b""
        self.answers: dict[int, bytes] = {}  # headers and data of streams, as they are
        self.ended: set[int] = set()
        self.gone = False
        self._send(PREFACE + _frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, window)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def call(self, path: str, message: bytes | None = None, *, metadata: dict[str, str] | None = None) -> int:
        """Begin a call, with the message and the end of it, or with neither."""
        self._stream += 2
        self._windows[self._stream] = self._initial
        fixed = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers"}
        named = fixed | {"content-type": "application/grpc"} | (metadata or {})
        head = b"".join(_literal(name) + _literal(value, b"") for name, value in named.items())
        self._send(_frame(HEADERS, END_HEADERS, self._stream, head))
        if message is not None:
            self.send(self._stream, _message(message), end=True)
        return self._stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data of a call, as fast as the server takes it, until the call has ended."""
        at = 0
        while at < len(data) and stream not in self.ended and not self.gone:
            size = min(LARGEST_FRAME, self._window, self._windows[stream], len(data) - at)
            if size <= 0:
                self.receive()
                continue
            last = END_STREAM if end and at + size == len(data) else 0
            self._send(_frame(DATA, last, stream, data[at : at + size]))
            at += size
            self._window -= size
            self._windows[stream] -= size

    def ask(self, path: str, size: int) -> int:
        """Begin a call whose message is said to have so many bytes, of which one never comes."""
        stream = self.call(path)
        self.send(stream, struct.pack(">BI", 0, size) + bytes(size - 1))
        return stream

    def finish(self, *streams: int, seconds: float = 60) -> None:
        """Receive until these calls have ended, or the connection has."""
        until = time.monotonic() + seconds
        while not self.gone and not self.ended.issuperset(streams):
            assert time.monotonic() < until, f"{set(streams) - self.ended} have not ended"
            self.receive()

    def receive(self, seconds: float = 1) -> bool:
        """Take what comes within this time; False where nothing has."""
        self.socket.settimeout(seconds)
        try:
            found = self.socket.recv(65_536)
        except TimeoutError:
            return False
        except OSError:
            found = b""
        self.gone = not found
        self._bytes += found
        while len(self._bytes) >= 9 and len(self._bytes) >= (end := 9 + int.from_bytes(self._bytes[:3], "big")):
            frame, self._bytes = self._bytes[:end], self._bytes[end:]
            self._take(frame[3], frame[4], int.from_bytes(frame[5:9], "big"), frame[9:])
        return bool(found)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == INITIAL_WINDOW:
                    self._windows = {one: size + value - self._initial for one, size in self._windows.items()}
                    self._initial = value
            self._send(_frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._send(_frame(PING, ACK, 0, payload))
        elif kind == WINDOW and stream:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == WINDOW:
            self._window += int.from_bytes(payload, "big")
        elif kind in (DATA, HEADERS):
            self.answers[stream] = self.answers.get(stream, b"") + payload
        if kind == RESET or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(stream)

    def _send(self, data: bytes) -> None:
        self.socket.settimeout(30)
        with contextlib.suppress(ConnectionError):  # the next that is received says so
            self.socket.sendall(data)


def _message(data: bytes) -> bytes:
    return struct.pack(">BI", 0, len(data)) + data


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(text: str, before: bytes = b"\0") -> bytes:
    """A name (RFC 7541 section 6.2.2), or with nothing before it a value, of less than 127 bytes."""
    assert len(text) < 127
    return before + bytes([len(text)]) + text.encode()
