"""Requests on a stream, as Triton answers those to a model with one answer each: in their order, many at a time.

In: what reads a stream's next request, what answers one, what writes an answer, and the event after which no more are
read. Out: the answers; what was read is answered before the stream ends. It knows neither what is asked nor who may
ask.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

AT_ONCE = 64  # requests of one stream, from when they are read until their answers are taken; more wait in their client


async def answer(
    read: Callable[[], Awaitable[T | None]],
    one: Callable[[T], Coroutine[Any, Any, Any]],
    done: Callable[[T], None],
    write: Callable[[Any], Awaitable[None]],
) -> None:
    """Write what `one` makes of each request, which is then `done`.

    Where reading raises a `ServiceError`, what was read before is answered, and then it is raised.
    """
    places = asyncio.Semaphore(AT_ONCE)
    answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()

    async def read_all() -> ServiceError | None:
        try:
            while True:
                await places.acquire()
                request = await read()
                if request is None:
                    return None
                answered = group.create_task(one(request))
                answered.add_done_callback(lambda _, request=request: done(request))  # type: ignore[misc]
                answers.put_nowait(answered)
        except ServiceError as error:
            return error
        finally:
            answers.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read_all())
        while (answered := await answers.get()) is not None:
            await write(await answered)
            places.release()
    if (error := reading.result()) is not None:
        raise error
