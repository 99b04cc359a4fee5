"""Graceful shutdown of a process: every request that has been sent gets a response.

In: SIGTERM or SIGINT. Out: readiness fails, and for `seconds` requests are still answered, with `Connection: close`.
Then the listener refuses new connections, accepted connections finish, and uvicorn shuts down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import math
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# From the refusal of connections until the socket is closed: TCP handshakes under way finish and are accepted.
LAST_SECONDS = 0.2
END_SECONDS = 0.7  # for all that comes after the app has closed what it opened
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF over a TCP segment: load the flags, mask SYN and ACK, and drop a segment with SYN alone, which begins a
# connection. The last segment of a handshake passes, and so does all data.
_DROP_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF_FFFF))

log = logging.getLogger("service")


class Drain:
    """The progress of a process's shutdown."""

    def __init__(
        self, seconds: float, listener: socket.socket | None = None, on_begin: Callable[[], object] = lambda: None
    ) -> None:
        self.begun = False  # not ready any more, and each response closes its connection
        self.closing = asyncio.Event()  # idle connections are closed
        self._seconds = seconds
        self._listener = listener  # None if other processes listen on it too
        self._began = math.inf  # monotonic
        self._on_begin = on_begin  # called in the signal handler, even if the event loop is busy

    def install(self) -> None:
        """Take the signals over from uvicorn; call this in its event loop."""
        self._loop = asyncio.get_running_loop()
        self._exit: Callable[[int, FrameType | None], object] = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def seconds_left(self, seconds: float) -> float:
        """Return how much is left of the `seconds` that a shutdown takes, without the time for the end itself."""
        return max(0.0, seconds - END_SECONDS - max(0.0, time.monotonic() - self._began))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.begun:
            self.begun = True
            self._began = time.monotonic()
            self._on_begin()
            self._loop.call_soon_threadsafe(self._begin, number)
        elif number == signal.SIGINT:  # a second Ctrl-C ends the wait
            self._exit(number, frame)

    def _begin(self, number: int) -> None:
        log.info("not ready, and ending in %g s", self._seconds)
        self._loop.call_later(self._seconds, self._close, number)

    def _close(self, number: int) -> None:
        self.closing.set()
        if self._listener is not None:
            refuse_connections(self._listener)
        self._loop.call_later(LAST_SECONDS, self._exit, number, None)


def refuse_connections(listener: socket.socket) -> None:
    """Drop new connections on a socket; handshakes under way finish, while closing the socket would reset them.

    A new client waits until the socket is closed, and is refused then. Without such a filter (outside of Linux) this
    does nothing.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
