"""Room for so many calls: beyond, the one that has waited longest for its client makes room for the next.

In: calls as they begin and end, and the waits of each for its client. Out: a wait that is over, or `Overloaded`. So
clients that send nothing keep out nobody who does. It knows nothing of messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...errors import ServiceError


class Wait:
    """A call waits for its client; `end` is how to let it wait no longer."""

    __slots__ = ("_end", "refused")

    def __init__(self, end: Callable[[ServiceError], object]) -> None:
        self._end = end
        self.refused: ServiceError | None = None

    def refuse(self, error: ServiceError) -> None:
        """Wait no longer."""
        if self.refused is None:
            self.refused = error
            self._end(error)


class Room:
    """That of one worker, for one kind of call."""

    def __init__(self, kind: str, most: int) -> None:
        sentence = f"This worker has {most:,} {kind}, which is the limit. Come back in 1 s."
        self.full = Overloaded(sentence, limit=most, retry_after_s=1)
        self._most = most
        self._count = 0
        self._waits: dict[Wait, None] = {}  # the longest first
        self._ended: ServiceError | None = None

    def enter(self) -> None:
        """One call more, which is to leave; raises `Overloaded`."""
        if self._count >= self._most:
            self._make_room()
        self._count += 1

    def leave(self) -> None:
        """One call less."""
        self._count -= 1

    def wait(self, wait: Wait) -> None:
        """One of the calls waits for its client."""
        self._waits[wait] = None
        if self._ended is not None:
            wait.refuse(self._ended)

    def waited(self, wait: Wait) -> None:
        """It does no longer."""
        self._waits.pop(wait, None)

    def end(self, error: ServiceError) -> None:
        """No call waits for its client any more."""
        self._ended = error
        for wait in self._waits:
            wait.refuse(error)

    def _make_room(self) -> None:
        if not self._waits:
            raise self.full
        longest = next(iter(self._waits))
        del self._waits[longest]
        longest.refuse(self.full)
