"""Pictures that take long to prepare, in threads.

In: what prepares a picture. Out: what the network is to see, or the picture's error. It knows how long those that come
now will wait, and lets requests with many pictures take turns with the others; how a picture is prepared is
`service.image`'s.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.image import Prepared

T = TypeVar("T")

# A body this small is a 28×28 picture or nearly so: decoding it costs less than handing it to a thread.
INLINE_BYTES = 2048
# A body up to so many bytes is taken apart in less than a millisecond.
INLINE_BODY = 65_536
# Pictures being decoded at once; of those that take much memory `picture` lets one.
THREADS = 2
LEARNING_RATE = 0.1


class Decoder:
    """A few threads, and the pictures that wait for them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        self._waiting = 0  # pictures, with those that are being decoded
        self._seconds = 0.0  # moving average for one

    def close(self) -> None:
        """Ends the threads; what they have begun is finished."""
        self._pool.shutdown()

    def wait(self) -> float:
        """Predicted seconds until a picture that came now would be decoded."""
        return self._waiting * self._seconds / THREADS

    def turns(self) -> asyncio.Semaphore:
        """For one request's pictures: never more of them than there are threads wait in the threads' line."""
        return asyncio.Semaphore(THREADS)

    async def run(self, prepare: Callable[[], Prepared], turns: asyncio.Semaphore) -> Prepared:
        """What the network is to see; raises `ServiceError`."""
        self._waiting += 1
        try:
            async with turns:
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, prepare)
        finally:
            self._waiting -= 1

    async def parsed(self, parse: Callable[[], T], size: int) -> T:
        """What `parse` makes of a body of so many bytes, in a thread where they are many."""
        if size <= INLINE_BODY:
            return parse()
        return await asyncio.get_running_loop().run_in_executor(self._pool, parse)

    def _timed(self, prepare: Callable[[], Prepared]) -> Prepared:
        started = time.perf_counter()
        try:
            return prepare()
        finally:
            seconds = time.perf_counter() - started
            self._seconds += LEARNING_RATE * (seconds - self._seconds) if self._seconds else seconds
