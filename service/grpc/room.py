"""Room for so many calls: beyond, the one that has waited longest for its client makes room for the next.

In: calls as they begin and end, and the waits of each for its client. Out: a wait that is over, or `Overloaded`. So
clients that send nothing keep out nobody who does. It knows nothing of messages.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from service.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.errors import ServiceError

Wait = asyncio.Future[bytes | None]


class Room:
    """That of one worker, for one kind of call."""

    def __init__(self, kind: str, most: int) -> None:
        self.full = Overloaded(
            f"This worker has {most:,} {kind}, which is the limit. Come back in 1 s.", limit=most, retry_after_s=1
        )
        self._most = most
        self._ended: ServiceError | None = None
        self._count = 0
        self._waits: dict[Wait, None] = {}  # the longest first

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A call, as long as the context is open; raises `Overloaded`."""
        if self._count >= self._most:
            self._make_room()
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextlib.contextmanager
    def waiting(self, wait: Wait) -> Iterator[None]:
        """One of the calls waits for its client."""
        self._waits[wait] = None
        if self._ended is not None:
            refuse(wait, self._ended)
        try:
            yield
        finally:
            self._waits.pop(wait, None)

    def end(self, error: ServiceError) -> None:
        """No call waits for its client any more."""
        self._ended = error
        for wait in self._waits:
            refuse(wait, error)

    def _make_room(self) -> None:
        if not self._waits:
            raise self.full
        longest = next(iter(self._waits))
        del self._waits[longest]
        refuse(longest, self.full)


def refuse(wait: Wait, error: BaseException) -> None:
    """Let a wait end so, if it has not ended."""
    if not wait.done():
        wait.set_exception(error)
