"""The bytes of gRPC's messages that a worker holds, whole ones and what has come of others.

In: messages, and how much each connection has received. Out: where there is no room for more, waits are refused. It
knows sizes, and neither calls nor what messages hold.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, cast

from ...connection.body_budget import SMALL_BYTES, Wait
from ...errors import ServiceError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from ...connection.body_budget import Body, BodyBudget
    from . import room
    from .heap import Heap

__all__ = ["SMALL_BYTES", "Held", "Line"]

TINY = 4096  # bytes: messages up to this are limited by the number of calls
AT_ONCE = 16  # messages of one connection that are waited for; of more, core takes in 64 KiB each
HEAD_BYTES = 1024  # of a call, or less: they come before its message, and nobody holds them


class Held:
    """A message, which counts among the bytes that are held until it is closed."""

    def __init__(self, data: bytes, bodies: BodyBudget, heap: Heap) -> None:
        self._data = data
        self._bodies = bodies
        self._heap = heap
        self._held: contextlib.AbstractContextManager[Body] | None = None
        if len(data) > TINY:
            self._grow(len(data))

    def take(self) -> bytes:
        """Its bytes, which are here no longer."""
        data, self._data = self._data, b""
        return data

    def _grow(self, size: int) -> None:
        self._held = self._bodies.track()
        self._body = self._held.__enter__()
        try:
            self._bodies.add(self._body, size, _wait(0, lambda: None))
        except ServiceError:
            self.close()
            raise
        self._bodies.complete(self._body)

    def close(self) -> None:
        """Nobody holds it any longer."""
        if self._held is not None:
            self._heap.freed(self._body.size)
            self._held.__exit__(None, None, None)
            self._held = None


class Line:
    """A connection, as long as messages are waited for."""

    def __init__(self, bodies: BodyBudget, heap: Heap, seconds: float) -> None:
        self._places: asyncio.Semaphore | None = None
        self.calls = 0  # that wait, or wait for a place
        self.coming: dict[room.Wait, float | None] = {}  # since when, on the loop's clock; None: it has all the time
        self.due = 0.0  # when it has been slow: what comes puts it off
        self.large_since: float | None = None
        self._bodies = bodies
        self._heap = heap
        self._seconds = seconds
        self._received: int | None = None  # at the last look
        self._taken = 0  # of it, since then, in whole messages and heads
        self._held: contextlib.AbstractContextManager[Body] | None = None
        self._body: Body | None = None  # what has come, and is in no whole message yet
        self._most = 0  # of it at one time

    @property
    def size(self) -> int:
        """Bytes that have come, and are in no whole message yet."""
        return 0 if self._body is None else self._body.size

    @property
    def places(self) -> asyncio.Semaphore:
        """For the messages of calls that have one."""
        if self._places is None:
            self._places = asyncio.Semaphore(AT_ONCE)
        return self._places

    def took(self, size: int) -> None:
        """A message of so many bytes is whole, and held by its call."""
        self._taken += size + HEAD_BYTES

    def count(self, received: int | None, now: float) -> int:
        """So many bytes have come over the connection, ever; how many of them now, and are in no whole message."""
        if received is None:
            return 0
        size, more = self.size, 0
        if self._received is None:
            self.due = now + self._seconds
        else:
            more = max(received - self._received - self._taken, -size)
        self._received, self._taken = received, 0
        if more:
            self._grow(more, size + more, now)
        return more

    def close(self) -> None:
        """Nothing is waited for, or held."""
        if self._held is not None:
            self._heap.freed(self._most)
            self._held.__exit__(None, None, None)
            self._held = self._body = None

    def _grow(self, more: int, size: int, now: float) -> None:
        if self._held is None or self._body is None:
            self._held = self._bodies.track()
            self._body = self._held.__enter__()
        self.large_since = (self.large_since or now) if size > SMALL_BYTES else None
        self._most = max(self._most, size)
        try:
            self._bodies.add(self._body, more, _wait((self.large_since or now) + self._seconds, self.refuse))
        except ServiceError:  # `refuse` has been called
            return
        if self.large_since is None:
            self._bodies.complete(self._body)

    def refuse(self) -> None:
        """Wait for nothing of it, and begin anew: core lets go what has come."""
        error = self._bodies.full()
        self.large_since = None
        asyncio.get_running_loop().call_soon(self.close)  # when the body is not looked at any more
        for wait in list(self.coming):
            wait.refuse(error)


class _Refusal(NamedTuple):
    """In the place of a timeout: what is waited for is refused where there is no room for more."""

    refuse: Callable[[], None]

    def reschedule(self, _: float) -> None:
        """It is over."""
        self.refuse()


def _wait(end: float, refuse: Callable[[], None]) -> Wait:
    return Wait(end, cast("asyncio.Timeout", _Refusal(refuse)))
