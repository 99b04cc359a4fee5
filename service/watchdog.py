"""Ends the process when its event loop is blocked, so that what started it can start another.

In: seconds. Out: every thread's stack on stderr, and exit code 1. The clock runs in a thread of C: it sees also code
that never lets go of the interpreter, which no thread of Python's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEAT_SECONDS = 1


@contextlib.asynccontextmanager
async def watched(seconds: float) -> AsyncIterator[None]:
    """End the process when this event loop has done nothing for so long; 0: never."""
    if not seconds:
        yield
        return
    task = asyncio.create_task(_beat(seconds))
    yield
    task.cancel()
    faulthandler.cancel_dump_traceback_later()


async def _beat(seconds: float) -> None:
    while True:
        faulthandler.dump_traceback_later(seconds, exit=True)  # puts the last one off
        await asyncio.sleep(BEAT_SECONDS)
