"""The bodies that the app of one worker holds, each from its first bytes until its request is answered.

In: bodies as they grow. Out: when the worker holds too much, one of those that are still coming is refused. Of large
ones the oldest whose client is slow, or else the largest, and of equals the newest; where there are none, the oldest
small one. So small ones need not wait for large ones, nor large ones for larger ones, and slow clients keep out nobody.
Huge ones, of which one is read at a time, leave room for others also when they have come.
It knows sizes and times, and nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..errors import Overloaded
    from .budget import Budget

SLOW_SECONDS = 1.0  # seconds without a byte after which a client is slow
SMALL_BYTES = 65_536  # bytes: a body up to this makes room only where there are no larger ones
HUGE_BYTES = 8 * 2**20  # bytes: a body of more is huge
RESERVED_BYTES = 16 * 2**20  # bytes that huge ones leave to the others, unless there is one alone


class Body:
    """How much of one is held."""

    size = 0
    grown = 0.0  # when its last bytes came, on the loop's clock
    refused = False


class Wait(NamedTuple):
    """For what is still to come."""

    end: float  # of the time that every body has, on the loop's clock: who needs more is slow
    timeout: asyncio.Timeout


class BodyBudget:
    """All of them."""

    def __init__(self, budget: Budget, max_body_bytes: int) -> None:
        """The largest body, alone, is never refused."""
        self._budget = budget
        self._max_body_bytes = max_body_bytes
        self._share = budget.share(max_body_bytes, self._make_room)
        self._huge: set[Body] = set()
        # Those that are coming, in the order in which they came to be small or large.
        self._small: dict[Body, Wait] = {}
        self._large: dict[Body, Wait] = {}

    @contextlib.contextmanager
    def track(self) -> Iterator[Body]:
        """A body, which is held while the context is open."""
        body = Body()
        try:
            yield body
        finally:
            self.complete(body)
            self._huge.discard(body)
            self._share.held -= body.size

    def add(self, body: Body, size: int, wait: Wait) -> None:
        """So many bytes more have come of it; raises `Overloaded`."""
        if not body.refused:
            body.size += size
            body.grown = asyncio.get_running_loop().time()
            self._share.held += size
            if body.size > SMALL_BYTES:
                self._small.pop(body, None)
                self._large.setdefault(body, wait)
            else:
                self._small.setdefault(body, wait)
            if body.size > HUGE_BYTES:
                self._huge.add(body)
                self._settle_huge()
            self._share.settle()
        if body.refused:
            raise self.full()

    def complete(self, body: Body) -> None:
        """No more of it comes."""
        self._small.pop(body, None)
        self._large.pop(body, None)

    def full(self) -> Overloaded:
        """Why a body is refused."""
        return self._budget.full()

    def _make_room(self, _: int) -> bool:
        now = asyncio.get_running_loop().time()
        coming = self._large or self._small
        if not coming:
            return False
        self._refuse(self._large_one(now) if self._large else next(iter(self._small)), coming)
        return True

    def _settle_huge(self) -> None:
        """Refuse the largest of the huge ones that are coming, until there is room for others beside all of them."""
        limit = max(self._max_body_bytes, self._budget.limit - RESERVED_BYTES)
        while sum(body.size for body in self._huge) > limit and (coming := self._huge & self._large.keys()):
            self._refuse(max(coming, key=lambda body: body.size), self._large)

    def _refuse(self, body: Body, coming: dict[Body, Wait]) -> None:
        coming.pop(body).timeout.reschedule(asyncio.get_running_loop().time())
        self._huge.discard(body)
        self._share.held -= body.size
        body.size, body.refused = 0, True

    def _large_one(self, now: float) -> Body:
        """The large one that makes room for the others."""
        slow = (body for body, wait in self._large.items() if now > min(wait.end, body.grown + SLOW_SECONDS))
        return next(slow, None) or max(reversed(self._large), key=lambda body: body.size)
