"""How many workers have ended and were replaced, by reason, in memory that all workers share.

In: each end of a worker, from the supervisor. Out: the numbers, in each worker. It knows no process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..observability.labels import RESTART_REASONS
from ..system import memory

if TYPE_CHECKING:
    from collections.abc import Mapping


class Restarts:
    """A number for each reason."""

    def __init__(self) -> None:
        """Made before the workers, which inherit it."""
        self._numbers = memory.shared_numbers(len(RESTART_REASONS))

    def count(self, reason: str) -> None:
        """Count one; called by the supervisor alone."""
        self._numbers[RESTART_REASONS.index(reason)] += 1

    def by_reason(self) -> Mapping[str, int]:
        """Return the numbers."""
        return dict(zip(RESTART_REASONS, self._numbers, strict=True))
