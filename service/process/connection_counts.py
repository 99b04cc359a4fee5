"""How many connections each worker has, for the others to see.

In: the workers that there are, from their parent; how many connections it has, from each worker. Out: the fewest that
another one has. The numbers lie in memory that they share (`service.system.memory`). It knows neither sockets
nor requests.
"""

from __future__ import annotations

from os import getpid
from typing import TYPE_CHECKING

from ..system import memory

if TYPE_CHECKING:
    from collections.abc import Collection, MutableSequence

_NONE = -1  # in the place of a count: it takes no connections yet


class ConnectionCounts:
    """A place for each worker; a process alone has none, and nobody to share with."""

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        """The numbers of several lie behind a `descriptor`, of a new memory where none is given."""
        self._pids: MutableSequence[int] = []
        self._counts: MutableSequence[int] = []
        self.descriptor = descriptor
        if workers > 1:
            new = descriptor is None
            self.descriptor = memory.share_numbers(2 * workers) if descriptor is None else descriptor
            numbers = memory.shared_numbers(self.descriptor)
            self._pids, self._counts = numbers[:workers], numbers[workers:]
            if new:
                for slot in range(workers):
                    self._counts[slot] = _NONE

    def assign(self, pids: Collection[int]) -> None:
        """These are the workers now, no more than there are places: for their parent."""
        coming = set(pids).difference(self._pids)
        for slot, pid in enumerate(self._pids):
            if pid not in pids:
                self._counts[slot] = _NONE
                self._pids[slot] = coming.pop() if coming else 0

    def publish(self, count: int) -> None:
        """This worker has so many."""
        own = getpid()
        for slot, pid in enumerate(self._pids):
            if pid == own:
                self._counts[slot] = count

    def withdraw(self) -> None:
        """This worker takes no more."""
        self.publish(_NONE)

    def fewest(self) -> int | None:
        """How many the one has that has the fewest of the others; None where there is no other."""
        own = getpid()
        others = [count for pid, count in zip(self._pids, self._counts, strict=True) if pid not in (0, own)]
        return min((count for count in others if count != _NONE), default=None)
