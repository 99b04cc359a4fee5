"""The bytes of gRPC messages in the worker's memory budget: complete messages, and the arrived parts of others.

In: messages, and the bytes that each connection has received. Out: without room for more, waits are refused.
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

__all__ = ["SMALL_BYTES", "Held", "PeerConnection"]

UNCOUNTED_BYTES = 4096  # messages up to this size are limited by the number of calls alone
READS_PER_CONNECTION = 16  # at once; core buffers up to 64 KiB of each further message
HEAD_BYTES = 1024  # of a call's headers, at most; they arrive before its message, and are not held


class Held:
    """A message, which counts in the memory budget until it is closed."""

    def __init__(self, data: bytes, bodies: BodyBudget, heap: Heap) -> None:
        self._data = data
        self._bodies = bodies
        self._heap = heap
        self._held: contextlib.AbstractContextManager[Body] | None = None
        if len(data) > UNCOUNTED_BYTES:
            self._add(len(data))

    def take(self) -> bytes:
        """Return the message's bytes, and drop the reference to them."""
        data, self._data = self._data, b""
        return data

    def _add(self, size: int) -> None:
        self._held = self._bodies.track()
        self._body = self._held.__enter__()
        try:
            self._bodies.add(self._body, size, _wait(0, lambda: None))
        except ServiceError:
            self.close()
            raise
        self._bodies.complete(self._body)

    def close(self) -> None:
        """Remove the message from the budget."""
        if self._held is not None:
            self._heap.freed(self._body.size)
            self._held.__exit__(None, None, None)
            self._held = None


class PeerConnection:
    """A connection on which calls wait for messages."""

    def __init__(self, bodies: BodyBudget, heap: Heap, seconds: float) -> None:
        self._places: asyncio.Semaphore | None = None
        self.calls = 0  # calls that wait for a message or for a place
        self.coming: dict[room.Wait, float | None] = {}  # start of each wait, loop's clock; None without a time limit
        self.due = 0.0  # when the connection becomes slow; arriving bytes move this time forward
        self.large_since: float | None = None
        self._bodies = bodies
        self._heap = heap
        self._seconds = seconds
        self._received: int | None = None  # bytes at the last poll
        self._completed = 0  # bytes since then in complete messages and headers
        self._held: contextlib.AbstractContextManager[Body] | None = None
        self._body: Body | None = None  # the arrived bytes of incomplete messages
        self._peak = 0  # their greatest size

    @property
    def size(self) -> int:
        """The arrived bytes of incomplete messages."""
        return 0 if self._body is None else self._body.size

    @property
    def places(self) -> asyncio.Semaphore:
        """The places for unary calls that read a message."""
        if self._places is None:
            self._places = asyncio.Semaphore(READS_PER_CONNECTION)
        return self._places

    def complete(self, size: int) -> None:
        """Record a complete message of `size` bytes, which its call holds."""
        self._completed += size + HEAD_BYTES

    def count(self, received: int | None, now: float) -> int:
        """Count `received`, the connection's total bytes so far; return the new bytes of incomplete messages."""
        if received is None:
            return 0
        size, more = self.size, 0
        if self._received is None:
            self.due = now + self._seconds
        else:
            more = max(received - self._received - self._completed, -size)
        self._received, self._completed = received, 0
        if more:
            self._add(more, size + more, now)
        return more

    def close(self) -> None:
        """Remove the incomplete messages from the budget."""
        if self._held is not None:
            self._heap.freed(self._peak)
            self._held.__exit__(None, None, None)
            self._held = self._body = None

    def _add(self, more: int, size: int, now: float) -> None:
        if self._held is None or self._body is None:
            self._held = self._bodies.track()
            self._body = self._held.__enter__()
        self.large_since = (self.large_since or now) if size > SMALL_BYTES else None
        self._peak = max(self._peak, size)
        try:
            self._bodies.add(self._body, more, _wait((self.large_since or now) + self._seconds, self.refuse))
        except ServiceError:  # `refuse` has been called
            return
        if self.large_since is None:
            self._bodies.complete(self._body)

    def refuse(self) -> None:
        """Refuse every wait on this connection; core then drops the arrived bytes."""
        error = self._bodies.full()
        self.large_since = None
        asyncio.get_running_loop().call_soon(self.close)  # after the budget has finished with the body
        for wait in list(self.coming):
            wait.refuse(error)


class _Refusal(NamedTuple):
    """In place of a body's timeout: the budget reschedules it to refuse the wait."""

    refuse: Callable[[], None]

    def reschedule(self, _: float) -> None:
        """Refuse the wait."""
        self.refuse()


def _wait(end: float, refuse: Callable[[], None]) -> Wait:
    return Wait(end, cast("asyncio.Timeout", _Refusal(refuse)))
