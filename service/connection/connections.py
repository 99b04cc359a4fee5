"""The open connections of one worker: how many there may be, what they hold, and how long each waits for its client.

In: connections as they come and go, and the bytes that each holds. Out: what is too slow is cut off, and beyond a limit
the slowest makes room. One look at all of them, a few times within the shortest deadline, costs less than a timer for
each request. It knows what a connection waits for, and nothing of TLS and HTTP.
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
CHECKS_A_TURN = 256  # connections that are looked at before others have their turn: some hundred microseconds
BYTES = 2000 * CONNECTION_BYTES  # that connections themselves take, where nothing else limits them
LEAST_BYTES = 2**20  # that connections may hold, however few there may be
GRPC_SHARE = 4  # with gRPC, one descriptor in so many is for its connections
RESERVED_DESCRIPTORS = 20  # descriptors for model files, metrics and threads
METRICS_PORT_CONNECTIONS = (
    8  # connections that its port may have, where there is one; their descriptors are kept for them
)
YOUNG_SECONDS = 1.0  # that a connection may wait for its client without making room for another

log = logging.getLogger("service")


class Connection(Protocol):
    """An open connection, as far as all of them are counted and timed together."""

    cost: int  # bytes that it takes, whatever it holds

    def waiting_since(self) -> float:
        """Since when it waits for its client, on the loop's clock; infinite where it waits for none."""

    def check_timeouts(self, now: float) -> None:
        """Cut it off if its client will be too slow by `now`, when it is checked next."""

    def cut_off(self, error: ServiceError) -> None:
        """Close a connection that waits for its client, and say why where a request has begun."""


class HoldingConnection(Connection, Protocol):
    """One that may hold bytes of its client."""

    held: int  # bytes, as they are counted

    def holding_since(self) -> float:
        """Since when its client makes it hold what it holds, on the loop's clock; infinite where it does not."""

    def let_go(self, error: ServiceError) -> None:
        """Drop all that is held."""


class Connections:
    """All that are open."""

    def __init__(self, settings: Settings, metrics: Metrics, budget: Budget) -> None:
        self.timeout = settings.timeout_seconds  # to send a request's head, and to take its answer
        self.keep_alive = settings.keep_alive_seconds  # without a request, after an answer
        # Whatever the chunks of a body are like, and what comes after them.
        self.max_message = 2 * settings.max_body_bytes
        self.max_body = settings.max_body_bytes
        self.check_seconds = min(CHECK_SECONDS, self.timeout / 8, self.keep_alive / 8)
        cost = CONNECTION_BYTES if settings.tls_cert_file is None else TLS_CONNECTION_BYTES
        kept = (
            RESERVED_DESCRIPTORS if settings.metrics_port is None else RESERVED_DESCRIPTORS + METRICS_PORT_CONNECTIONS
        )
        self._limit = min(settings.max_connections or BYTES // cost, _descriptors(settings) - kept)
        self._metrics = metrics
        self._open: set[Connection] = set()
        self._waiting = Longest(self._open, lambda connection: connection.waiting_since())
        self._budget = budget
        self._share = budget.share(max(LEAST_BYTES, self._limit * cost), self._make_room)
        self._holders: set[HoldingConnection] = set()  # those that hold more than any connection may
        self._holding = Longest(self._holders, lambda connection: connection.holding_since())

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def enter(self, connection: Connection, now: float) -> None:
        """One more; raises `Overloaded` where there is no room, and none can be made."""
        if self.count >= self._limit:
            self._metrics.worker.connections_cut["full"].inc()
            full = Overloaded(
                f"This worker has {self._limit} connections, which is the limit.", limit=self._limit, retry_after_s=1
            )
            slowest = self._waiting.next(now)
            if slowest is None or slowest[0] > now - YOUNG_SECONDS:
                raise full
            slowest[1].cut_off(full)
        self._share.held += connection.cost
        if not self._share.settle():
            self._share.held -= connection.cost
            raise self._budget.full()
        self._open.add(connection)

    def leave(self, connection: Connection) -> None:
        """One less."""
        if connection in self._open:
            self._open.remove(connection)
            self._share.held -= connection.cost

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more can be held."""
        return self._share.settle(size)

    def hold(self, connection: HoldingConnection, size: int) -> bool:
        """This connection holds so many bytes, beyond what any may; False if that is too much, and nothing makes room.

        It may be cut off itself.
        """
        if connection not in self._open:  # it was refused, or is gone
            return True
        self._share.held += size - connection.held
        grows, connection.held = size > connection.held, size
        if not size:
            self._holders.discard(connection)
            return True
        self._holders.add(connection)
        return not grows or self._share.settle()

    def full(self) -> Overloaded:
        """Why a connection may hold no more."""
        return self._budget.full()

    def _make_room(self, size: int) -> bool:
        """Cut off the one that has held bytes for its client longest, or else that holds the most, if that is more."""
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
        """A client was too slow."""
        self._metrics.worker.connections_cut["slow"].inc()

    def tell(self) -> None:
        """Let the metrics have their number."""
        self._metrics.worker.connections.set(self.count)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at all of them while the context is open."""
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.check_seconds)
            self.tell()
            for number, connection in enumerate(list(self._open)):
                if number % CHECKS_A_TURN == CHECKS_A_TURN - 1:
                    await asyncio.sleep(0)
                if connection not in self._open:  # it has gone meanwhile
                    continue
                try:
                    # What would be late at the next check is late now.
                    connection.check_timeouts(loop.time() + self.check_seconds)
                except Exception:  # one that cannot be looked at keeps none of the others from it
                    log.exception("checking a connection failed")


def _descriptors(settings: Settings) -> int:
    """How many more files this process may open for connections over HTTP."""
    return free_descriptors() - (grpc_descriptors() if settings.grpc_port is not None else 0)


def grpc_descriptors() -> int:
    """How many of them connections over gRPC may have: both kinds have enough, however many there are of the other."""
    return free_descriptors() // GRPC_SHARE


def free_descriptors() -> int:
    """How many more files this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(os.listdir("/dev/fd"))  # noqa: PTH208 - names alone
