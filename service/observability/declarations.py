"""Declare metrics: name, text, labels and buckets in; `prometheus_client`'s metrics or buffered children out.

Children with known label values are made at once, and so are exported as zeros. It knows no metric's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from .buffered_metrics import BufferedCounter, BufferedGauge, BufferedHistogram, BulkHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from .buffered_metrics import BufferedMetrics

    Buckets = tuple[float, ...]

# Seconds, from a small model's 50 µs to the default time to answer; the objectives 1, 10 and 100 ms are edges.
SECONDS = (50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 2.5, 10)


class Declarations:
    """Declares the metrics of one registry. `over_workers` says how the gauges of several workers become one."""

    def __init__(self, registry: CollectorRegistry, buffered: BufferedMetrics) -> None:
        self.buffered = buffered
        self._registry = registry

    def plain_counter(self, name: str, text: str, *labels: str) -> Counter:
        """Declare a counter whose children are made later, or that threads increment."""
        return Counter(f"mnist_{name}", text, labels, registry=self._registry)

    def plain_gauge(self, name: str, text: str, *labels: str, over_workers: str) -> Gauge:
        """Declare a gauge that is seldom set."""
        return Gauge(f"mnist_{name}", text, labels, registry=self._registry, multiprocess_mode=over_workers)  # type: ignore[arg-type]

    def plain_histogram(self, name: str, text: str, *labels: str, buckets: Buckets = SECONDS) -> BulkHistogram:
        """Declare a histogram whose children are made later."""
        return BulkHistogram(f"mnist_{name}", text, labels, registry=self._registry, buckets=buckets)

    def counter(self, name: str, text: str) -> BufferedCounter:
        """Declare a counter without labels."""
        return BufferedCounter(self.buffered, self.plain_counter(name, text))

    def counters(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, BufferedCounter]:
        """Declare a counter with one label; return its children by the label's values."""
        counter = self.plain_counter(name, text, label)
        return {value: BufferedCounter(self.buffered, counter.labels(value)) for value in values}

    def gauge(self, name: str, text: str, *, over_workers: str) -> BufferedGauge:
        """Declare a gauge without labels."""
        return BufferedGauge(self.buffered, self.plain_gauge(name, text, over_workers=over_workers))

    def histogram(self, name: str, text: str, *, buckets: Buckets = SECONDS) -> BufferedHistogram:
        """Declare a histogram without labels."""
        return BufferedHistogram(self.buffered, self.plain_histogram(name, text, buckets=buckets), buckets)

    def histograms(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, BufferedHistogram]:
        """Declare a histogram of seconds with one label; return its children by the label's values."""
        histogram = self.plain_histogram(name, text, label)
        return {value: BufferedHistogram(self.buffered, histogram.labels(value), SECONDS) for value in values}
