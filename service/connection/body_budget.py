"""The memory budget of request bodies in one worker: a body counts from its first bytes until its response is made.

In: bodies as they grow. Out: over the limit, one body that is still arriving is refused.

Large bodies are refused first: the oldest one with a slow client, else the largest, and of equals the newest. If there
are none, the oldest small body is refused. So small bodies do not wait for large ones, and slow clients block nobody.
Huge bodies also leave room for others after they have arrived, because a reader reads one of them at a time.
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
SMALL_BYTES = 65_536  # a body up to this size is refused only if no larger one is arriving
HUGE_BYTES = 8 * 2**20  # a larger body is huge
RESERVED_BYTES = 16 * 2**20  # huge bodies leave these bytes to others, except for a single huge one


class Body:
    """The held bytes of one body."""

    size = 0
    grown = 0.0  # arrival of its last bytes, on the loop's clock
    refused = False


class Wait(NamedTuple):
    """The wait for the rest of a body."""

    end: float  # on the loop's clock; a client that needs longer is slow
    timeout: asyncio.Timeout


class BodyBudget:
    """The bodies of one worker; a single body of `max_body_bytes` is never refused."""

    def __init__(self, budget: Budget, max_body_bytes: int) -> None:
        self._budget = budget
        self._max_body_bytes = max_body_bytes
        self._share = budget.share(max_body_bytes, self._make_room)
        self._huge: set[Body] = set()
        # The bodies that are arriving, in the order in which they became small or large.
        self._small: dict[Body, Wait] = {}
        self._large: dict[Body, Wait] = {}

    @contextlib.contextmanager
    def track(self) -> Iterator[Body]:
        """Yield a new body, which counts until the context ends."""
        body = Body()
        try:
            yield body
        finally:
            self.complete(body)
            self._huge.discard(body)
            self._share.held -= body.size

    def add(self, body: Body, size: int, wait: Wait) -> None:
        """Count `size` more bytes of a body; raises `Overloaded` if the body is refused."""
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
        """Record that all of a body has arrived."""
        self._small.pop(body, None)
        self._large.pop(body, None)

    def full(self) -> Overloaded:
        """Return the error of a refused body."""
        return self._budget.full()

    def _make_room(self, _: int) -> bool:
        now = asyncio.get_running_loop().time()
        arriving = self._large or self._small
        if not arriving:
            return False
        self._refuse(self._next_large(now) if self._large else next(iter(self._small)), arriving)
        return True

    def _settle_huge(self) -> None:
        """Refuse the largest arriving huge bodies until the reserved bytes are free."""
        limit = max(self._max_body_bytes, self._budget.limit - RESERVED_BYTES)
        while sum(body.size for body in self._huge) > limit and (arriving := self._huge & self._large.keys()):
            self._refuse(max(arriving, key=lambda body: body.size), self._large)

    def _refuse(self, body: Body, arriving: dict[Body, Wait]) -> None:
        arriving.pop(body).timeout.reschedule(asyncio.get_running_loop().time())
        self._huge.discard(body)
        self._share.held -= body.size
        body.size, body.refused = 0, True

    def _next_large(self, now: float) -> Body:
        """Return the large body to refuse next."""
        slow = (body for body, wait in self._large.items() if now > min(wait.end, body.grown + SLOW_SECONDS))
        return next(slow, None) or max(reversed(self._large), key=lambda body: body.size)
