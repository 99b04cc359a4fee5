"""Orders to load or unload that all workers follow.

In: what one worker was told. Out: the same in every worker, without a file: a count in memory that they share, which
is handed over when they are spawned. It outlives workers, not the service.
"""

from __future__ import annotations

import ctypes
import multiprocessing


class Orders:
    """A count of orders: odd after one to unload."""

    def __init__(self, *, shared: bool) -> None:
        # Memory that is shared lies in a file, and there may be no place for one.
        self._count = multiprocessing.get_context("spawn").RawValue("q", 0) if shared else ctypes.c_longlong(0)

    @property
    def number(self) -> int:
        """Another number is another order."""
        return int(self._count.value)

    @property
    def unloaded(self) -> bool:
        """Whether nothing is to be served."""
        return self.number % 2 == 1

    def load(self) -> None:
        """Serve the chosen version, and try again what was refused."""
        self._count.value += 2 - self.number % 2

    def unload(self) -> None:
        """Serve nothing."""
        self._count.value += 1 - self.number % 2
