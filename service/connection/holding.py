"""The bytes that a connection holds for its client, and the timeouts of its client.

In: bytes received and sent, and regular checks of all connections. Out: a connection that holds too much, or whose
client is too slow, gets an error or is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.protocols.http.flow_control import FlowControl

from ..errors import ServiceError, SlowRequest
from .limits import CONNECTION_BYTES, MIN_BYTES_PER_SECOND, UNCOUNTED_BYTES
from .refusing import Refusing

if TYPE_CHECKING:
    from asyncio import Transport

    from .connections import Connections

BYTES_ACKED = slice(120, 128)  # linux/tcp.h: tcpi_bytes_acked in struct tcp_info


class _Sending(NamedTuple):
    """A response that the client has not read completely."""

    since: float
    acknowledged: int  # bytes of the connection at that time


class Flow(FlowControl):
    """uvicorn's flow control, which stays paused while buffered data waits."""

    full = False

    def resume_reading(self) -> None:
        """Resume reading, unless buffered data waits."""
        if not self.full:
            super().resume_reading()


class Holding(Refusing):
    """The protocol as a `HoldingConnection`, which `Connections` counts and checks."""

    flow: Flow
    cost = CONNECTION_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: Connections = self.app_state["connections"]
        self.held = 0  # bytes that count
        self._head_size = 0  # bytes of the current or the last request's head
        self._rest_since = 0.0  # on the loop's clock, as all times here
        self._unsent = 0  # bytes of responses that the system did not accept at once
        self._unsent_since = 0.0
        self._idle = 0.0  # since when there is no request
        self._sending: _Sending | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Add the connection to the open ones; over the limit it gets an error."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._watch_writing(transport)
        self._idle = self.loop.time()
        try:
            self._connections.enter(self, self._idle)
        except ServiceError as error:
            self._refuse(error)

    def _watch_writing(self, transport: Transport) -> None:
        """Have `pause_writing` called as soon as the system does not accept all bytes."""
        transport.set_write_buffer_limits(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the open ones."""
        self._connections.hold(self, 0)
        self._connections.leave(self)
        if self._running is not None:  # uvicorn informs only the last pipelined request
            self._running.disconnected = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Count a response that the system did not accept at once; nothing else is written until it does."""
        super().pause_writing()
        self._unsent_since = self.loop.time()
        self._unsent = self._unsent_now()
        self.count()

    def resume_writing(self) -> None:
        """Count again after the system has accepted all bytes."""
        super().resume_writing()
        self._unsent = 0
        self.count()

    def _unsent_now(self) -> int:
        return self.transport.get_write_buffer_size()

    def count(self) -> None:
        """Count the held bytes; a connection without room for them is cut off."""
        held = self._held_bytes()
        if held <= UNCOUNTED_BYTES:
            held = 0
        if held != self.held and not self._connections.hold(self, held) and not self._refused:
            self.let_go(self._connections.full())

    def let_go(self, error: ServiceError) -> None:
        """Drop all held bytes, including a complete request whose response has not started."""
        if self._responding() and not (self._unsent or self.pipeline or self.cycle.response_started):
            self._refused, self._rest = True, b""
            self._respond_for_app(error)
        else:
            self.cut_off(error)

    def _held_bytes(self) -> int:
        """Return the held bytes; a head is held twice: as data, and as parsed headers."""
        body = 0 if self.cycle is None else len(self.cycle.body)
        return len(self._rest) + 2 * self._head_size + body + self._unsent

    def holding_since(self) -> float:
        """Return when the client began to make it hold bytes, on the loop's clock; infinite if it does not.

        Bytes of a response that the client has read move that time forward, at the minimum rate.
        """
        if self._unsent:
            return self._unsent_since + (self._unsent - self._unsent_now()) / MIN_BYTES_PER_SECOND
        if self._rest and self._responding():
            return self._rest_since
        return self.waiting_since()

    def waiting_since(self) -> float:
        """Return when the wait for the client began, on the loop's clock; infinite if there is none."""
        answering = self._responding()
        if self.transport.is_closing():
            return math.inf
        if self._receiving is not None and (not answering or self.cycle.more_body):
            return self._receiving
        return math.inf if answering else self._idle

    def check_timeouts(self, now: float) -> None:
        """Cut the connection off if its client is too slow at `now`, the time of the next check."""
        timeout = self._connections.timeout
        if self._lingering and not self._holds_responses():
            return
        if self.transport.is_closing() or self._holds_responses():
            acknowledged = _acknowledged(self.transport)
            if self._unsent:
                self._unsent_since += (self._unsent - self._unsent_now()) / MIN_BYTES_PER_SECOND
                self._unsent = self._unsent_now()
                self.count()
            if self._sending is None:  # it may have begun just after the last check
                self._sending = _Sending(now - 2 * self._connections.check_seconds, acknowledged)
            earned = (acknowledged - self._sending.acknowledged) / MIN_BYTES_PER_SECOND
            if now > self._sending.since + timeout + earned:
                self._connections.count_slow()
                self._reset()
            return
        self._sending = None
        if self._responding():
            return
        if self._receiving is not None:
            if now > self._receiving + timeout:
                self._connections.count_slow()
                self.cut_off(SlowRequest(f"The request did not arrive within {timeout:g} s.", limit=timeout))
        elif now > self._idle + (timeout if self.cycle is None else self._connections.keep_alive) and not holds(
            self.transport, termios.FIONREAD
        ):
            self.transport.close()

    def cut_off(self, error: ServiceError) -> None:
        """Close the connection; if a request has begun, send the error first."""
        if self._lingering:
            self.transport.close()
        elif self._holds_responses():
            self._reset()
        elif self._receiving is not None or self._responding():
            self._refuse(error)
        elif not self._refused:
            self.transport.close()

    def _holds_responses(self) -> bool:
        """Return whether this process or the system buffers response bytes that the client has not acknowledged."""
        return self.transport.get_write_buffer_size() > 0 or holds(self.transport, termios.TIOCOUTQ)

    def _reset(self) -> None:
        """Reset the connection, so that the system drops its send buffer at once."""
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


def holds(transport: Transport, queue: int) -> bool:
    """Return whether the system buffers bytes of a connection: unread (FIONREAD) or unacknowledged (TIOCOUTQ)."""
    count = fcntl.ioctl(transport.get_extra_info("socket").fileno(), queue, bytes(4))
    return struct.unpack("i", count) != (0,)


def _acknowledged(transport: Transport) -> int:
    """Return the bytes that the client has acknowledged; 0 if the system does not count them (outside of Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        return int.from_bytes(info[BYTES_ACKED], sys.byteorder)
    return 0
