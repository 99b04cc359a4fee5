"""Every metric, declared once, with its labels and buckets; and all of them together, for who makes something of them.

In: what the other modules observe. Out: the metrics, right over all workers. It watches and decides nothing.

With one worker the numbers live in memory. With several, `prometheus_client` keeps them in files that every worker
writes and the scrape adds up (`service.observability.shared_metrics`); `PROMETHEUS_MULTIPROC_DIR` (set by
`service.__main__` before this module is imported) says where. A dead worker's counters stay in the sum, so that
counters never go backwards; its gauges leave it.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from ..model.cost_curve import SIZES
from ..versions.canary import AGREEMENTS, REASONS
from . import shared_metrics
from .buffered_metrics import BufferedCounter, BufferedGauge, BufferedHistogram, BufferedMetrics, BulkHistogram
from .exposition import INFERRING, RESULTS, STAGES, result_of
from .scrapes import Scrapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    from ..errors import ServiceError
    from ..model.classifier import Classifier
    from ..versions.canary import CanaryTrial

    Result = TypeVar("Result")

# Seconds, from a small model's 50 µs to the default time to answer; the objectives 1, 10 and 100 ms are edges.
SECONDS = (50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 2.5, 10)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
INK = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1)
POLARITIES = ("light_on_dark", "dark_on_light")
REJECTIONS = ("malformed", "not_a_picture", "too_large", "unusable")
SHED = ("overloaded", "deadline_exceeded")
CUT = ("slow", "full")
READER_ENDS = ("time", "lost")
KEY_RESULTS = ("accepted", "forbidden", "limited")
NO_KEY = "-"  # in the place of a key's name, which cannot be this


class Metrics:
    """The service's metrics; children with known labels are bound beforehand, and so exist as zeros."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"mnist_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str, over_workers: str) -> Gauge:
            return Gauge(f"mnist_{name}", text, labels, registry=registry, multiprocess_mode=over_workers)  # type: ignore[arg-type]

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> BulkHistogram:
            return BulkHistogram(f"mnist_{name}", text, labels, registry=registry, buckets=buckets)

        def counts(one: Counter, names: Iterable[str]) -> dict[str, BufferedCounter]:
            return {name: BufferedCounter(self.buffered, one.labels(name)) for name in names}

        self.buffered = BufferedMetrics()
        self._scrapes = Scrapes(functools.partial(_over_workers, registry))
        self._served: list[tuple[str, str, str]] = []

        self._build_info = gauge(
            "build_info",
            "Always 1; the labels name the running versions.",
            "version",
            "model_version",
            "model_sha256",
            over_workers="livemax",
        )
        self._requests = counter(
            "http_requests_total", "Requests answered, by route template.", "route", "method", "code"
        )
        self._duration = histogram(
            "http_request_duration_seconds", "Seconds from the request line to the last byte of the response.", "route"
        )
        self.in_progress = BufferedGauge(
            self.buffered, gauge("http_requests_in_progress", "Requests in progress.", over_workers="livesum")
        )
        stage = histogram("stage_duration_seconds", "Seconds of one stage of a prediction.", "stage")
        self.stages = {name: BufferedHistogram(self.buffered, stage.labels(name), SECONDS) for name in STAGES}
        batch_size = histogram("batch_size", "Pictures in one run of the model.", buckets=BATCHES)
        self.batch_size = BufferedHistogram(self.buffered, batch_size, BATCHES)
        self._batch_cost = gauge(
            "batch_cost_seconds",
            "CPU seconds of one run of the served model by number of pictures, measured when it was loaded.",
            "size",
            over_workers="livemax",
        )
        self._inference_seconds = counts(
            counter("inference_request_seconds_total", "Seconds of requests with pictures, by result.", "result"),
            RESULTS,
        )
        self.run_seconds = BufferedCounter(
            self.buffered,
            counter(
                "inference_run_seconds_total", "Seconds of runs of the model, counted once for each request in a run."
            ),
        )
        last = gauge(
            "last_inference_timestamp_seconds",
            "Unix time of the last run of the model; 0: none yet.",
            over_workers="max",
        )
        self.last_inference = BufferedGauge(self.buffered, last)
        self.queue_depth = BufferedGauge(
            self.buffered, gauge("queue_depth", "Pictures that wait for the model.", over_workers="livesum")
        )
        digits = counts(counter("predictions_total", "Predictions, by digit.", "digit"), map(str, range(10)))
        self.digits = list(digits.values())
        confidence = histogram("prediction_confidence", "Probability of the predicted digit.", buckets=CONFIDENCES)
        self.confidence = BufferedHistogram(self.buffered, confidence, CONFIDENCES)
        ink_ratio = histogram("input_ink_ratio", "Share of a picture's pixels that are ink.", buckets=INK)
        self.ink_ratio = BufferedHistogram(self.buffered, ink_ratio, INK)
        self.polarities = counts(
            counter("input_polarity_total", "Pictures, by the polarity of their ink.", "polarity"), POLARITIES
        )
        self.rejected = counts(counter("rejected_images_total", "Pictures refused, by reason.", "reason"), REJECTIONS)
        self.shed = counts(
            counter("shed_requests_total", "Requests refused or abandoned to protect the others, by reason.", "reason"),
            SHED,
        )
        self.connections = BufferedGauge(
            self.buffered, gauge("connections", "Open HTTP connections.", over_workers="livesum")
        )
        self.cut = counts(
            counter("connections_cut_total", "Connections that the service closed, by reason.", "reason"), CUT
        )
        self.reader_ends = counts(
            counter("reader_ends_total", "Readers that ended during a job, by reason.", "reason"), READER_ENDS
        )
        self.dropped_lines = counter("log_lines_dropped_total", "Log lines dropped because nobody read them in time.")
        self._by_key = counter(
            "key_requests_total", "Requests, by the name of their API key and by result.", "key", "result"
        )
        self.key_refusals = {
            result: BufferedCounter(self.buffered, self._by_key.labels(NO_KEY, result))
            for result in ("missing", "unknown")
        }
        self.keys_unreadable = BufferedGauge(
            self.buffered,
            gauge("api_keys_unreadable", "1: the file of API keys cannot be read or parsed.", over_workers="livemax"),
        )
        self._model_loaded = gauge(
            "model_load_timestamp_seconds", "Unix time at which the served version was loaded.", over_workers="livemax"
        )
        self.reloads = counts(counter("model_reloads_total", "Loads of a model version, by result.", "result"), RESULTS)
        self._canary_version = gauge("canary_version", "Version of the canary; 0: none.", over_workers="livemax")
        self._canary_percent = gauge(
            "canary_percent", "Percent of the requests that the canary answers.", over_workers="livemax"
        )
        self._missing = gauge(
            "model_missing_version",
            "Version that is named and does not exist, by what names it; 0: none.",
            "named_by",
            over_workers="livemax",
        )
        self.canary_requests = counts(
            counter("canary_requests_total", "Requests for the canary, by result.", "result"), ("answered", "failed")
        )
        self.rollbacks = counts(
            counter("canary_rollbacks_total", "Canaries that were stopped automatically, by reason.", "reason"), REASONS
        )
        self.shadow_answers = counts(
            counter("shadow_answers_total", "Pictures that both versions ran on, by agreement.", "agreement"),
            AGREEMENTS,
        )
        shadow_seconds = histogram(
            "shadow_inference_seconds", "Seconds of a run in a comparison, by version.", "version"
        )
        self.shadow_seconds = {
            name: BufferedHistogram(self.buffered, shadow_seconds.labels(name), SECONDS)
            for name in ("served", "canary")
        }
        self.shadow_dropped = BufferedCounter(
            self.buffered, counter("shadow_dropped_total", "Requests that were not compared, to leave time for others.")
        )

    async def scrape(self, make: Callable[[Iterable[Metric]], Result]) -> Result:
        """What this makes of all workers' metrics; raises `Overloaded` where too many ask."""
        self.buffered.flush()
        return await self._scrapes.ask(make)

    def set_served(self, version: str, classifier: Classifier | None) -> None:
        """This is what answers from now on."""
        for labels in self._served:
            self._build_info.labels(*labels).set(0)
        self._served = []
        if classifier is not None:
            self._served = [(version, classifier.version, classifier.sha256)]
            self._build_info.labels(*self._served[0]).set(1)
            self._model_loaded.set(time.time())
            for size in SIZES:
                self._batch_cost.labels(str(size)).set(classifier.costs.seconds(size))
            self.reloads["success"].inc()

    def set_canary(self, canary: CanaryTrial | None) -> None:
        """This is what is tried from now on."""
        self._canary_version.set(0 if canary is None else int(canary.classifier.version))
        self._canary_percent.set(0 if canary is None else canary.percent)

    def set_missing(self, missing: dict[str, int]) -> None:
        """These versions are named, and not there."""
        for name, number in missing.items():
            self._missing.labels(name).set(number)

    def key_counters(self, name: str) -> dict[str, BufferedCounter]:
        """The counts of requests with the key of this name."""
        return {result: BufferedCounter(self.buffered, self._by_key.labels(name, result)) for result in KEY_RESULTS}

    def request_metrics(
        self, route: str, method: str, status: int
    ) -> tuple[BufferedCounter, BufferedHistogram, BufferedCounter | None]:
        """The count and the duration of requests with these labels; and their time, if they have pictures."""
        requests = BufferedCounter(self.buffered, self._requests.labels(route, method, str(status)))
        seconds = self._inference_seconds[result_of(str(status))] if route.endswith(INFERRING) else None
        return requests, BufferedHistogram(self.buffered, self._duration.labels(route), SECONDS), seconds

    def count_shed(self, error: ServiceError) -> None:
        """A request was refused with this error: was it given up to protect the others?"""
        if error.reason in self.shed:
            self.shed[error.reason].inc()


def registry() -> CollectorRegistry:
    """A registry for one worker's metrics; with one worker it also tells memory, CPU and descriptors."""
    collectors = CollectorRegistry()
    if folder := os.environ.get(shared_metrics.ENVIRONMENT):
        shared_metrics.join(Path(folder))
    else:
        ProcessCollector(registry=collectors)
    return collectors


def _over_workers(own: CollectorRegistry) -> list[Metric]:
    """The metrics of all workers, without versions that answer no more, which stay as zeros with several workers."""
    folder = shared_metrics.joined()
    if folder is None:
        found = list(own.collect())
    else:
        shared_metrics.fold(folder)
        found = shared_metrics.collect(folder)
    for metric in found:
        if metric.name == "mnist_build_info":
            metric.samples = [sample for sample in metric.samples if sample.value]
    return found
