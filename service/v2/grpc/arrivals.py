"""Receive messages within their time limits, and within the memory budget of the worker.

In: calls that wait for a message. Out: its bytes, or an error. gRPC core reports a message only when it is complete, so
the bytes that have arrived are taken from the system's counters of each connection.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import grpc

from ...connection.limits import MIN_BYTES_PER_SECOND
from ...errors import SlowRequest
from .codes import give_up
from .heap import Heap
from .holding import SMALL_BYTES, Held, PeerConnection
from .room import Wait

if TYPE_CHECKING:
    from ...connection.body_budget import BodyBudget
    from ...errors import ServiceError
    from .room import Room
    from .sockets import Peer, Sockets

POLL_SECONDS = 0.01  # some 20 MB arrive in this time from the same machine
IDLE_SECONDS = 0.03  # between polls if only streams wait, and no large message is arriving


class Arrivals:
    """The arriving messages of one worker: incomplete ones may have `limit` bytes together; one alone may have more."""

    def __init__(self, bodies: BodyBudget, sockets: Sockets, seconds: float, limit: int) -> None:
        self._bodies = bodies
        self._sockets = sockets
        self._heap = Heap()
        self._seconds = seconds
        self._limit = limit
        self._connections: dict[Peer, PeerConnection] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._slow = SlowRequest(
            f"The message did not arrive within {seconds:g} s, nor at {MIN_BYTES_PER_SECOND:,} bytes per second."
        )

    async def only(self, context: Any, peer: Peer, room: Room) -> Held | None:
        """Return the message of a unary call; None if the client sends none.

        Raises `ServiceError`; if the message was too slow or too large, the call has ended.
        """
        since = asyncio.get_running_loop().time()
        connection = self._join(peer)
        try:
            async with connection.places:
                wait = Wait(functools.partial(self._give_up, context))
                self._begin(connection, wait, since, room)
                try:
                    data = await context.read()
                except grpc.aio.AbortError:
                    raise wait.refused or self._slow from None
                finally:
                    self._end(connection, wait, room)
                if wait.refused is not None:
                    raise wait.refused
                return self._whole(peer, connection, data)
        finally:
            self._leave(peer, connection)

    async def next(self, context: Any, peer: Peer, room: Room) -> Held | None:
        """Return the next message of a stream, without a time limit; None at its end. Raises `ServiceError`."""
        connection = self._join(peer)
        try:
            arrived: asyncio.Future[Held | None] = asyncio.get_running_loop().create_future()
            wait = Wait(functools.partial(_refuse, arrived))
            self._begin(connection, wait, None, room)
            # In a task that is never cancelled: core goes on writing to the buffers of a read.
            self._start(self._read(context, peer, connection, arrived))
            try:
                return await arrived
            except asyncio.CancelledError:
                arrived.add_done_callback(_drop)
                raise
            finally:
                self._end(connection, wait, room)
        finally:
            self._leave(peer, connection)

    async def _read(
        self, context: Any, peer: Peer, connection: PeerConnection, arrived: asyncio.Future[Held | None]
    ) -> None:
        try:
            data = await context.read()
            if not arrived.done():
                arrived.set_result(self._whole(peer, connection, data))
        except Exception as error:  # noqa: BLE001 - any error goes to the future
            if not arrived.done():
                arrived.set_exception(error)

    def _whole(self, peer: Peer, connection: PeerConnection, data: Any) -> Held | None:
        """Return a complete message, which its call holds from now on; raises `Overloaded`."""
        if not isinstance(data, bytes):
            return None
        connection.complete(len(data))
        if len(data) > SMALL_BYTES:
            connection.count(self._sockets.received({peer}).get(peer), asyncio.get_running_loop().time())
        return Held(data, self._bodies, self._heap)

    def _give_up(self, context: Any, error: ServiceError) -> None:
        self._start(give_up(context, error))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _join(self, peer: Peer) -> PeerConnection:
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = PeerConnection(self._bodies, self._heap, self._seconds)
        connection.calls += 1
        return connection

    def _leave(self, peer: Peer, connection: PeerConnection) -> None:
        connection.calls -= 1
        if not connection.calls:
            del self._connections[peer]
            connection.close()

    def _begin(self, connection: PeerConnection, wait: Wait, since: float | None, room: Room) -> None:
        connection.coming[wait] = since
        room.wait(wait)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._check_timeouts)

    def _end(self, connection: PeerConnection, wait: Wait, room: Room) -> None:
        del connection.coming[wait]
        room.waited(wait)

    def _check_timeouts(self) -> None:
        """Count the arrived bytes, and refuse slow messages."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        received = self._sockets.received(set(self._connections))
        pause = IDLE_SECONDS
        for peer, connection in list(self._connections.items()):
            more = connection.count(received.get(peer), now)
            if more > 0:
                connection.due = min(max(connection.due, now) + more / MIN_BYTES_PER_SECOND, now + self._seconds)
            self._refuse_slow(connection, now)
            if connection.large_since is not None or any(since is not None for since in connection.coming.values()):
                pause = POLL_SECONDS
        self._make_room()
        self._timer = loop.call_later(pause, self._check_timeouts) if self._connections else None

    def _make_room(self) -> None:
        """Over the limit, refuse the largest, and of equals the newest: more arrives before the next poll."""
        large = sorted(
            (connection for connection in self._connections.values() if connection.large_since is not None),
            key=lambda connection: connection.size,
        )
        while len(large) > 1 and sum(connection.size for connection in large) > self._limit:
            large.pop().refuse()

    def _refuse_slow(self, connection: PeerConnection, now: float) -> None:
        for wait, since in list(connection.coming.items()):
            began = since or connection.large_since
            if began is not None and now > max(began + self._seconds, connection.due):
                wait.refuse(self._slow)


def _refuse(arrived: asyncio.Future[Held | None], error: ServiceError) -> None:
    if not arrived.done():
        arrived.set_exception(error)


def _drop(arrived: asyncio.Future[Held | None]) -> None:
    """Release the message of a cancelled call."""
    if not arrived.cancelled() and arrived.exception() is None:
        held = arrived.result()
        if held is not None:
            held.close()
