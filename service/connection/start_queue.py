"""A queue in which the app's requests wait to start, so that a crowd of them cannot block the event loop.

In: requests that are ready to start, one of each connection at a time; and how many the fast path has taken. Out: in
every other turn of the loop, as many start as take 0.2 ms, in the order of arrival. In between, the loop reads its
sockets and answers on the fast path. A crowd starts more slowly while the fast path is busy: its requests' first steps
take a seventeenth of the time, and all that they cost, from parsing to writing, about a fifth. Requests that wait
too long are refused, a few in each turn, because a refusal costs time too. Priority paths, such as health and metrics,
have a queue of their own.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from ..errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    Begin: TypeAlias = Callable[[Overloaded | None], None]  # starts the request, or refuses it with the error

TURN_SECONDS = 0.0002
REFUSALS_PER_TURN = 4
CROWD = 256  # requests that wait: from so many on, they leave the fast path its share
FAST_SHARE = 16  # seconds for the fast path, while it is busy, for each second in which the app starts requests
BUSY_SECONDS = 0.0005  # after a request on the fast path: its client may be about to send the next one
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
        self.fast_requests = 0  # that the fast path has taken, ever
        self._fast_before = self._fast_seen = 0  # of them, those before the last turn, and those before the last look
        self._fast_since = 0.0  # when the last of them was seen, perf_counter
        self._fast_until = 0.0  # when the next turn may come although the fast path is busy, perf_counter
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

    def _begin(self, requests: list[Begin], refused: Sequence[tuple[Begin, Overloaded]] = ()) -> None:
        """Start requests, and refuse others; their first steps run in the loop's next turn, and are timed there."""
        loop = asyncio.get_running_loop()
        self._turn_started, self._started = time.perf_counter(), len(requests)
        loop.call_soon(self._before_steps)
        for begin, error in refused:
            begin(error)
        for begin in requests:
            begin(None)
        loop.call_soon(self._after_steps, loop)

    def _before_steps(self) -> None:
        self._steps_started = time.perf_counter()

    def _after_steps(self, loop: asyncio.AbstractEventLoop) -> None:
        """Schedule the next turn after the loop has read its sockets."""
        now = time.perf_counter()
        steps = now - self._steps_started
        if self._started:
            self._step += LEARNING_RATE * (steps / self._started - self._step)
        self._fast_before = self._fast_seen = self.fast_requests
        self._fast_until = now + FAST_SHARE * steps
        loop.call_soon(self._turn)

    def _yields(self, now: float) -> bool:
        """Return whether a crowd waits while the fast path is busy, and has not had its share of the time yet."""
        if len(self._waiting) + len(self._refused) < CROWD:
            return False
        if self._fast_seen != self.fast_requests:
            self._fast_seen, self._fast_since = self.fast_requests, now
        busy = self._fast_seen != self._fast_before and now - self._fast_since < BUSY_SECONDS
        return busy and now < self._fast_until

    def _turn(self) -> None:
        now = time.perf_counter()
        while self._waiting and now - self._waiting[0][1] > self._max_wait:
            begin, since = self._waiting.popleft()
            self._refuse(begin, now - since)
        if not (self._priority or self._waiting or self._refused):
            self._active = False
            return
        if not self._priority and self._yields(now):
            asyncio.get_running_loop().call_soon(self._turn)
            return
        if self._waiting and self._started:
            self._each += LEARNING_RATE * ((now - self._turn_started) / self._started - self._each)
        refused = [self._refused.popleft() for _ in range(min(REFUSALS_PER_TURN, len(self._refused)))]
        count = max(1, int(TURN_SECONDS / self._step))
        priority = [self._priority.popleft() for _ in range(min(count, len(self._priority)))]
        waiting = [self._waiting.popleft()[0] for _ in range(min(count, len(self._waiting)))]
        self._begin(priority + waiting, refused)
