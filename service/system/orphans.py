"""Processes whose parent died before them: they come to this process, and leave no zombie behind.

In: nothing. Out: those that have ended, and that nobody else waits for, are gone within seconds. Who starts a process
waits for it within a second; it does not know who these are.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
POLL_SECONDS = 1.0


def adopt() -> None:
    """Have the system give this process those whose parent dies, below it; outside of Linux nothing happens."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


class Orphans:
    """Who has ended, and waits to be asked how."""

    def __init__(self) -> None:
        self._seen: int | None = None  # at the last look
        self._looked = -POLL_SECONDS  # seconds, monotonic

    def reap(self) -> None:
        """Reap the one that waited at the last look, too, and see who else waits; once a second at most."""
        if time.monotonic() < self._looked + POLL_SECONDS:
            return
        self._looked = time.monotonic()
        while (pid := _waiting()) is not None and pid == self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            self._seen = None
        self._seen = pid


def _waiting() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there are none
        return None
    return None if found is None else found.si_pid


@contextlib.asynccontextmanager
async def reaping() -> AsyncIterator[None]:
    """Reap them while the context is open."""
    task = asyncio.create_task(_poll())
    yield
    task.cancel()


async def _poll() -> None:
    orphans = Orphans()
    while True:
        await asyncio.sleep(POLL_SECONDS)
        orphans.reap()
