"""Requests of the normal way begin by turns, so that no number of them keeps the event loop from its sockets.

In: requests that may begin, one of each connection at a time. Out: in every other turn of the loop as many begin as
take a fifth of a millisecond, in the order in which they came; in between the loop reads its sockets and answers what
goes the fast path. What waits too long is refused, a few in each turn, since even refusals cost something. Health and
metrics have a line of their own. It knows paths and waiting times, and nothing else of HTTP.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from ..errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Begin: TypeAlias = Callable[[Overloaded | None], None]  # begins the request, or its refusal

SECONDS = 0.0002
REFUSALS = 4  # in one turn
LEARNING_RATE = 0.05


class StartQueue:
    """Who begins when, in one event loop."""

    def __init__(self, max_wait: float, ahead: Collection[str]) -> None:
        """`max_wait` in seconds; requests for the paths in `ahead` go before the others."""
        self._max_wait = max_wait
        self._paths_ahead = ahead
        self._ahead: deque[Begin] = deque()
        self._waiting: deque[tuple[Begin, float]] = deque()  # since when, perf_counter
        self._refused: deque[tuple[Begin, Overloaded]] = deque()
        self._turning = False
        self._turned = 0.0  # when this turn began, perf_counter
        self._stepped = 0.0  # when the requests that it began took their first steps
        self._began = 0  # how many these are
        # Moving averages, in seconds: what the first step of a request takes, and a turn for each of its requests.
        self._step = self._each = SECONDS

    def enqueue(self, begin: Begin, path: str) -> None:
        """Call `begin` when it is this request's turn: now, where none waits."""
        if not self._turning:
            self._turning = True
            self._begin([begin])
        elif path in self._paths_ahead:
            self._ahead.append(begin)
        elif (wait := len(self._waiting) * self._each) > self._max_wait:
            self._refuse(begin, wait)
        else:
            self._waiting.append((begin, time.perf_counter()))

    async def wait_turn(self) -> None:
        """Wait for a turn, in the midst of a request; raises `Overloaded`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin(refusal: Overloaded | None) -> None:
            if turn.done():  # given up meanwhile
                return
            if refusal is None:
                turn.set_result(None)
            else:
                turn.set_exception(refusal)

        self.enqueue(begin, "")
        await turn

    def _refuse(self, begin: Begin, wait: float) -> None:
        later = math.ceil(wait)
        sentence = f"A request waits for about {wait:.2g} s; the limit is {self._max_wait:g} s. Come back in {later} s."
        self._refused.append((begin, Overloaded(sentence, limit=self._max_wait, retry_after_s=later)))

    def _begin(self, requests: list[Begin]) -> None:
        """Begin them: they take their first steps in the next turn of the loop, between two looks at the clock."""
        loop = asyncio.get_running_loop()
        self._turned, self._began = time.perf_counter(), len(requests)
        loop.call_soon(self._stepping)
        for begin in requests:
            begin(None)
        loop.call_soon(self._have_stepped, loop)

    def _stepping(self) -> None:
        self._stepped = time.perf_counter()

    def _have_stepped(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop read its sockets, and do what comes from them, before the next turn."""
        if self._began:
            self._step += LEARNING_RATE * ((time.perf_counter() - self._stepped) / self._began - self._step)
        loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.perf_counter()
        while self._waiting and now - self._waiting[0][1] > self._max_wait:
            begin, since = self._waiting.popleft()
            self._refuse(begin, now - since)
        if not (self._ahead or self._waiting or self._refused):
            self._turning = False
            return
        if self._waiting and self._began:
            self._each += LEARNING_RATE * ((now - self._turned) / self._began - self._each)
        for _ in range(min(REFUSALS, len(self._refused))):
            begin, error = self._refused.popleft()
            begin(error)
        count = max(1, int(SECONDS / self._step))
        ahead = [self._ahead.popleft() for _ in range(min(count, len(self._ahead)))]
        waiting = [self._waiting.popleft()[0] for _ in range(min(count, len(self._waiting)))]
        self._begin(ahead + waiting)
