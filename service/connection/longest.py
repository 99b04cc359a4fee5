"""The item that has waited longest, found in batches: one scan of many items costs as much as many responses.

In: the items, and when each began to wait. Out: the item with the longest wait. Between two scans no item may come to
have waited longer than those that the last scan found.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")

BATCH_SIZE = 64
PAUSE_SECONDS = 0.1  # before the next scan, after no item waited


class Longest(Generic[T]):
    """The items in the order of their waits; `since` returns an item's start on the loop's clock, or infinity."""

    def __init__(self, items: Collection[T], since: Callable[[T], float]) -> None:
        self._items = items
        self._since = since
        self._batch: list[tuple[float, T]] = []  # the longest wait at the end
        self._next_scan = 0.0

    def next(self, now: float) -> tuple[float, T] | None:
        """Return the start of the longest wait, and its item; None if no item waits, or the last scan found none."""
        if not self._drop_stale() and now >= self._next_scan:
            waiting = [(since, item) for item in self._items if (since := self._since(item)) != math.inf]
            self._batch = heapq.nsmallest(BATCH_SIZE, waiting, key=lambda pair: pair[0])[::-1]
            if not waiting:
                self._next_scan = now + PAUSE_SECONDS
        return self._batch[-1] if self._batch else None

    def _drop_stale(self) -> bool:
        """Drop items whose wait has ended; return whether any are left."""
        while self._batch:
            since, item = self._batch[-1]
            if item in self._items and self._since(item) == since:
                return True
            self._batch.pop()
        return False
