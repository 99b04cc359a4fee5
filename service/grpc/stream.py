"""Requests on a stream, as Triton answers those to a model with one answer each: in their order, many at a time.

In: a stream's requests, what answers one, and the event after which no more are read. Out: the answers; what was read
is answered before the stream ends. It knows neither what is asked nor who may ask.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

AT_ONCE = 64  # requests of one stream, from when they are read until they are answered; more wait in their client
ENDED = "The service is shutting down: what has no answer here is for another stream."


async def answer(
    requests: AsyncIterator[bytes], context: Any, one: Callable[[bytes], Awaitable[Any]], ending: asyncio.Event
) -> None:
    """Write what `one` makes of each request."""
    room = asyncio.Semaphore(AT_ONCE)
    answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async for data in requests:
                await room.acquire()
                answers.put_nowait(group.create_task(one(data)))  # type: ignore[arg-type]  # a coroutine
        finally:
            answers.put_nowait(None)

    async def stop() -> None:
        await ending.wait()
        reading.cancel()

    async with asyncio.TaskGroup() as group:
        reading, stopping = group.create_task(read()), group.create_task(stop())
        while (answered := await answers.get()) is not None:
            await context.write(await answered)
            room.release()
        stopping.cancel()
    if reading.cancelled():
        await context.abort(grpc.StatusCode.UNAVAILABLE, ENDED)
