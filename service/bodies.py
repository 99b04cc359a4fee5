"""The bodies that one worker holds, each from its first bytes until its request is answered: how many bytes at most.

In: bodies as they grow. Out: over the limit one of the large ones that are still coming is refused: the oldest, if its
client has been slow, or else the newest. So neither small ones have to wait, nor do slow clients keep out the others.
It knows sizes and times, and nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from service.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = 65_536  # bytes: a body up to this is never refused
LARGEST = 4  # so many bodies of the largest size there may be


class Body:
    """How much of one is held."""

    size = 0
    refused = False


class Wait(NamedTuple):
    """For what is still to come."""

    end: float  # of the time that every body has, on the loop's clock: who needs more is slow
    timeout: asyncio.Timeout


class Bodies:
    """All of them."""

    def __init__(self, max_body_bytes: int) -> None:
        self._limit = LARGEST * max_body_bytes
        self._bytes = 0
        self._coming: dict[Body, Wait] = {}  # the large ones, in the order in which they came to be large

    @contextlib.contextmanager
    def one(self) -> Iterator[Body]:
        """A body, which is held while the context is open."""
        body = Body()
        try:
            yield body
        finally:
            self.whole(body)
            self._bytes -= body.size

    def grow(self, body: Body, size: int, wait: Wait) -> None:
        """So many bytes more have come of it; raises `Overloaded`."""
        if not body.refused:
            body.size += size
            self._bytes += size
            if body.size > SMALL:
                self._coming.setdefault(body, wait)
            while self._bytes > self._limit and self._coming:
                self._make_room()
        if body.refused:
            raise self.full()

    def whole(self, body: Body) -> None:
        """No more of it comes."""
        self._coming.pop(body, None)

    def full(self) -> Overloaded:
        """Why a body is refused."""
        sentence = f"This worker holds {self._limit:,} bytes of bodies, which is the limit. Come back in 1 s."
        return Overloaded(sentence, limit=self._limit, retry_after_s=1)

    def _make_room(self) -> None:
        now = asyncio.get_running_loop().time()
        oldest, newest = next(iter(self._coming)), next(reversed(self._coming))
        body = oldest if now > self._coming[oldest].end else newest
        self._coming.pop(body).timeout.reschedule(now)
        self._bytes -= body.size
        body.size, body.refused = 0, True
