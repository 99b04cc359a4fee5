"""A limit of concurrent calls; over it, the call that has waited longest for its client is refused.

In: calls as they begin and end, and their waits for their clients. Out: an ended wait, or `Overloaded`. So clients that
send nothing cannot block others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...errors import ServiceError


class Wait:
    """A call's wait for its client; `end` ends it with an error."""

    __slots__ = ("_end", "refused")

    def __init__(self, end: Callable[[ServiceError], object]) -> None:
        self._end = end
        self.refused: ServiceError | None = None

    def refuse(self, error: ServiceError) -> None:
        """End the wait."""
        if self.refused is None:
            self.refused = error
            self._end(error)


class Room:
    """The room for one kind of call in one worker."""

    def __init__(self, kind: str, limit: int) -> None:
        detail = f"This worker has {limit:,} {kind}, which is the limit. Retry in 1 s."
        self.full = Overloaded(detail, limit=limit, retry_after_s=1)
        self._limit = limit
        self._count = 0
        self._waits: dict[Wait, None] = {}  # the oldest first
        self._ended: ServiceError | None = None

    def enter(self) -> None:
        """Add a call; raises `Overloaded`."""
        if self._count >= self._limit:
            self._make_room()
        self._count += 1

    def leave(self) -> None:
        """Remove a call."""
        self._count -= 1

    def wait(self, wait: Wait) -> None:
        """Begin a wait for a client."""
        self._waits[wait] = None
        if self._ended is not None:
            wait.refuse(self._ended)

    def waited(self, wait: Wait) -> None:
        """End a wait."""
        self._waits.pop(wait, None)

    def end(self, error: ServiceError) -> None:
        """Refuse all waits, now and later."""
        self._ended = error
        for wait in self._waits:
            wait.refuse(error)

    def _make_room(self) -> None:
        if not self._waits:
            raise self.full
        longest = next(iter(self._waits))
        del self._waits[longest]
        longest.refuse(self.full)
