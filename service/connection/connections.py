"""The open connections of one worker: their number, the bytes that they hold, and their timeouts.

In: connections as they open and close, and the bytes that each holds. Out: slow connections are cut off, and over a
limit the slowest one makes room. Periodic checks of all connections cost less than a timer for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
from typing import TYPE_CHECKING, Protocol

from ..errors import Overloaded
from .limits import CONNECTION_BYTES, TLS_CONNECTION_BYTES
from .longest import Longest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..errors import ServiceError
    from ..observability.metrics import Metrics
    from ..settings import Settings
    from .budget import Budget

CHECK_SECONDS = 0.5
CHECKS_PER_TURN = 256  # connections checked in one turn of the event loop: a few hundred microseconds
DEFAULT_BYTES = 2000 * CONNECTION_BYTES  # of all connections, unless a setting limits their number
MIN_SHARE_BYTES = 2**20  # the connections' smallest share of the budget
GRPC_FRACTION = 4  # gRPC gets one in this many free descriptors
RESERVED_DESCRIPTORS = 20  # for model files, metrics and threads
METRICS_PORT_CONNECTIONS = 8  # the metrics port's limit, which its descriptors are reserved for
PROTECTED_SECONDS = 1.0  # a connection that has waited less for its client does not make room for another

log = logging.getLogger("service")


class Connection(Protocol):
    """An open connection, as `Connections` counts and checks it."""

    cost: int  # bytes that it takes without what it holds

    def waiting_since(self) -> float:
        """Return when the wait for the client began, on the loop's clock; infinite if there is none."""

    def check_timeouts(self, now: float) -> None:
        """Cut the connection off if its client is too slow at `now`, the time of the next check."""

    def cut_off(self, error: ServiceError) -> None:
        """Close the connection; if a request has begun, send the error first."""


class HoldingConnection(Connection, Protocol):
    """A connection that may hold bytes for its client."""

    held: int  # bytes that count

    def holding_since(self) -> float:
        """Return when the client began to make it hold bytes, on the loop's clock; infinite if it does not."""

    def let_go(self, error: ServiceError) -> None:
        """Drop all held bytes."""


class Connections:
    """The open connections of one worker."""

    def __init__(self, settings: Settings, metrics: Metrics, budget: Budget) -> None:
        self.timeout = settings.timeout_seconds  # seconds to send a request's head, and to read its response
        self.keep_alive = settings.keep_alive_seconds  # seconds without a request, after a response
        self.max_message = 2 * settings.max_body_bytes  # with the framing of chunks, and with trailers
        self.max_body = settings.max_body_bytes
        self.check_seconds = min(CHECK_SECONDS, self.timeout / 8, self.keep_alive / 8)
        cost = CONNECTION_BYTES if settings.tls_cert_file is None else TLS_CONNECTION_BYTES
        reserved = RESERVED_DESCRIPTORS + (0 if settings.metrics_port is None else METRICS_PORT_CONNECTIONS)
        self._limit = min(settings.max_connections or DEFAULT_BYTES // cost, _descriptors(settings) - reserved)
        self._metrics = metrics
        self._open: set[Connection] = set()
        self._waiting = Longest(self._open, lambda connection: connection.waiting_since())
        self._budget = budget
        self._share = budget.share(max(MIN_SHARE_BYTES, self._limit * cost), self._make_room)
        self._holders: set[HoldingConnection] = set()  # the connections whose bytes count
        self._holding = Longest(self._holders, lambda connection: connection.holding_since())

    @property
    def count(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def enter(self, connection: Connection, now: float) -> None:
        """Add a connection; raises `Overloaded` if no other one can make room for it."""
        if self.count >= self._limit:
            self._metrics.worker.connections_cut["full"].inc()
            full = Overloaded(
                f"This worker has {self._limit} connections, which is the limit.", limit=self._limit, retry_after_s=1
            )
            slowest = self._waiting.next(now)
            if slowest is None or slowest[0] > now - PROTECTED_SECONDS:
                raise full
            slowest[1].cut_off(full)
        self._share.held += connection.cost
        if not self._share.settle():
            self._share.held -= connection.cost
            raise self._budget.full()
        self._open.add(connection)

    def leave(self, connection: Connection) -> None:
        """Remove a connection."""
        if connection in self._open:
            self._open.remove(connection)
            self._share.held -= connection.cost

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes fit, after others have made room."""
        return self._share.settle(size)

    def hold(self, connection: HoldingConnection, size: int) -> bool:
        """Record that a connection now holds `size` bytes; return False if nothing can make room for them.

        The connection that is cut off to make room can be this one.
        """
        if connection not in self._open:  # refused or closed
            return True
        self._share.held += size - connection.held
        grows, connection.held = size > connection.held, size
        if not size:
            self._holders.discard(connection)
            return True
        self._holders.add(connection)
        return not grows or self._share.settle()

    def full(self) -> Overloaded:
        """Return the error for a connection that may hold no more."""
        return self._budget.full()

    def _make_room(self, size: int) -> bool:
        """Cut off the connection whose client makes it hold longest; else the largest holder, if it exceeds `size`."""
        slowest = self._holding.next(asyncio.get_running_loop().time())
        if slowest is not None:
            connection = slowest[1]
            connection.cut_off(self._budget.full())
        elif self._holders:
            connection = max(self._holders, key=lambda one: one.held)
            if connection.held <= size:
                return False
            connection.let_go(self._budget.full())
        else:
            return False
        self._metrics.worker.connections_cut["full"].inc()
        self.hold(connection, 0)
        return True

    def count_slow(self) -> None:
        """Count a connection whose client was too slow."""
        self._metrics.worker.connections_cut["slow"].inc()

    def set_metric(self) -> None:
        """Set the metric of open connections."""
        self._metrics.worker.connections.set(self.count)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Check all connections regularly while the context is open."""
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.check_seconds)
            self.set_metric()
            for number, connection in enumerate(list(self._open)):
                if number % CHECKS_PER_TURN == CHECKS_PER_TURN - 1:
                    await asyncio.sleep(0)
                if connection not in self._open:  # closed meanwhile
                    continue
                try:
                    # A connection that would be late at the next check is late now.
                    connection.check_timeouts(loop.time() + self.check_seconds)
                except Exception:  # the others are still checked
                    log.exception("checking a connection failed")


def _descriptors(settings: Settings) -> int:
    """Return the number of file descriptors that are free for HTTP connections."""
    return free_descriptors() - (grpc_descriptors() if settings.grpc_port is not None else 0)


def grpc_descriptors() -> int:
    """Return the number of file descriptors for gRPC connections, so that neither protocol takes all of them."""
    return free_descriptors() // GRPC_FRACTION


def free_descriptors() -> int:
    """Return the number of file descriptors that this process may still open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(os.listdir("/dev/fd"))  # noqa: PTH208 - names alone
