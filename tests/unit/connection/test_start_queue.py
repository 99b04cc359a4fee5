"""The queue of the app's requests: who starts when, beside a busy fast path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.connection.start_queue import CROWD, StartQueue

if TYPE_CHECKING:
    from service.errors import Overloaded

REQUESTS = 2000  # on the fast path


def work() -> None:
    """What one request costs, on the fast path or in the app: some 50 microseconds."""
    sum(range(4000))


async def start_beside_the_fast_path(waiting: int) -> int:
    """How many of the app's requests start while so many always wait, and the fast path has a request in each turn."""
    loop = asyncio.get_running_loop()
    queue = StartQueue(max_wait=60, priority_paths=())
    done = loop.create_future()
    started = 0

    def begin(refusal: Overloaded | None) -> None:
        assert refusal is None
        loop.call_soon(step)

    def step() -> None:
        nonlocal started
        started += 1
        work()
        if not done.done():
            queue.enqueue(begin, "/")

    def answer_fast() -> None:
        queue.fast_requests += 1
        work()
        if queue.fast_requests < REQUESTS:
            loop.call_soon(answer_fast)
        else:
            done.set_result(None)

    for _ in range(waiting):
        queue.enqueue(begin, "/")
    answer_fast()
    await done
    return started


@pytest.mark.parametrize(("waiting", "least", "most"), [(CROWD // 4, 1 / 2, 8), (CROWD * 4, 1 / 40, 1 / 4)])
def test_only_a_crowd_leaves_the_fast_path_its_share(waiting: int, least: float, most: float) -> None:
    """A few start in every other turn; of a crowd, one for every four to forty requests on the fast path."""
    started = asyncio.run(start_beside_the_fast_path(waiting))
    assert least < started / REQUESTS < most
