"""Messages between a worker and its readers: a header in JSON, and bytes, over a stream socket.

In: a header, bytes, and perhaps a file descriptor. Out: the same on the other side. Each message begins with the
lengths of its header and of its bytes. Nothing is unpickled: a reader that a picture has taken over can send wrong
numbers, but cannot run code in the worker.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTHS = struct.Struct(">II")
MAX_HEADER = 2**20  # bytes
_READ_BYTES = 2**15  # larger reads would map new pages each time


class Message(NamedTuple):
    """One message."""

    header: dict[str, Any]
    payload: bytes = b""


class ProtocolError(Exception):
    """Lengths or a header that no message has."""


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    header = orjson.dumps(message.header)
    return _LENGTHS.pack(len(header), len(message.payload)) + header + message.payload


class Decoder:
    """Reassembles messages from received bytes; at most `max_payload` bytes follow a header."""

    def __init__(self, max_payload: int) -> None:
        self._max_payload = max_payload
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that these bytes complete; raises `ProtocolError`."""
        self._received += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        start = _LENGTHS.size
        if len(self._received) < start:
            return None
        header_size, payload_size = _LENGTHS.unpack_from(self._received)
        if header_size > MAX_HEADER or payload_size > self._max_payload:
            raise ProtocolError(f"a message of {header_size} and {payload_size} bytes")
        end = start + header_size + payload_size
        if len(self._received) < end:
            return None
        header = _object(bytes(self._received[start : start + header_size]))
        payload = bytes(self._received[start + header_size : end])
        del self._received[:end]
        return Message(header, payload)


def _object(data: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(str(error)) from None
    if not isinstance(header, dict):
        raise ProtocolError(f"a header that is {type(header).__name__}")
    return header


def send(connection: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send a message, and a descriptor with its first bytes; wait where the socket blocks."""
    data = encode(message)
    sent = 0
    if descriptor is not None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        sent = connection.sendmsg([data], rights)
    connection.sendall(memoryview(data)[sent:])


def receive(connection: socket.socket, decoder: Decoder) -> tuple[Message, int | None] | None:
    """Return the next message and its descriptor; None when the other side has ended."""
    descriptor: int | None = None
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, _READ_BYTES, 1)
        if descriptors:
            (descriptor,) = descriptors
        if not data:
            return None
        for message in decoder.feed(data):  # the other side sends one message at a time
            return message, descriptor
