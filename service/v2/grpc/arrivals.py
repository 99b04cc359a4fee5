"""Messages that come: each within its time, and all of them within the bytes that a worker may hold.

In: calls that wait for a message. Out: its bytes, or why there are none. Core takes in all of a message that is waited
for, and says nothing before it is whole: how much has come the system knows, of each connection. It knows neither
methods nor what messages hold.
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
from .holding import SMALL_BYTES, Held, Line
from .room import Wait

if TYPE_CHECKING:
    from ...connection.body_budget import BodyBudget
    from ...errors import ServiceError
    from .room import Room
    from .sockets import Peer, Sockets

POLL_SECONDS = 0.01  # in which some 20 MB come from the same machine
IDLE_SECONDS = 0.03  # where all that wait are streams, and nothing large comes


class Arrivals:
    """All of one worker."""

    def __init__(self, bodies: BodyBudget, sockets: Sockets, seconds: float, most: int) -> None:
        """`most` bytes of messages may have come that are not whole; one of this size is let in alone."""
        self._bodies = bodies
        self._sockets = sockets
        self._heap = Heap()
        self._seconds = seconds
        self._most = most
        self._lines: dict[Peer, Line] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._slow = SlowRequest(
            f"The message did not arrive within {seconds:g} s, nor at {MIN_BYTES_PER_SECOND:,} bytes a second."
        )

    async def only(self, context: Any, peer: Peer, among: Room) -> Held | None:
        """The message of a call that has one; None where it has none.

        Raises `ServiceError`; where the message takes too long, or too much, the call has ended then.
        """
        since = asyncio.get_running_loop().time()
        line = self._join(peer)
        try:
            async with line.places:
                wait = Wait(functools.partial(self._give_up, context))
                self._begin(line, wait, since, among)
                try:
                    data = await context.read()
                except grpc.aio.AbortError:
                    raise wait.refused or self._slow from None
                finally:
                    self._end(line, wait, among)
                if wait.refused is not None:
                    raise wait.refused
                return self._whole(peer, line, data)
        finally:
            self._leave(peer, line)

    async def next(self, context: Any, peer: Peer, among: Room) -> Held | None:
        """The next message of a stream, which has all the time; None at its end. Raises `ServiceError`."""
        line = self._join(peer)
        try:
            arrived: asyncio.Future[Held | None] = asyncio.get_running_loop().create_future()
            wait = Wait(functools.partial(_refuse, arrived))
            self._begin(line, wait, None, among)
            # In a task that is never cancelled: core goes on writing to what belongs to a read.
            self._start(self._read(context, peer, line, arrived))
            try:
                return await arrived
            except asyncio.CancelledError:
                arrived.add_done_callback(_drop)
                raise
            finally:
                self._end(line, wait, among)
        finally:
            self._leave(peer, line)

    async def _read(self, context: Any, peer: Peer, line: Line, arrived: asyncio.Future[Held | None]) -> None:
        try:
            data = await context.read()
            if not arrived.done():
                arrived.set_result(self._whole(peer, line, data))
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            if not arrived.done():
                arrived.set_exception(error)

    def _whole(self, peer: Peer, line: Line, data: Any) -> Held | None:
        """A message has come, which its call is to hold from now on; raises `Overloaded`."""
        if not isinstance(data, bytes):
            return None
        line.took(len(data))
        if len(data) > SMALL_BYTES:
            line.count(self._sockets.received({peer}).get(peer), asyncio.get_running_loop().time())
        return Held(data, self._bodies, self._heap)

    def _give_up(self, context: Any, error: ServiceError) -> None:
        self._start(give_up(context, error))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _join(self, peer: Peer) -> Line:
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = Line(self._bodies, self._heap, self._seconds)
        line.calls += 1
        return line

    def _leave(self, peer: Peer, line: Line) -> None:
        line.calls -= 1
        if not line.calls:
            del self._lines[peer]
            line.close()

    def _begin(self, line: Line, wait: Wait, since: float | None, among: Room) -> None:
        line.coming[wait] = since
        among.wait(wait)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._check_timeouts)

    def _end(self, line: Line, wait: Wait, among: Room) -> None:
        del line.coming[wait]
        among.waited(wait)

    def _check_timeouts(self) -> None:
        """Count what has come, and refuse what takes too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        received = self._sockets.received(set(self._lines))
        pause = IDLE_SECONDS
        for peer, line in list(self._lines.items()):
            more = line.count(received.get(peer), now)
            if more > 0:
                line.due = min(max(line.due, now) + more / MIN_BYTES_PER_SECOND, now + self._seconds)
            self._refuse_slow(line, now)
            if line.large_since is not None or any(since is not None for since in line.coming.values()):
                pause = POLL_SECONDS
        self._make_room()
        self._timer = loop.call_later(pause, self._check_timeouts) if self._lines else None

    def _make_room(self) -> None:
        """Over the limit give up the largest, and of equals the newest: more comes before the next look."""
        large = sorted(
            (line for line in self._lines.values() if line.large_since is not None), key=lambda line: line.size
        )
        while len(large) > 1 and sum(line.size for line in large) > self._most:
            large.pop().refuse()

    def _refuse_slow(self, line: Line, now: float) -> None:
        for wait, since in list(line.coming.items()):
            began = since or line.large_since
            if began is not None and now > max(began + self._seconds, line.due):
                wait.refuse(self._slow)


def _refuse(arrived: asyncio.Future[Held | None], error: ServiceError) -> None:
    if not arrived.done():
        arrived.set_exception(error)


def _drop(arrived: asyncio.Future[Held | None]) -> None:
    """Nobody is there to take it."""
    if not arrived.cancelled() and arrived.exception() is None:
        held = arrived.result()
        if held is not None:
            held.close()
