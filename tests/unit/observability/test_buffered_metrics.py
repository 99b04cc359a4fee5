"""Numbers counted in Python come to prometheus_client whole."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from service.observability.buffered_metrics import (
    DELAY,
    BufferedCounter,
    BufferedGauge,
    BufferedHistogram,
    BufferedMetrics,
    BulkHistogram,
)

BOUNDS = (1.0, 2.0, 5.0)


def test_many_observations_are_the_same_as_one_after_another() -> None:
    """A spread's histogram equals prometheus_client's own, at and between and beyond its bounds."""
    registry = CollectorRegistry()
    ours, theirs = (BulkHistogram(name, "x", registry=registry, buckets=BOUNDS) for name in ("ours", "theirs"))
    buffered = BufferedMetrics()
    spread = BufferedHistogram(buffered, ours, BOUNDS)
    values = [0.5, 1.0, 1.5, 2.0, 4.9, 5.0, 7.0, 100.0]

    async def observe() -> None:
        for value in values:
            spread.observe(value)
        buffered.flush()

    asyncio.run(observe())
    for value in values:
        theirs.observe(value)
    for bound in ("1.0", "2.0", "5.0", "+Inf"):
        counts = [registry.get_sample_value(f"{name}_bucket", {"le": bound}) for name in ("ours", "theirs")]
        assert counts[0] == counts[1], bound
    assert registry.get_sample_value("ours_sum") == pytest.approx(sum(values))


def test_what_is_counted_arrives_by_itself() -> None:
    """Within an event loop the totals are handed over together, soon; without one, at once."""
    registry = CollectorRegistry()
    buffered = BufferedMetrics()
    count = BufferedCounter(buffered, Counter("events_total", "x", registry=registry))
    level = BufferedGauge(buffered, Gauge("level", "x", registry=registry))

    async def events() -> list[float | None]:
        for _ in range(1000):
            count.inc()
            level.inc()
        level.dec()
        before = registry.get_sample_value("events_total")
        await asyncio.sleep(4 * DELAY)
        return [before, registry.get_sample_value("events_total"), registry.get_sample_value("level")]

    assert asyncio.run(events()) == [0, 1000, 999]
    count.inc()
    assert registry.get_sample_value("events_total") == 1001
