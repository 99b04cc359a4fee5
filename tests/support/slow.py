"""Clients that are slow on purpose: each sort holds as many connections as it is told, until it is cut off.

In: a service's address, and a sort. Out: how long each connection lived, and what was answered on it. They send as
slowhttptest does (-H: heads, -B: bodies, -X: answers that are read a few bytes at a time), and one sort is silent.
`python -m tests.support.slow URL SORT COUNT PAUSE` is a process of their own, which prints the seconds that they lived
as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from dataclasses import dataclass, field

from tests.support.traffic import InThread

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
BODY = HEAD + b"Content-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = HEAD + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
ASK = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
# By sort: what it sends first, and what it sends again and again.
SORTS = {
    "silent": (b"", b""),
    "head": (HEAD, b"X-a: b\r\n"),
    "body": (BODY, b"a"),
    "chunks": (CHUNKED, b"1\r\na\r\n"),
    "unread": (ASK * 17, b""),  # more than the system keeps for a client who does not read, and no more than may wait
    "body nobody waits for": (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"a"),
}
# The start of a ClientHello, whose other 500 bytes come one by one.
HELLO = {"hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"a")}
SMALL_WINDOW = 2048  # bytes that the client's system takes


@dataclass
class Slow(InThread):
    """So many slow connections of one sort, opened at once; each is held until the service closes it."""

    url: str
    sort: str
    count: int
    pause: float = 0.5  # seconds between two bits
    lived: list[float] = field(default_factory=list)  # seconds, of those that were cut off
    answers: list[bytes] = field(default_factory=list)  # what they were told first

    def wait(self) -> None:
        """Wait until all are cut off."""
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._hold() for _ in range(self.count)))

    async def _hold(self) -> None:
        host, port = self.url.removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        first, bit = (SORTS | HELLO)[self.sort]
        with socket.socket() as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
            await loop.sock_connect(connection, (host, int(port)))
            began, told = time.monotonic(), b""
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(connection, first)
                while not self._stopped:
                    with contextlib.suppress(TimeoutError):
                        piece = await asyncio.wait_for(loop.sock_recv(connection, 512), self.pause)
                        told = told or piece
                        if not piece:
                            break
                    if self.sort == "unread":
                        await self._pause(connection)
                    await loop.sock_sendall(connection, bit)
            if not self._stopped:
                self.lived.append(time.monotonic() - began)
                self.answers.append(told)

    async def _pause(self, connection: socket.socket) -> None:
        """Read nothing for a while, and see nevertheless when the connection is cut off."""
        for _ in range(int(self.pause / 0.1)):
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                break
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    address, which, number, between = sys.argv[1:]
    with Slow(address, which, int(number), float(between)) as clients:
        clients.wait()
    print(json.dumps(clients.lived))
