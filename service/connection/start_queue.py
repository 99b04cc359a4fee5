"""A queue in which the app's requests wait to start, so that a crowd of them cannot block the event loop.

In: requests that are ready to start, one of each connection at a time. Out: in every other turn of the loop, as many
start as take 0.2 ms, in the order of arrival. In between, the loop reads its sockets and answers on the fast path.
Requests that wait too long are refused, a few in each turn, because a refusal costs time too. Priority paths, such as
health and metrics, have a queue of their own.
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

    Begin: TypeAlias = Callable[[Overloaded | None], None]  # starts the request, or refuses it with the error

TURN_SECONDS = 0.0002
REFUSALS_PER_TURN = 4
LEARNING_RATE = 0.05


class StartQueue:
    """The queue of one event loop; `max_wait` is in seconds, and `priority_paths` go before the others."""

    def __init__(self, max_wait: float, priority_paths: Collection[str]) -> None:
        self._max_wait = max_wait
        self._priority_paths = priority_paths
        self._priority: deque[Begin] = deque()
        self._waiting: deque[tuple[Begin, float]] = deque()  # with the time of arrival, perf_counter
        self._refused: deque[tuple[Begin, Overloaded]] = deque()
        self._active = False
        self._turn_started = 0.0  # perf_counter
        self._steps_started = 0.0  # first steps of this turn's requests, perf_counter
        self._started = 0  # requests of this turn
        # Moving averages in seconds for one request: of its first step, and of its part of a turn.
        self._step = self._each = TURN_SECONDS

    def enqueue(self, begin: Begin, path: str) -> None:
        """Call `begin` when it is this request's turn; at once if no other request waits."""
        if not self._active:
            self._active = True
            self._begin([begin])
        elif path in self._priority_paths:
            self._priority.append(begin)
        elif (wait := len(self._waiting) * self._each) > self._max_wait:
            self._refuse(begin, wait)
        else:
            self._waiting.append((begin, time.perf_counter()))

    async def wait_turn(self) -> None:
        """Wait for a turn during a request; raises `Overloaded`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin(refusal: Overloaded | None) -> None:
            if turn.done():  # cancelled meanwhile
                return
            if refusal is None:
                turn.set_result(None)
            else:
                turn.set_exception(refusal)

        self.enqueue(begin, "")
        await turn

    def _refuse(self, begin: Begin, wait: float) -> None:
        retry_after = math.ceil(wait)
        limit = f"the limit is {self._max_wait:g} s"
        detail = f"A request waits for about {wait:.2g} s; {limit}. Retry in {retry_after} s."
        self._refused.append((begin, Overloaded(detail, limit=self._max_wait, retry_after_s=retry_after)))

    def _begin(self, requests: list[Begin]) -> None:
        """Start requests; their first steps run in the loop's next turn, and are timed there."""
        loop = asyncio.get_running_loop()
        self._turn_started, self._started = time.perf_counter(), len(requests)
        loop.call_soon(self._before_steps)
        for begin in requests:
            begin(None)
        loop.call_soon(self._after_steps, loop)

    def _before_steps(self) -> None:
        self._steps_started = time.perf_counter()

    def _after_steps(self, loop: asyncio.AbstractEventLoop) -> None:
        """Schedule the next turn after the loop has read its sockets."""
        if self._started:
            self._step += LEARNING_RATE * ((time.perf_counter() - self._steps_started) / self._started - self._step)
        loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.perf_counter()
        while self._waiting and now - self._waiting[0][1] > self._max_wait:
            begin, since = self._waiting.popleft()
            self._refuse(begin, now - since)
        if not (self._priority or self._waiting or self._refused):
            self._active = False
            return
        if self._waiting and self._started:
            self._each += LEARNING_RATE * ((now - self._turn_started) / self._started - self._each)
        for _ in range(min(REFUSALS_PER_TURN, len(self._refused))):
            begin, error = self._refused.popleft()
            begin(error)
        count = max(1, int(TURN_SECONDS / self._step))
        priority = [self._priority.popleft() for _ in range(min(count, len(self._priority)))]
        waiting = [self._waiting.popleft()[0] for _ in range(min(count, len(self._waiting)))]
        self._begin(priority + waiting)
