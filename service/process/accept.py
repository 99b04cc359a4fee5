"""New connections, shared among the workers: taken from a socket that all listen on.

In: the listening socket. Out: connections for the protocol, taken by the worker that has the fewest. asyncio's own way
takes whatever is there, and who wakes up first gets all that come together: on two cores the clients have one, a worker
the other, and the next worker nothing. It knows sockets and counts, and neither HTTP nor requests.
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

ACCEPTS_PER_TURN = 16  # connections in one turn of the event loop
YIELD_SECONDS = 0.002  # seconds for another worker to come and take what is there
MAX_OVERRIDES = 4  # connections that are taken then, at most, where it has not come
REFUSED_PAUSE_SECONDS = 0.1  # seconds after the system has refused a connection
RESERVED_DESCRIPTORS = 8  # descriptors that connections leave to whatever else must open a file

log = logging.getLogger("service")


class Acceptor:
    """Takes connections until it is closed, in the place of asyncio's server."""

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
        self._starting: set[asyncio.Task[None]] = set()  # connections that are taken, and have not begun
        self._pause: asyncio.TimerHandle | None = None
        self._left_at: int | None = None  # what another one had, when connections were last left to it
        self._overrides = 1  # that are taken although another one has fewer, which does not come
        self._last_descriptor = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS
        listener.setblocking(False)
        self._counts.publish(0)
        self._listen()

    def close(self) -> None:
        """Take no more."""
        self._counts.withdraw()
        self._loop.remove_reader(self._listener.fileno())
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """As asyncio's server has it; uvicorn waits for the connections itself."""

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._ready)

    def _ready(self) -> None:
        """Connections wait: take them, as long as nobody has fewer; the last before the end, in any case."""
        for _ in range(ACCEPTS_PER_TURN):
            fewest = None if self._drain.closing.is_set() else self._counts.fewest()
            if fewest is not None and self._count() > fewest + fewest // 8:
                self._yield_to_other(fewest)
                return
            if not self._accept_one():
                return

    def _yield_to_other(self, fewest: int) -> None:
        """Leave them to the one that has the fewest, for a while: it may be busy, or gone."""
        self._overrides = min(2 * self._overrides, MAX_OVERRIDES) if fewest == self._left_at else 1
        self._left_at = fewest
        self._pause_accepting(YIELD_SECONDS, self._resume)

    def _resume(self) -> None:
        """Take some of what is there still, where it did not come."""
        self._listen()
        if self._counts.fewest() == self._left_at:
            for _ in range(self._overrides):
                if not self._accept_one():
                    return

    def _pause_accepting(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, then)

    def _count(self) -> int:
        """How many this worker has; told to the others."""
        count = self._connections.count + len(self._starting)
        self._counts.publish(count)
        return count

    def _accept_one(self) -> bool:
        """Take one connection; False where there is none, or no more can be had for now."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # another worker has it, or its client has gone
            return False
        except OSError as error:
            log.error("a connection cannot be taken: %s", error)
            self._pause_accepting(REFUSED_PAUSE_SECONDS, self._listen)
            return False
        task = self._loop.create_task(self._begin(connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        self._count()
        if connection.fileno() < self._last_descriptor:  # the lowest that was free
            return True
        self._pause_accepting(YIELD_SECONDS, self._listen)  # for those that made room to be closed
        return False

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # its client has gone
            connection.close()
