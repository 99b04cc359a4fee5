"""A name server that gives one list of addresses for every name, and another when the list is changed."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

A, IN = 1, 1  # an address of IPv4, of the internet


class Names(socketserver.UDPServer):
    """Answers questions of one name."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.addresses = addresses
        self.address = f"127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.BaseRequestHandler):
    server: Names

    def handle(self) -> None:
        query, connection = self.request
        end = query.index(b"\0", 12) + 5  # the name's end, type and class
        (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
        found = self.server.addresses if kind == A else []
        # The id, an authoritative answer, one question, so many answers.
        head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, A, IN, 0, 4) + socket.inet_aton(address) for address in found]
        connection.sendto(head + query[12:end] + b"".join(records), self.client_address)


@contextlib.contextmanager
def running_names(addresses: list[str]) -> Iterator[Names]:
    with Names(addresses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
