"""Messages that come: each within its time, and all of them within the bytes that a worker may hold.

In: calls that wait for a message. Out: its bytes, or why there are none. Core takes in all of a message that is waited
for, and says nothing before it is whole: how much has come the system knows, of each connection. It knows neither
methods nor what messages hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import grpc

from service.bodies import SMALL, Wait
from service.errors import ServiceError, SlowRequest
from service.grpc.room import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.bodies import Bodies, Body
    from service.grpc import room
    from service.grpc.sockets import Peer, Sockets

LOOK_SECONDS = 0.03  # in which some 30 MB come from the same machine
AT_ONCE = 16  # messages of one connection that are waited for; of more, core takes in 64 KiB each
RATE = 16_384  # bytes a second: what comes so fast has more time
HEAD_BYTES = 1024  # of a call, or less: they come before its message, and nobody holds them


class Line:
    """A connection, as long as messages are waited for."""

    def __init__(self, held: contextlib.AbstractContextManager[Body]) -> None:
        self.places = asyncio.Semaphore(AT_ONCE)
        self.calls = 0
        self.coming: dict[room.Wait, float | None] = {}  # since when, on the loop's clock; None: it has all the time
        self.received: int | None = None  # at the last look
        self.taken = 0  # of it, since then, in whole messages and heads
        self.large_since: float | None = None
        self.due = 0.0  # when it has been slow: what comes puts it off
        self._held = held
        self.body = held.__enter__()  # what has come, and is in no whole message yet

    def end(self) -> None:
        """Nothing is waited for."""
        self._held.__exit__(None, None, None)

    def refuse(self, error: ServiceError) -> None:
        """Wait for none of its messages any longer."""
        for wait in self.coming:
            refuse(wait, error)


class Message:
    """One that has come, and counts among the bytes that are held until it is closed."""

    def __init__(self, data: bytes, bodies: Bodies, seconds: float) -> None:
        self.data = data
        self._bodies = bodies
        self._seconds = seconds
        self._held = bodies.one()
        self._body: Body | None = self._held.__enter__()
        self.grow(len(data))

    def grow(self, size: int) -> None:
        """So many bytes more are made of it; raises `Overloaded`."""
        assert self._body is not None
        end = asyncio.get_running_loop().time() + self._seconds
        self._bodies.grow(self._body, size, Wait(end, cast("asyncio.Timeout", _Refusal(lambda: None))))
        self._bodies.whole(self._body)

    def close(self) -> None:
        """Nobody holds it any longer."""
        if self._body is not None:
            self._body = None
            self._held.__exit__(None, None, None)


class Arrivals:
    """All of one worker."""

    def __init__(self, bodies: Bodies, sockets: Sockets, seconds: float) -> None:
        self._bodies = bodies
        self._sockets = sockets
        self._seconds = seconds
        self._lines: dict[Peer, Line] = {}
        self._reading: set[asyncio.Task[Any]] = set()
        self._look: asyncio.TimerHandle | None = None

    async def read(self, context: Any, peer: Peer, among: room.Room, *, patient: bool = False) -> Message | None:
        """The next message of a call; None where no more comes. Raises `ServiceError`, where it takes too long too."""
        data = await self._read(context, peer, among, patient=patient)
        return None if data is None else Message(data, self._bodies, self._seconds)

    async def _read(self, context: Any, peer: Peer, among: room.Room, *, patient: bool) -> bytes | None:
        loop = asyncio.get_running_loop()
        since = None if patient else loop.time()
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = Line(self._bodies.one())
        line.calls += 1
        try:
            async with contextlib.nullcontext() if patient else line.places:
                wait: room.Wait = loop.create_future()
                line.coming[wait] = since
                self._begin(context, functools.partial(self._whole, peer, line, wait))
                try:
                    with among.waiting(wait):
                        return await wait
                finally:
                    del line.coming[wait]
        finally:
            line.calls -= 1
            if not line.calls:
                del self._lines[peer]
                line.end()

    def _begin(self, context: Any, done: Callable[[asyncio.Task[Any]], None]) -> None:
        """Begin to read, in a task that is never cancelled: core goes on writing to what belongs to a read."""
        loop = asyncio.get_running_loop()
        reading = loop.create_task(context.read())
        self._reading.add(reading)
        reading.add_done_callback(done)
        if self._look is None:
            self._look = loop.call_later(LOOK_SECONDS, self._look_at_all)

    def _whole(self, peer: Peer, line: Line, wait: room.Wait, reading: asyncio.Task[Any]) -> None:
        """Core is done with a read, whether somebody still waits for it or not."""
        self._reading.discard(reading)
        error = None if reading.cancelled() else reading.exception()
        found = None if reading.cancelled() or error is not None else reading.result()
        if isinstance(found, bytes):
            line.taken += len(found) + HEAD_BYTES
            if len(found) > SMALL:  # it is held by its call from now on
                self._count(line, self._sockets.received({peer}).get(peer), asyncio.get_running_loop().time())
        if error is not None:
            refuse(wait, error)
        elif not wait.done():
            wait.set_result(None if found is grpc.aio.EOF else found)

    def _look_at_all(self) -> None:
        """Count what has come, and refuse what takes too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        received = self._sockets.received(set(self._lines))
        for peer, line in list(self._lines.items()):
            self._count(line, received.get(peer), now)
            self._refuse_slow(line, now)
        self._look = loop.call_later(LOOK_SECONDS, self._look_at_all) if self._lines else None

    def _count(self, line: Line, received: int | None, now: float) -> None:
        if received is None:
            return
        size = line.body.size
        if line.received is not None and not line.body.refused:
            more = max(received - line.received - line.taken, -size)
            line.large_since = (line.large_since or now) if size + more > SMALL else None
            if more > 0:
                line.due = min(max(line.due, now) + more / RATE, now + self._seconds)
            end = (line.large_since or now) + self._seconds
            refuse_all = functools.partial(line.refuse, self._bodies.full())
            with contextlib.suppress(ServiceError):  # then its waits are refused already
                self._bodies.grow(line.body, more, Wait(end, cast("asyncio.Timeout", _Refusal(refuse_all))))
            if line.large_since is None:
                self._bodies.whole(line.body)
        elif line.received is None:
            line.due = now + self._seconds
        line.received, line.taken = received, 0

    def _refuse_slow(self, line: Line, now: float) -> None:
        slow = SlowRequest(f"The message did not arrive within {self._seconds:g} s, nor at {RATE:,} bytes a second.")
        for wait, since in line.coming.items():
            began = since or line.large_since
            if began is not None and now > max(began + self._seconds, line.due):
                refuse(wait, slow)


class _Refusal(NamedTuple):
    """In the place of a timeout: what is waited for is refused where there is no room for more."""

    refuse: Callable[[], None]

    def reschedule(self, _: float) -> None:
        """It is over."""
        self.refuse()
