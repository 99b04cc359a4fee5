"""Pipelined requests on a stream: many run at once, and their responses keep the order of the requests, as in Triton.

In: functions that read a request, answer it, and write a response. Out: the responses; every request that was read gets
its response before the stream ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

MAX_IN_FLIGHT = 64  # requests of one stream, read and not yet answered; more wait in their client


async def answer(
    read: Callable[[], Awaitable[T | None]],
    one: Callable[[T], Coroutine[Any, Any, Any]],
    done: Callable[[T], None],
    write: Callable[[Any], Awaitable[None]],
) -> None:
    """Write the response of `one` to each request, and call `done` after `one`.

    A `ServiceError` of `read` is raised after the responses to earlier requests.
    """
    places = asyncio.Semaphore(MAX_IN_FLIGHT)
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
