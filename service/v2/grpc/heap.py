"""Memory that large messages took is the system's again when they are gone; glibc would keep it.

In: that something large was let go. Out: a second later, what is free of the heaps goes back, by a thread. glibc has a
heap for each of core's threads, and takes from them what large pieces are made of once one has been free. Other systems
than Linux do as they do. It knows no messages.
"""

from __future__ import annotations

import asyncio
import ctypes

from ...system import memory

LARGE = 2**20  # bytes
REST_SECONDS = 1.0  # between two times
M_MMAP_THRESHOLD = -3  # malloc.h
AT_FIRST = 2**17  # bytes: glibc's own threshold before it grows, above which a piece has pages of its own


class Heap:
    """That of this process."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        choose = getattr(ctypes.CDLL(None), "mallopt", None)
        if choose is not None:
            choose(M_MMAP_THRESHOLD, AT_FIRST)

    def freed(self, size: int) -> None:
        """So many bytes in one piece, or of one message, are needed no longer."""
        if size > LARGE and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REST_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._timer = None
        asyncio.get_running_loop().run_in_executor(None, memory.trim)
