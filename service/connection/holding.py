"""What a connection holds for its client, and how long it waits for it: limits and deadlines.

In: bytes that come and go, and checks of all connections a few times a second. Out: a connection that holds too much,
or whose client is too slow, is refused or cut off. It knows no HTTP but whether a request is coming or being answered.
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


class _Taking(NamedTuple):
    """An answer on its way to a client who has not taken all of it."""

    since: float
    taken: int  # bytes of the connection, then


class Flow(FlowControl):
    """uvicorn's, which lets no more be read while enough is there."""

    full = False

    def resume_reading(self) -> None:
        """Resume, unless there is enough to be read first."""
        if not self.full:
            super().resume_reading()


class Holding(Refusing):
    """The protocol, as one of the open connections that are counted and timed together."""

    flow: Flow
    cost = CONNECTION_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: Connections = self.app_state["connections"]
        self.held = 0  # bytes, as they are counted
        self._head_size = 0  # bytes of a request's head, or of the last one's
        self._rest_since = 0.0  # on the loop's clock, as all that are since when
        self._unsent = 0  # bytes of answers that the client had not taken when they were written
        self._unsent_since = 0.0
        self._idle = 0.0  # since when no request is coming
        self._running: Any = None  # the request that the app had last
        self._taking: _Taking | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection is there: there may be too many."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._watch_writing(transport)
        self._idle = self.loop.time()
        try:
            self._connections.enter(self, self._idle)
        except ServiceError as error:
            self._refuse(error)

    def _watch_writing(self, transport: Transport) -> None:
        """Be told of every byte that is not taken at once."""
        transport.set_write_buffer_limits(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._connections.hold(self, 0)
        self._connections.leave(self)
        if self._running is not None:  # uvicorn tells the last of pipelined requests alone
            self._running.disconnected = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Not all of an answer was taken at once; until it is nothing else is written."""
        super().pause_writing()
        self._unsent_since = self.loop.time()
        self._unsent = self._unsent_now()
        self.count()

    def resume_writing(self) -> None:
        """All of it is taken."""
        super().resume_writing()
        self._unsent = 0
        self.count()

    def _unsent_now(self) -> int:
        return self.transport.get_write_buffer_size()

    def count(self) -> None:
        """Count what is held; a connection for which there is no room is cut off."""
        held = self._holding()
        if held <= UNCOUNTED_BYTES:
            held = 0
        if held != self.held and not self._connections.hold(self, held) and not self._refused:
            self.let_go(self._connections.full())

    def let_go(self, error: ServiceError) -> None:
        """Drop all that is held: also a request that is whole, where it is not being answered yet."""
        if self._answering() and not (self._unsent or self.pipeline or self.cycle.response_started):
            self._refused, self._rest = True, b""
            self._answer_for_app(error)
        else:
            self.cut_off(error)

    def _holding(self) -> int:
        """Bytes that are held for this connection; of a head they are there in one piece, and in headers."""
        body = 0 if self.cycle is None else len(self.cycle.body)
        return len(self._rest) + 2 * self._head_size + body + self._unsent

    def holding_since(self) -> float:
        """Since when its client makes it hold what it holds, on the loop's clock; infinite where the client does not.

        Who takes answers at the rate that earns more time has just begun.
        """
        if self._unsent:
            return self._unsent_since + (self._unsent - self._unsent_now()) / MIN_BYTES_PER_SECOND
        if self._rest and self._answering():
            return self._rest_since
        return self.waiting_since()

    def waiting_since(self) -> float:
        """Since when it waits for its client, on the loop's clock; infinite where it waits for none."""
        answering = self._answering()
        if self.transport.is_closing():
            return math.inf
        if self._receiving is not None and (not answering or self.cycle.more_body):
            return self._receiving
        return math.inf if answering else self._idle

    def check_timeouts(self, now: float) -> None:
        """Cut it off if its client will be too slow by `now`, when it is checked next."""
        timeout = self._connections.timeout
        if self._hanging_up and not self._holds_answers():
            return
        if self.transport.is_closing() or self._holds_answers():
            taken = _taken(self.transport)
            if self._unsent:
                self._unsent_since += (self._unsent - self._unsent_now()) / MIN_BYTES_PER_SECOND
                self._unsent = self._unsent_now()
                self.count()
            if self._taking is None:  # it may have begun just after the last check
                self._taking = _Taking(now - 2 * self._connections.check_seconds, taken)
            if now > self._taking.since + timeout + (taken - self._taking.taken) / MIN_BYTES_PER_SECOND:
                self._connections.count_slow()
                self._reset()
            return
        self._taking = None
        if self._answering():
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
        """Close a connection that waits for its client, and say why where a request has begun."""
        if self._hanging_up:
            self.transport.close()
        elif self._holds_answers():
            self._reset()
        elif self._receiving is not None or self._answering():
            self._refuse(error)
        elif not self._refused:
            self.transport.close()

    def _holds_answers(self) -> bool:
        """Whether there are answers that the client has not taken, here or in the system."""
        return self.transport.get_write_buffer_size() > 0 or holds(self.transport, termios.TIOCOUTQ)

    def _reset(self) -> None:
        """Close it, and let the system forget what it holds, which it would go on offering to the client."""
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


def holds(transport: Transport, queue: int) -> bool:
    """Whether the system holds bytes of this connection: not read yet by us, or not taken yet by the client."""
    count = fcntl.ioctl(transport.get_extra_info("socket").fileno(), queue, bytes(4))
    return struct.unpack("i", count) != (0,)


def _taken(transport: Transport) -> int:
    """Bytes that the client has taken of the connection; 0 where the system does not tell, as outside of Linux."""
    with contextlib.suppress(AttributeError, OSError):
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        return int.from_bytes(info[BYTES_ACKED], sys.byteorder)
    return 0
