"""`python -m tests.support.flood URL COUNT EACH SECONDS`: connections on each of which so many documents are asked for
at once.

In: a service's address. Out: how many answers of each status came, as JSON. They take every answer as fast as they can,
and ask again when they have them all. A process of its own, so that it takes no time from the clients it is beside.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter

ASK = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = re.compile(rb"HTTP/1.1 (\d+)(?s:.*?)content-length: (\d+)(?s:.*?)\r\n\r\n", re.IGNORECASE)


class Flooder:
    """One connection."""

    def __init__(self, address: tuple[str, int], each: int) -> None:
        self.connection = socket.create_connection(address)
        self._ask = ASK * each
        self._each = self._left = each
        self._received = b""
        self.connection.sendall(self._ask)

    def read(self) -> list[str]:
        """The statuses of the answers that are whole now; raises ConnectionError when it is closed on."""
        piece = self.connection.recv(2**18)
        if not piece:
            raise ConnectionResetError
        self._received += piece
        statuses = []
        while (head := HEAD.match(self._received)) and len(self._received) >= head.end() + int(head[2]):
            statuses.append(head[1].decode())
            self._received = self._received[head.end() + int(head[2]) :]
        self._left -= len(statuses)
        if not self._left:
            self._left = self._each
            self.connection.sendall(self._ask)
        return statuses


def main(arguments: list[str]) -> None:
    """Flood for so many seconds."""
    url, count, each, seconds = arguments
    host, port = url.removeprefix("http://").split(":")
    found: Counter[str] = Counter()
    end = time.monotonic() + float(seconds)
    with selectors.DefaultSelector() as selector:

        def begin() -> None:
            flooder = Flooder((host, int(port)), int(each))
            selector.register(flooder.connection, selectors.EVENT_READ, flooder)

        for _ in range(int(count)):
            begin()
        while time.monotonic() < end:
            for key, _ in selector.select(1):
                try:
                    found.update(key.data.read())
                except ConnectionError:
                    found["closed"] += 1
                    selector.unregister(key.fileobj)
                    key.data.connection.close()
                    begin()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
