"""What is made of all metrics, for whoever asks: once for all that ask together, and for a tenth of a worker's time.

In: the metrics, and what is to be made of them: a text, or totals. Out: the same to all that asked before it was
begun, so that each finds its own requests counted. However many ask, one is made at a time, and the next after a rest.
It knows neither HTTP nor what the metrics are.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool

from ..errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    Result = TypeVar("Result")
    Make = Callable[[Iterable[Metric]], Result]

MAX_WAITING = 128  # that wait at once
MAX_CPU_SHARE = 0.1  # of the time
ANSWER_SECONDS = 0.0003  # that each answer takes in the event loop, beside what it is made of


class Scrapes:
    """One worker's, in its event loop."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """`collect` is called in a thread."""
        self._collect = collect
        self._waiting: list[tuple[Make[Any], asyncio.Future[Any]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, make: Make[Result]) -> Result:
        """What this makes of the metrics as they are now, or a little later; raises `Overloaded`."""
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} requests wait for the metrics; that is the limit.", limit=MAX_WAITING, retry_after_s=1
            )
        made: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((make, made))
        if self._work is None:
            self._work = asyncio.create_task(self._answer_all())
        return await made

    async def _answer_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            began = time.monotonic()
            seconds = await self._answer(asked)
            await asyncio.sleep(began + seconds / MAX_CPU_SHARE - time.monotonic())
        self._work = None

    async def _answer(self, asked: list[tuple[Make[Any], asyncio.Future[Any]]]) -> float:
        """Answer all these; returns the CPU time that it took."""
        makes = {make for make, _ in asked}
        made: dict[Make[Any], Any]
        try:
            made, seconds = await run_in_threadpool(self._make, makes)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            made, seconds = dict.fromkeys(makes, error), 0.0
        for make, future in asked:
            if not future.done():
                _settle(future, made[make])
        return seconds + len(asked) * ANSWER_SECONDS

    def _make(self, makes: set[Make[Any]]) -> tuple[dict[Make[Any], Any], float]:
        """What each makes, and the CPU time of it all."""
        began = time.thread_time()
        metrics = list(self._collect())
        return {make: make(metrics) for make in makes}, time.thread_time() - began


def _settle(future: asyncio.Future[Any], made: Any) -> None:
    if isinstance(made, Exception):
        future.set_exception(made)
    else:
        future.set_result(made)
