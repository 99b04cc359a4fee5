"""Every metric, declared once, with its labels and buckets; and their exposition.

In: what the other modules observe. Out: Prometheus text, right over all workers. It watches and decides nothing.

With one worker the numbers live in memory. With several, `prometheus_client` keeps them in files that every worker
writes and the scrape adds up; `PROMETHEUS_MULTIPROC_DIR` (set by `service.__main__` before this module is imported)
says where. A dead worker's counters stay in the sum, so that counters never go backwards; its gauges leave it.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from service.costs import SIZES
from service.tally import Book, BulkHistogram, Count, Level, Spread
from service.trial import AGREEMENTS, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from service.classifier import Classifier
    from service.errors import ServiceError
    from service.trial import Trial

# Seconds, from a small model's 50 µs to the default time to answer; the objectives 1, 10 and 100 ms are edges.
SECONDS = (50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 2.5, 10)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
INK = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1)
STAGES = ("decode", "queue", "inference", "encode")
POLARITIES = ("light_on_dark", "dark_on_light")
REJECTIONS = ("malformed", "not_a_picture", "too_large", "unusable")
SHED = ("overloaded", "deadline_exceeded")
CUT = ("slow", "full")
INFERRING = ("/infer", "/ModelInfer", "/ModelStreamInfer", "/predict", "/predictions/{model}")  # ends of routes
RESULTS = ("success", "failure")
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

        def counts(one: Counter, names: Iterable[str]) -> dict[str, Count]:
            return {name: Count(self.book, one.labels(name)) for name in names}

        self.registry = registry
        self.book = Book()
        self._served: list[tuple[str, str, str]] = []

        self._build_info = gauge(
            "build_info",
            "Always 1; the labels say what runs.",
            "version",
            "model_version",
            "model_sha256",
            over_workers="livemax",
        )
        self._requests = counter(
            "http_requests_total", "Requests answered, by route template.", "route", "method", "code"
        )
        self._duration = histogram("http_request_duration_seconds", "From request line to last byte.", "route")
        self.in_progress = Level(
            self.book, gauge("http_requests_in_progress", "Requests being answered.", over_workers="livesum")
        )
        stage = histogram("stage_duration_seconds", "Time of one stage of a prediction.", "stage")
        self.stages = {name: Spread(self.book, stage.labels(name), SECONDS) for name in STAGES}
        batch_size = histogram("batch_size", "Pictures in one run of the model.", buckets=BATCHES)
        self.batch_size = Spread(self.book, batch_size, BATCHES)
        self._batch_cost = gauge(
            "batch_cost_seconds",
            "CPU time of one run of the served model, measured when it was loaded.",
            "size",
            over_workers="livemax",
        )
        self._inference_seconds = counts(
            counter("inference_request_seconds_total", "Time of requests with pictures, by how they ended.", "result"),
            RESULTS,
        )
        self.run_seconds = Count(
            self.book,
            counter("inference_run_seconds_total", "Time of runs of the model, once for each request in them."),
        )
        last = gauge(
            "last_inference_timestamp_seconds", "When the model last ran, Unix time; 0: never.", over_workers="max"
        )
        self.last_inference = Level(self.book, last)
        self.queue_depth = Level(
            self.book, gauge("queue_depth", "Pictures waiting for the model.", over_workers="livesum")
        )
        digits = counts(counter("predictions_total", "Digits answered.", "digit"), map(str, range(10)))
        self.digits = list(digits.values())
        confidence = histogram("prediction_confidence", "Probability of the answered digit.", buckets=CONFIDENCES)
        self.confidence = Spread(self.book, confidence, CONFIDENCES)
        ink_ratio = histogram("input_ink_ratio", "Share of a picture's pixels that are ink.", buckets=INK)
        self.ink_ratio = Spread(self.book, ink_ratio, INK)
        polarity = counter("input_polarity_total", "Pictures by what their ink is like.", "polarity")
        self.polarities = counts(polarity, POLARITIES)
        self.rejected = counts(counter("rejected_images_total", "Pictures refused.", "reason"), REJECTIONS)
        self.shed = counts(counter("shed_requests_total", "Requests given up to protect the others.", "reason"), SHED)
        self.connections = Level(self.book, gauge("connections", "Open HTTP connections.", over_workers="livesum"))
        self.cut = counts(counter("connections_cut_total", "Connections closed on their clients.", "reason"), CUT)
        self.dropped_lines = counter("log_lines_dropped_total", "Log lines that nobody read in time.")
        self._by_key = counter("key_requests_total", "Requests by whose API key they had.", "key", "result")
        self.key_refusals = {
            result: Count(self.book, self._by_key.labels(NO_KEY, result)) for result in ("missing", "unknown")
        }
        self._model_loaded = gauge(
            "model_load_timestamp_seconds", "When the served model was loaded, Unix time.", over_workers="livemax"
        )
        reloads = counter("model_reloads_total", "Loads of a model version.", "result")
        self.reloads = {result: reloads.labels(result) for result in ("success", "failure")}
        self._canary_version = gauge("canary_version", "Version that is tried; 0: none.", over_workers="livemax")
        self._canary_percent = gauge(
            "canary_percent", "Percent of the requests that the canary answers.", over_workers="livemax"
        )
        canary = counter("canary_requests_total", "Answers that the canary was to give.", "result")
        self.canary_requests = counts(canary, ("answered", "failed"))
        self.rollbacks = counts(counter("canary_rollbacks_total", "Canaries stopped by a guard.", "reason"), REASONS)
        shadow = counter("shadow_answers_total", "Pictures that both versions were asked.", "agreement")
        self.shadow_answers = counts(shadow, AGREEMENTS)
        shadow_seconds = histogram("shadow_inference_seconds", "Time of a run in a comparison.", "version")
        self.shadow_seconds = {
            name: Spread(self.book, shadow_seconds.labels(name), SECONDS) for name in ("served", "canary")
        }
        dropped = counter("shadow_dropped_total", "Requests that were not compared, to leave time for others.")
        self.shadow_dropped = Count(self.book, dropped)

    def serves(self, version: str, classifier: Classifier | None) -> None:
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

    def tries(self, trial: Trial | None) -> None:
        """This is what is tried from now on."""
        self._canary_version.set(0 if trial is None else int(trial.classifier.version))
        self._canary_percent.set(0 if trial is None else trial.percent)

    def of_key(self, name: str) -> dict[str, Count]:
        """The counts of requests with the key of this name."""
        return {result: Count(self.book, self._by_key.labels(name, result)) for result in KEY_RESULTS}

    def of_requests(self, route: str, method: str, status: int) -> tuple[Count, Spread, Count | None]:
        """The count and the duration of requests with these labels; and their time, if they have pictures."""
        requests = Count(self.book, self._requests.labels(route, method, str(status)))
        seconds = self._inference_seconds[_result(str(status))] if route.endswith(INFERRING) else None
        return requests, Spread(self.book, self._duration.labels(route), SECONDS), seconds

    def count_shed(self, error: ServiceError) -> None:
        """A request was refused with this error: was it given up to protect the others?"""
        if error.reason in self.shed:
            self.shed[error.reason].inc()


class _Registry(CollectorRegistry):
    """A registry that leaves out the versions which do not answer any more: with several workers they stay as zeros."""

    def collect(self) -> Iterator[Metric]:
        """The metrics, as they are exported."""
        for metric in super().collect():
            if metric.name == "mnist_build_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def registry() -> CollectorRegistry:
    """A registry for one worker's metrics; with one worker it also tells memory, CPU and descriptors."""
    collectors = _Registry()
    if _shared_folder() is None:
        ProcessCollector(registry=collectors)
    return collectors


