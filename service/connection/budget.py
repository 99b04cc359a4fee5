"""The memory that one worker holds for its clients: one limit, and a guaranteed share for each kind of holder.

In: the holders' shares and held bytes. Out: over the limit, a holder drops something: first a holder over its share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable


class Share:
    """The bytes of one kind of holder: `size` is guaranteed, and it may hold more while others hold less."""

    held = 0  # bytes

    def __init__(self, budget: Budget, size: int, make_room: Callable[[int], bool]) -> None:
        self._budget = budget
        self.size = size
        self.make_room = make_room  # drops something for a number of bytes; False if there is nothing to drop

    def settle(self, more: int = 0) -> bool:
        """Make room for `more` bytes; return False if that is impossible."""
        return self._budget.settle(more)


class Budget:
    """The shares of all holders; the limit is their sum."""

    def __init__(self) -> None:
        self.limit = 0  # bytes
        self._shares: list[Share] = []

    def share(self, size: int, make_room: Callable[[int], bool]) -> Share:
        """Add a share of `size` bytes."""
        share = Share(self, size, make_room)
        self._shares.append(share)
        self.limit += size
        return share

    def settle(self, more: int) -> bool:
        """Make room for `more` bytes; return False if that is impossible."""
        while sum(share.held for share in self._shares) + more > self.limit:
            shares = sorted(self._shares, key=lambda share: share.size - share.held)
            if not any(share.make_room(more) for share in shares):
                return False
        return True

    def full(self) -> Overloaded:
        """Return the error for a holder that must drop something."""
        detail = f"This worker holds {self.limit:,} bytes of requests and responses, which is the limit."
        return Overloaded(f"{detail} Retry in 1 s.", limit=self.limit, retry_after_s=1)
