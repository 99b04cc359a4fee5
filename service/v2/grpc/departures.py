"""Cut off slow and idle connections, whose clients gRPC core would wait for without a limit.

In: responses as their sending begins and ends, and calls in progress. Out: a connection is cut off if its client does
not read a response in time. If few connections are left, those that have been silent for longest are cut off, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...observability.metrics import Metrics
    from .sockets import Peer, Sockets

POLL_SECONDS = 0.5
PROTECTED_MS = 1000  # a connection that has received data within this time does not make room for others

log = logging.getLogger("service")


class Departures:
    """The connections of one worker, at most `max_connections`."""

    def __init__(self, sockets: Sockets, seconds: float, max_connections: int, metrics: Metrics) -> None:
        self._sockets = sockets
        self._seconds = seconds
        self._target = max_connections - max(1, max_connections // 4)
        self._metrics = metrics
        self._calls: dict[Peer, int] = {}  # in progress
        self._sending: dict[object, tuple[Peer, float]] = {}  # since when, by call

    def begin(self, peer: Peer) -> None:
        """Count a call of this connection as in progress."""
        self._calls[peer] = self._calls.get(peer, 0) + 1

    def end(self, peer: Peer) -> None:
        """End a call in progress."""
        left = self._calls[peer] - 1
        if left:
            self._calls[peer] = left
        else:
            del self._calls[peer]

    def sends(self, call: object, peer: Peer) -> None:
        """Start the time limit of a response."""
        self._sending[call] = (peer, asyncio.get_running_loop().time())

    def sent(self, call: object) -> None:
        """End the time limit: the client has read the response, or has disconnected."""
        self._sending.pop(call, None)

    async def write(self, context: Any, peer: Peer, response: Any) -> None:
        """Send one response of a stream, with a time limit."""
        self.sends(context, peer)
        try:
            await context.write(response)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None  # the client has disconnected, and core has not reported it yet
        finally:
            self.sent(context)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Check all connections regularly while the context is open."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                self._poll()
            except Exception:  # the next poll may succeed
                log.exception("polling gRPC's connections failed")

    def _poll(self) -> None:
        late = asyncio.get_running_loop().time() - self._seconds
        slow = {peer for peer, since in self._sending.values() if since < late}
        silent = self._sockets.silent_ms()
        idle = sorted(
            (peer for peer, ms in silent.items() if ms > PROTECTED_MS and peer not in self._calls),
            key=silent.__getitem__,
            reverse=True,
        )
        surplus = idle[: max(0, len(silent) - self._target)]
        if slow or surplus:
            self._metrics.worker.connections_cut["slow"].inc(len(slow))
            self._metrics.worker.connections_cut["full"].inc(len(surplus))
            self._sockets.cut(slow.union(surplus))
