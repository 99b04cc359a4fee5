"""Orders to load, to unload or to give up a canary that all workers follow, and which versions were checked.

In: what one worker was told or has seen. Out: the same in every worker, without a file: two numbers in memory that they
share, which are handed over when they are spawned. They outlive workers, not the service.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass

from service.verified import Verified


@dataclass
class _Own:
    """A number of this process alone, in the place of a shared one."""

    kind: str
    value: int


class Orders:
    """A count of orders, odd after one to unload; and the canary that was given up last."""

    def __init__(self, *, shared: bool) -> None:
        # Memory that is shared lies in a file, and there may be no place for one.
        number = multiprocessing.get_context("spawn").RawValue if shared else _Own
        self._count, self._given_up = number("q", 0), number("q", 0)
        self.verified = Verified()

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

    def give_up(self, written: int) -> bool:
        """Stop the canary that was told at this time, in nanoseconds; False where a worker has said so already."""
        first = not self.gave_up(written)
        self._given_up.value = written
        return first

    def gave_up(self, written: int) -> bool:
        """Whether the canary that was told at this time is to be left alone, until it is told again."""
        return bool(self._given_up.value == written)
