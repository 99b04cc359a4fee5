"""Orders to load, to unload or to give up a canary that all workers follow, and which versions were checked.

In: what one worker was told or has seen. Out: the same in every worker, without a file: two numbers in memory that they
share (`service.system.shared_memory`). They outlive workers, not the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system import shared_memory
from .checked_files import CheckedFiles

if TYPE_CHECKING:
    from collections.abc import MutableSequence


class SharedState:
    """A count of orders, odd after one to unload; and the canary that was given up last."""

    def __init__(self, *, shared: bool, descriptor: int | None = None, checked_files: int | None = None) -> None:
        """With `shared`, the numbers lie behind a `descriptor`, of a new memory where none is given; so do digests."""
        self.checked_files = CheckedFiles(checked_files)
        self._numbers: MutableSequence[int] = [0, 0]
        self.descriptor = descriptor
        if shared:
            self.descriptor = shared_memory.create(2) if descriptor is None else descriptor
            self._numbers = shared_memory.numbers(self.descriptor)

    @property
    def number(self) -> int:
        """Another number is another order."""
        return self._numbers[0]

    @property
    def unloaded(self) -> bool:
        """Whether nothing is to be served."""
        return self.number % 2 == 1

    def load(self) -> None:
        """Serve the chosen version, and try again what was refused."""
        self._numbers[0] += 2 - self.number % 2

    def unload(self) -> None:
        """Serve nothing."""
        self._numbers[0] += 1 - self.number % 2

    def give_up(self, written: int) -> bool:
        """Stop the canary that was told at this time, in nanoseconds; False where a worker has said so already."""
        first = not self.gave_up(written)
        self._numbers[1] = written
        return first

    def gave_up(self, written: int) -> bool:
        """Whether the canary that was told at this time is to be left alone, until it is told again."""
        return self._numbers[1] == written
