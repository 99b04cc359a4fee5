"""Collect the metrics once for all who ask at the same time, in a tenth of a worker's time at most.

In: a way to collect the metrics, and functions that turn them into a text or totals. Out: one result for all who asked
before the collection began, so that each finds its own requests counted. Collections never overlap, and pause in
between. It knows neither HTTP nor any metric.
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

MAX_WAITING = 128  # requests
MAX_CPU_SHARE = 0.1  # of one worker's time
RESPONSE_SECONDS = 0.0003  # CPU time of each response in the event loop, besides the collection


class Scrapes:
    """The scrapes of one worker, in its event loop."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """`collect` is called in a thread."""
        self._collect = collect
        self._waiting: list[tuple[Make[Any], asyncio.Future[Any]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, make: Make[Result]) -> Result:
        """Return what `make` makes of the metrics as they are now, or a little later; raises `Overloaded`."""
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} requests wait for the metrics; that is the limit.", limit=MAX_WAITING, retry_after_s=1
            )
        made: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((make, made))
        if self._work is None:
            self._work = asyncio.create_task(self._respond_to_all())
        return await made

    async def _respond_to_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            began = time.monotonic()
            seconds = await self._respond_to(asked)
            await asyncio.sleep(began + seconds / MAX_CPU_SHARE - time.monotonic())
        self._work = None

    async def _respond_to(self, asked: list[tuple[Make[Any], asyncio.Future[Any]]]) -> float:
        """Answer these requests; return the CPU time that it took."""
        makes = {make for make, _ in asked}
        made: dict[Make[Any], Any]
        try:
            made, seconds = await run_in_threadpool(self._make, makes)
        except Exception as error:  # noqa: BLE001 - those who asked get the error
            made, seconds = dict.fromkeys(makes, error), 0.0
        for make, future in asked:
            if not future.done():
                _settle(future, made[make])
        return seconds + len(asked) * RESPONSE_SECONDS

    def _make(self, makes: set[Make[Any]]) -> tuple[dict[Make[Any], Any], float]:
        """Return what each function makes, and the CPU time of all."""
        began = time.thread_time()
        metrics = list(self._collect())
        return {make: make(metrics) for make in makes}, time.thread_time() - began


def _settle(future: asyncio.Future[Any], made: Any) -> None:
    if isinstance(made, Exception):
        future.set_exception(made)
    else:
        future.set_result(made)
