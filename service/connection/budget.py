"""The bytes of strangers that one worker holds: how many at most, and who makes room beyond that.

In: what holds bytes, each with a share that is always its own. Out: over the limit, something that was held is let go:
first of those that hold more than their share. It knows numbers, and nothing of connections and bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable


class Share:
    """What one kind of holder has, and has for sure; it may have more where others have less."""

    held = 0  # bytes

    def __init__(self, budget: Budget, size: int, make_room: Callable[[int], bool]) -> None:
        self._budget = budget
        self.size = size
        self.make_room = make_room  # lets something go for so many bytes; says whether there was anything

    def settle(self, coming: int = 0) -> bool:
        """Let things go until there is room for so many bytes more; False where that cannot be."""
        return self._budget.settle(coming)


class Budget:
    """All shares."""

    def __init__(self) -> None:
        self.limit = 0  # bytes that may be held
        self._shares: list[Share] = []

    def share(self, size: int, make_room: Callable[[int], bool]) -> Share:
        """One more share."""
        share = Share(self, size, make_room)
        self._shares.append(share)
        self.limit += size
        return share

    def settle(self, coming: int) -> bool:
        """Let things go until there is room for so many bytes more; False where that cannot be."""
        while sum(share.held for share in self._shares) + coming > self.limit:
            shares = sorted(self._shares, key=lambda share: share.size - share.held)
            if not any(share.make_room(coming) for share in shares):
                return False
        return True

    def full(self) -> Overloaded:
        """Why something is let go."""
        sentence = f"This worker holds {self.limit:,} bytes of requests and answers, which is the limit."
        return Overloaded(f"{sentence} Come back in 1 s.", limit=self.limit, retry_after_s=1)
