"""All metrics of the service, each declared once; and their values over all workers, for scrapes.

In: what the other rooms count and measure. Out: every metric, summed over all workers. It decides nothing.

With one worker, values stay in its memory. With several workers, `prometheus_client` keeps them in files that each
worker writes and a scrape adds up (`service.observability.shared_metrics`). `PROMETHEUS_MULTIPROC_DIR` names their
folder; the start of the service sets it before it imports this module. A dead worker's counters stay in the sum, so
that counters never decrease; its gauges leave it.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector

from . import shared_metrics
from .buffered_metrics import BufferedMetrics
from .declarations import Declarations
from .drift import METRIC as DRIFT
from .drift import Drift
from .model_metrics import CanaryMetrics, ModelMetrics
from .prediction_metrics import PredictionMetrics
from .process_metrics import ALONE, ProcessMetrics, Workers
from .request_metrics import KeyMetrics, RequestMetrics
from .scrapes import Scrapes
from .worker_metrics import WorkerMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    Result = TypeVar("Result")


class Metrics:
    """The service's metrics, by what they measure."""

    def __init__(self, registry: CollectorRegistry, workers: Workers = ALONE) -> None:
        self.buffered = BufferedMetrics()
        declare = Declarations(registry, self.buffered)
        self.requests = RequestMetrics(declare)
        self.keys = KeyMetrics(declare)
        self.predictions = PredictionMetrics(declare)
        self.model = ModelMetrics(declare)
        self.canary = CanaryMetrics(declare)
        self.worker = WorkerMetrics(declare)
        self.drift = Drift()
        processes = ProcessMetrics(declare, workers)
        self._scrapes = Scrapes(functools.partial(_collect, registry, self.drift, processes))

    async def scrape(self, make: Callable[[Iterable[Metric]], Result]) -> Result:
        """Return what `make` makes of all workers' metrics; raises `Overloaded` where too many scrape."""
        self.buffered.flush()
        return await self._scrapes.ask(make)


def registry() -> CollectorRegistry:
    """Return a registry for one worker's metrics; a single worker's has memory, CPU and descriptors too."""
    collectors = CollectorRegistry()
    if folder := os.environ.get(shared_metrics.ENVIRONMENT):
        shared_metrics.join(Path(folder))
    else:
        ProcessCollector(registry=collectors)
    return collectors


def _collect(own: CollectorRegistry, drift: Drift, processes: ProcessMetrics) -> list[Metric]:
    """Return the metrics of all workers, the drift of all their pictures, and what their processes use.

    Versions that serve no more and keys that are gone are left out: shared files keep those as zeros.
    """
    folder = shared_metrics.joined()
    if folder is None:
        found = list(own.collect())
    else:
        shared_metrics.fold(folder)
        found = shared_metrics.collect(folder)
    indices = drift.measure(found, folder)
    computed = processes.measure(folder)
    for metric in found:
        if metric.name in computed:
            metric.samples = computed[metric.name]
        elif metric.name in ("mnist_build_info", "mnist_api_key_expiry_timestamp_seconds"):
            metric.samples = [sample for sample in metric.samples if sample.value]
        elif metric.name == DRIFT:
            metric.samples = [sample._replace(value=indices[sample.labels["signal"]]) for sample in metric.samples]
    return found