def exposition(own: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The text of all workers' metrics and its content type, in the format the `Accept` header asks for."""
    encode, content_type = choose_encoder(accept)
    folder = _shared_folder()
    if folder is None:
        return encode(own), content_type
    forget_dead_workers(folder)
    return encode(all_workers(folder)), content_type


def totals(own: CollectorRegistry) -> dict[str, tuple[int, int]]:
    """Counts and nanoseconds over all workers: of requests with pictures that ended in "success" or in "failure"; of
    each stage, where the stage "inference" is there once for each request; under "batch" the runs of the model and the
    pictures in them; and under "last" when the last run was, in Unix time.
    """
    folder = _shared_folder()
    samples = [s for metric in (own if folder is None else all_workers(folder)).collect() for s in metric.samples]

    def total(name: str, **labels: str) -> float:
        return sum(s.value for s in samples if s.name == f"mnist_{name}" and labels.items() <= s.labels.items())

    asked = [s for s in samples if s.name == "mnist_http_requests_total" and s.labels["route"].endswith(INFERRING)]
    answered = dict.fromkeys(RESULTS, 0)
    for sample in asked:
        answered[_result(sample.labels["code"])] += int(sample.value)
    runs = int(total("batch_size_count"))
    found = {
        "batch": (runs, int(total("batch_size_sum"))),
        "last": (runs, int(total("last_inference_timestamp_seconds") * 1e9)),
    }
    for result, count in answered.items():
        found[result] = (count, int(total("inference_request_seconds_total", result=result) * 1e9))
    for stage in STAGES:
        spent = total("stage_duration_seconds_sum", stage=stage)
        found[stage] = (int(total("stage_duration_seconds_count", stage=stage)), int(spent * 1e9))
    return found | {"inference": (found["queue"][0], int(total("inference_run_seconds_total") * 1e9))}


def all_workers(folder: Path) -> CollectorRegistry:
    """A registry that adds up the files of all workers whenever it is scraped."""
    collectors = _Registry()
    MultiProcessCollector(collectors, path=str(folder))  # type: ignore[no-untyped-call]
    return collectors


def forget_dead_workers(folder: Path) -> None:
    """Removes the gauges of processes that are gone (a worker that was killed could not do so itself)."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _result(code: str) -> str:
    """How a request ended that was answered with this status code."""
    succeeded, failed = RESULTS
    return succeeded if code == "200" else failed


def _shared_folder() -> Path | None:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None
