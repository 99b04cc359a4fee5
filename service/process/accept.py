"""Accept connections on a socket that all workers share, so that each worker has about as many.

In: the listening socket. Out: connections for the protocol. asyncio's own server accepts whatever is pending, and so
the first worker to wake gets every connection of a burst (thundering herd). Here a worker leaves pending connections to
the worker that has the fewest. It knows sockets and counts, and neither HTTP nor requests.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..connection.connections import Connections
    from ..connection.drain import Drain
    from .connection_counts import ConnectionCounts

ACCEPTS_PER_TURN = 16  # of the event loop
YIELD_SECONDS = 0.002  # for another worker to accept what is pending
MAX_OVERRIDES = 4  # connections that this worker accepts at once where the other did not come
REFUSED_PAUSE_SECONDS = 0.1  # after the system has refused a connection
RESERVED_DESCRIPTORS = 8  # that connections leave for other files

log = logging.getLogger("service")


class Acceptor:
    """Accepts connections until it is closed; it replaces asyncio's server."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        counts: ConnectionCounts,
        connections: Connections,
        drain: Drain,
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._counts = counts
        self._connections = connections
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()  # of accepted connections whose protocol has not begun
        self._pause: asyncio.TimerHandle | None = None
        self._left_at: int | None = None  # the fewest connections of another worker, when some were last left to it
        self._overrides = 1  # connections to accept although another worker has fewer, but does not come
        self._last_descriptor = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS
        listener.setblocking(False)
        self._counts.publish(0)
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        self._counts.withdraw()
        self._loop.remove_reader(self._listener.fileno())
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Return at once: uvicorn, which calls this, waits for the connections itself."""

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._ready)

    def _ready(self) -> None:
        """Accept pending connections as long as no worker has fewer; during shutdown, accept all that are left."""
        for _ in range(ACCEPTS_PER_TURN):
            fewest = None if self._drain.closing.is_set() else self._counts.fewest()
            if fewest is not None and self._count() > fewest + fewest // 8:
                self._yield_to_other(fewest)
                return
            if not self._accept_one():
                return

    def _yield_to_other(self, fewest: int) -> None:
        """Leave pending connections for a moment to the worker with the fewest, which may be busy or gone."""
        self._overrides = min(2 * self._overrides, MAX_OVERRIDES) if fewest == self._left_at else 1
        self._left_at = fewest
        self._pause_accepting(YIELD_SECONDS, self._resume)

    def _resume(self) -> None:
        """Accept some of what is still pending, if the other worker did not come."""
        self._listen()
        if self._counts.fewest() == self._left_at:
            for _ in range(self._overrides):
                if not self._accept_one():
                    return

    def _pause_accepting(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, then)

    def _count(self) -> int:
        """Return the number of this worker's connections, and publish it to the others."""
        count = self._connections.count + len(self._starting)
        self._counts.publish(count)
        return count

    def _accept_one(self) -> bool:
        """Accept one connection; False where none is pending, or no more can be accepted for now."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # another worker has accepted it, or the client has gone
            return False
        except OSError as error:
            log.error("a connection cannot be accepted: %s", error)
            self._pause_accepting(REFUSED_PAUSE_SECONDS, self._listen)
            return False
        task = self._loop.create_task(self._begin(connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        self._count()
        if connection.fileno() < self._last_descriptor:  # the system gives the lowest free descriptor
            return True
        self._pause_accepting(YIELD_SECONDS, self._listen)  # until connections that were cut off are closed
        return False

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has gone
            connection.close()
