"""Adopt processes whose parent has died, and reap them when they end, so that no zombies stay.

In: nothing. Out: an ended process that nobody else waits for is gone within seconds. Code that starts a process must
wait for it within a second of its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
POLL_SECONDS = 1.0


def adopt() -> None:
    """Have the system give this process those of its descendants whose parent dies (Linux only)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


class Orphans:
    """Ended processes that have not been reaped."""

    def __init__(self) -> None:
        self._seen: set[int] = set()  # process ids, at the last poll
        self._polled = -POLL_SECONDS  # seconds, monotonic

    def reap(self) -> None:
        """Reap those that were there at the last poll too, and note the others; once a second at most."""
        if time.monotonic() < self._polled + POLL_SECONDS:
            return
        self._polled = time.monotonic()
        ended = processes.zombies() if _any_has_ended() else set()
        for pid in ended & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = ended - self._seen


def _any_has_ended() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # there are no children
        return False


@contextlib.asynccontextmanager
async def reaping() -> AsyncIterator[None]:
    """Reap orphans while the context is open."""
    task = asyncio.create_task(_poll())
    yield
    task.cancel()


async def _poll() -> None:
    orphans = Orphans()
    while True:
        await asyncio.sleep(POLL_SECONDS)
        orphans.reap()
