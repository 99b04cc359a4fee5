"""Who has waited longest, found several at a time: one look at all of many costs as much as many answers.

In: those that there are, and since when each waits. Out: the one that has waited longest. It relies on it that nobody
can come to have waited longer than those who did when all were looked at.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")

AT_ONCE = 64
PAUSE = 0.1  # seconds before all are looked at again, after nobody waited


class Longest(Generic[T]):
    """The next of them, again and again."""

    def __init__(self, all_of_them: Collection[T], since: Callable[[T], float]) -> None:
        """`since` tells on the loop's clock since when one waits; infinite: it does not."""
        self._all = all_of_them
        self._since = since
        self._found: list[tuple[float, T]] = []  # the longest at the end
        self._nobody_until = 0.0

    def next(self, now: float) -> tuple[float, T] | None:
        """Since when, and who; None where nobody waits, or did a moment ago."""
        if not self._drop() and now >= self._nobody_until:
            waiting = [(since, one) for one in self._all if (since := self._since(one)) != math.inf]
            self._found = heapq.nsmallest(AT_ONCE, waiting, key=lambda found: found[0])[::-1]
            if not waiting:
                self._nobody_until = now + PAUSE
        return self._found[-1] if self._found else None

    def _drop(self) -> bool:
        """Drop those who wait no longer, or anew; whether any are left."""
        while self._found:
            since, one = self._found[-1]
            if one in self._all and self._since(one) == since:
                return True
            self._found.pop()
        return False
