"""The end of a process, without a request that stays unanswered.

In: SIGTERM or SIGINT. Out, in this order: not ready; `seconds` more in which everything is answered, each answer with
`Connection: close`; no new connections; what was accepted; then uvicorn's own shutdown. It knows sockets and signals,
and nothing of requests: `service.connection.fast_path` and `service.v2.grpc.server` ask it what to do with connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# From when connections are refused until the socket is closed: those that were being made are made and accepted.
LAST_SECONDS = 0.2
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF over a TCP segment: load the flags, keep SYN and ACK, and drop what has SYN alone, which is how a
# connection begins. The last segment of a connection that is being made passes, and so does all data.
_DROP_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF_FFFF))

log = logging.getLogger("service")


class Drain:
    """Whether, and how far, this process is ending."""

    def __init__(
        self, seconds: float, listener: socket.socket | None = None, on_begin: Callable[[], object] = lambda: None
    ) -> None:
        self.begun = False  # not ready any more, and each answer closes its connection
        self.closing = asyncio.Event()  # connections that stay quiet are closed
        self._seconds = seconds
        self._listener = listener  # None where others listen on it too
        self._on_begin = on_begin  # is called when the signal comes, whatever the event loop does

    def install(self) -> None:
        """Take signals over from uvicorn; to be called in its event loop."""
        self._loop = asyncio.get_running_loop()
        self._exit: Callable[[int, FrameType | None], object] = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.begun:
            self.begun = True
            self._on_begin()
            self._loop.call_soon_threadsafe(self._begin, number)
        elif number == signal.SIGINT:  # somebody who presses Ctrl-C again does not want to wait
            self._exit(number, frame)

    def _begin(self, number: int) -> None:
        log.info("not ready, and ending in %g s", self._seconds)
        self._loop.call_later(self._seconds, self._last, number)

    def _last(self, number: int) -> None:
        self.closing.set()
        if self._listener is not None:
            refuse_connections(self._listener)
        self._loop.call_later(LAST_SECONDS, self._exit, number, None)


def refuse_connections(listener: socket.socket) -> None:
    """Let no more connections begin on a socket, and finish those that have begun, which closing it would reset.

    Clients that come now are answered by nobody until the socket is closed, and are refused then. Where the system has
    no such filter, as outside of Linux, nothing happens.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
