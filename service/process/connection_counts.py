"""The number of connections of each worker, in memory that all workers share.

In: the workers' process ids, from the supervisor, and its number of connections, from each worker. Out: the fewest
connections of another worker. It knows neither sockets nor requests.
"""

from __future__ import annotations

from os import getpid
from typing import TYPE_CHECKING

from ..system import memory

if TYPE_CHECKING:
    from collections.abc import Collection, MutableSequence

_NONE = -1  # in the place of a count: the worker accepts no connections


class ConnectionCounts:
    """A slot for each worker; a service of one process has none."""

    def __init__(self, workers: int) -> None:
        """Made before the workers, which inherit it."""
        self._pids: MutableSequence[int] = []
        self._counts: MutableSequence[int] = []
        if workers > 1:
            numbers = memory.shared_numbers(2 * workers)
            self._pids, self._counts = numbers[:workers], numbers[workers:]
            for slot in range(workers):
                self._counts[slot] = _NONE

    def assign(self, pids: Collection[int]) -> None:
        """Assign slots to these workers, no more than there are slots; called by the supervisor."""
        coming = set(pids).difference(self._pids)
        for slot, pid in enumerate(self._pids):
            if pid not in pids:
                self._counts[slot] = _NONE
                self._pids[slot] = coming.pop() if coming else 0

    def pids(self) -> list[int]:
        """Return the workers' process ids by their slots; 0 where there is none for a while."""
        return list(self._pids)

    def publish(self, count: int) -> None:
        """Publish the number of this worker's connections."""
        own = getpid()
        for slot, pid in enumerate(self._pids):
            if pid == own:
                self._counts[slot] = count

    def withdraw(self) -> None:
        """Publish that this worker accepts no more connections."""
        self.publish(_NONE)

    def fewest(self) -> int | None:
        """Return the fewest connections of another worker; None where there is no other."""
        own = getpid()
        others = [count for pid, count in zip(self._pids, self._counts, strict=True) if pid not in (0, own)]
        return min((count for count in others if count != _NONE), default=None)
