"""The open connections of one worker: how many there may be, and how long each may wait for its client.

In: connections as they come and go. Out: what is too slow is cut off, and beyond the limit the slowest makes room for
the next. One look at all of them, a few times within the shortest deadline, costs less than a timer for each request.
It knows what a connection waits for, and nothing of TLS and HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
from typing import TYPE_CHECKING

from service.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.guard import Guarded
    from service.handshake import Handshake
    from service.metrics import Metrics
    from service.settings import Settings

LOOK_SECONDS = 0.5
MOST = 10_000  # connections where nothing else limits them: some 20 KiB each
GRPC_SHARE = 4  # with gRPC, one descriptor in so many is for its connections
SPARE = 20  # descriptors for model files, metrics and threads
YOUNG = 1.0  # seconds that a connection may wait for its client without making room for another

log = logging.getLogger("service")


class Connections:
    """All that are open."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.timeout = settings.timeout_seconds  # to send a request's head, and to take its answer
        self.keep_alive = settings.keep_alive_seconds  # without a request, after an answer
        # Whatever the chunks of a body are like, and what comes after them.
        self.max_message = 2 * settings.max_body_bytes
        self.look_seconds = min(LOOK_SECONDS, self.timeout / 8, self.keep_alive / 8)
        self._limit = min(settings.max_connections or MOST, _descriptors(settings) - SPARE)
        self._metrics = metrics
        self._open: set[Guarded | Handshake] = set()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def enter(self, connection: Guarded | Handshake, now: float) -> None:
        """One more; raises `Overloaded` where there is no room, and none can be made."""
        if self.count >= self._limit:
            self._metrics.cut["full"].inc()
            slowest = min(self._open, key=lambda other: other.waiting_since())
            full = Overloaded(
                f"This worker has {self._limit} connections, which is the limit.", limit=self._limit, retry_after_s=1
            )
            if slowest.waiting_since() > now - YOUNG:
                raise full
            slowest.cut_off(full)
        self._open.add(connection)

    def leave(self, connection: Guarded | Handshake) -> None:
        """One less."""
        self._open.discard(connection)

    def count_slow(self) -> None:
        """A client was too slow."""
        self._metrics.cut["slow"].inc()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at all of them while the context is open."""
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.look_seconds)
            self._metrics.connections.set(self.count)
            for connection in list(self._open):
                try:
                    # What would be late at the next look is late now.
                    connection.look(loop.time() + self.look_seconds)
                except Exception:  # one that cannot be looked at keeps none of the others from it
                    log.exception("looking at a connection failed")


def _descriptors(settings: Settings) -> int:
    """How many more files this process may open for connections over HTTP."""
    return free_descriptors() - (grpc_descriptors() if settings.grpc_port is not None else 0)


def grpc_descriptors() -> int:
    """How many of them connections over gRPC may have: both kinds have enough, however many there are of the other."""
    return free_descriptors() // GRPC_SHARE


def free_descriptors() -> int:
    """How many more files this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(os.listdir("/dev/fd"))  # noqa: PTH208 - names alone
