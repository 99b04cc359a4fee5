"""Connections that are of no use are cut off: core would wait for their clients for ever.

In: answers as they begin to be sent, and are; calls that are worked at. Out: the connection of a client that takes no
answer for too long ends, and where there is little room for new ones, so do those over which nothing has come for the
longest. It knows no messages.
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
YOUNG_MS = 1000  # a connection over which something has come since makes no room for others

log = logging.getLogger("service")


class Departures:
    """All of one worker, in which there may be `most` connections."""

    def __init__(self, sockets: Sockets, seconds: float, most: int, metrics: Metrics) -> None:
        self._sockets = sockets
        self._seconds = seconds
        self._many = most - max(1, most // 4)
        self._metrics = metrics
        self._worked: dict[Peer, int] = {}
        self._sending: dict[object, tuple[Peer, float]] = {}

    def begin(self, peer: Peer) -> None:
        """A call of this connection is worked at from now on."""
        self._worked[peer] = self._worked.get(peer, 0) + 1

    def end(self, peer: Peer) -> None:
        """It is no longer."""
        left = self._worked[peer] - 1
        if left:
            self._worked[peer] = left
        else:
            del self._worked[peer]

    def sends(self, call: object, peer: Peer) -> None:
        """An answer is being sent from now on."""
        self._sending[call] = (peer, asyncio.get_running_loop().time())

    def sent(self, call: object) -> None:
        """Its client has taken it, or is gone."""
        self._sending.pop(call, None)

    async def write(self, context: Any, peer: Peer, answer: Any) -> None:
        """One of the answers of a stream is sent, and taken."""
        self.sends(context, peer)
        try:
            await context.write(answer)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None  # its client is gone, which core is yet to say
        finally:
            self.sent(context)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at all of them while the context is open."""
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
            except Exception:  # whatever it is, the next look is to come
                log.exception("looking at gRPC's connections failed")

    def _poll(self) -> None:
        late = asyncio.get_running_loop().time() - self._seconds
        slow = {peer for peer, since in self._sending.values() if since < late}
        silent = self._sockets.silent_ms()
        unused = sorted(
            (peer for peer, ms in silent.items() if ms > YOUNG_MS and peer not in self._worked),
            key=silent.__getitem__,
            reverse=True,
        )
        in_the_way = unused[: max(0, len(silent) - self._many)]
        if slow or in_the_way:
            self._metrics.worker.connections_cut["slow"].inc(len(slow))
            self._metrics.worker.connections_cut["full"].inc(len(in_the_way))
            self._sockets.cut(slow.union(in_the_way))
