"""Return the memory of large messages to the system; glibc would keep it.

In: the sizes of freed messages. Out: after a large one, a thread returns the heaps' free memory a second later. glibc
has a heap for each of core's threads, and raises its threshold for separate pages when a large piece is freed, so that
later large pieces come from these heaps. On other systems than Linux this has no effect.
"""

from __future__ import annotations

import asyncio
import ctypes

from ...system import memory

LARGE_BYTES = 2**20
TRIM_DELAY_SECONDS = 1.0
M_MMAP_THRESHOLD = -3  # malloc.h
MMAP_THRESHOLD_BYTES = 2**17  # glibc's initial threshold: a larger piece gets pages of its own


class Heap:
    """The heaps of this process; the threshold for separate pages stays fixed."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)

    def freed(self, size: int) -> None:
        """Schedule a trim if a large piece of `size` bytes was freed."""
        if size > LARGE_BYTES and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TRIM_DELAY_SECONDS, self._trim)

    def _trim(self) -> None:
        self._timer = None
        asyncio.get_running_loop().run_in_executor(None, memory.trim)
