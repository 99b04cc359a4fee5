"""Count events in Python, and add them to `prometheus_client`'s metrics together a few milliseconds later.

In: single events, a dozen for each request. Out: the same totals in the client's metrics. An event costs 0.1 µs here,
and 3 to 6 µs there: the client locks each metric, and with several workers writes to a shared file. It knows no
metric's name.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Histogram
from prometheus_client.samples import Exemplar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from prometheus_client import Counter, Gauge

DELAY = 0.005  # seconds: far below any scrape interval, and the time of many requests under load


class _Buffered(Protocol):
    def flush(self) -> None:
        """Add what is new to the client's metric."""


class BufferedMetrics:
    """The metrics that have changed. All are flushed after `DELAY`, or at once where no event loop runs."""

    def __init__(self) -> None:
        self._changed: list[_Buffered] = []

    def add_changed(self, metric: _Buffered) -> None:
        """Flush this metric soon: it has changed for the first time since the last flush."""
        self._changed.append(metric)
        if len(self._changed) == 1:
            try:
                asyncio.get_running_loop().call_later(DELAY, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Flush all metrics now."""
        changed, self._changed = self._changed, []
        for metric in changed:
            metric.flush()


class BufferedCounter:
    """A counter's child."""

    def __init__(self, buffered: BufferedMetrics, child: Counter) -> None:
        self._buffered = buffered
        self._child = child
        self._new = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add to the count."""
        first = not self._new
        self._new += amount
        if first:
            self._buffered.add_changed(self)

    def flush(self) -> None:
        """Add what is new to the client's metric."""
        new, self._new = self._new, 0.0
        self._child.inc(new)


class BufferedGauge:
    """A gauge's child."""

    def __init__(self, buffered: BufferedMetrics, child: Gauge) -> None:
        self._buffered = buffered
        self._child = child
        self._value = 0.0
        self._noted = False

    def set(self, value: float) -> None:
        """Set the value."""
        self._value = value
        if not self._noted:
            self._noted = True
            self._buffered.add_changed(self)

    def inc(self) -> None:
        """Add one."""
        self.set(self._value + 1)

    def dec(self) -> None:
        """Subtract one."""
        self.set(self._value - 1)

    def flush(self) -> None:
        """Add what is new to the client's metric."""
        self._noted = False
        self._child.set(self._value)


class BufferedHistogram:
    """A histogram's child."""

    def __init__(self, buffered: BufferedMetrics, child: BulkHistogram, bounds: Sequence[float]) -> None:
        self._buffered = buffered
        self._child = child
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._noted = False
        self._exemplars: dict[int, Exemplar] = {}  # the last of each bucket

    def add_exemplar(self, value: float, labels: dict[str, str]) -> None:
        """Add the trace of an observation that `observe` has got; with several workers, the client drops it."""
        self._exemplars[bisect_left(self._bounds, value)] = Exemplar(labels, value, time.time())
        self._note()

    def observe(self, value: float) -> None:
        """Add an observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        if not self._noted:
            self._note()

    def observe_all(self, values: Collection[float]) -> None:
        """Add several observations, for half the time of one by one."""
        counts, bounds = self._counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sum += sum(values)
        if not self._noted:
            self._note()

    def _note(self) -> None:
        if not self._noted:
            self._noted = True
            self._buffered.add_changed(self)

    def flush(self) -> None:
        """Add what is new to the client's metric."""
        self._noted = False
        self._child.observe_many(self._counts, self._sum)
        if self._exemplars:
            self._child.set_exemplars(self._exemplars)
            self._exemplars = {}
        self._counts = [0] * len(self._counts)
        self._sum = 0.0


class BulkHistogram(Histogram):
    """prometheus_client's histogram, which can also add many observations at once."""

    def observe_many(self, counts: Sequence[int], total: float) -> None:
        """Add `counts` observations, one number for each bucket and the last for infinity, and their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)

    def set_exemplars(self, exemplars: Mapping[int, Exemplar]) -> None:
        """Set the exemplars of these buckets."""
        for bucket, exemplar in exemplars.items():
            self._buckets[bucket].set_exemplar(exemplar)
