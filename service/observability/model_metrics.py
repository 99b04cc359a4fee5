"""The metrics of model versions: the one that serves, the canary, and what comparisons of both show."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from .labels import AGREEMENTS, RESULTS, ROLLBACK_REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .declarations import Declarations


class ModelMetrics:
    """The version that serves."""

    def __init__(self, declare: Declarations) -> None:
        self._labels: list[tuple[str, str, str]] = []  # of the version that serves
        self._build_info = declare.plain_gauge(
            "build_info",
            "Always 1; the labels name what runs.",
            "version",
            "model_version",
            "model_sha256",
            over_workers="livemax",
        )
        self._batch_cost = declare.plain_gauge(
            "batch_cost_seconds",
            "CPU time of one run of the served model, measured when it was loaded.",
            "size",
            over_workers="livemax",
        )
        self._loaded = declare.plain_gauge(
            "model_load_timestamp_seconds", "When the served model was loaded, Unix time.", over_workers="livemax"
        )
        self.reloads = declare.counters("model_reloads_total", "Loads of a model version.", "result", RESULTS)
        self._missing = declare.plain_gauge(
            "model_missing_version",
            "Version that is named but missing, by what names it; 0: none.",
            "named_by",
            over_workers="livemax",
        )
        self.source_polled = declare.plain_gauge(
            "model_source_last_success_timestamp_seconds",
            "When the source of versions was polled last with success, Unix time; 0: never; NaN: there is no source.",
            over_workers="livemax",
        )
        self.source_polled.set(math.nan)

    def set_served(
        self, service_version: str, model_version: str, sha256: str, batch_seconds: Mapping[int, float]
    ) -> None:
        """This version serves from now on; `batch_seconds` has the CPU time of a run by its pictures."""
        self.set_unserved()
        self._labels = [(service_version, model_version, sha256)]
        self._build_info.labels(*self._labels[0]).set(1)
        self._loaded.set(time.time())
        for size, seconds in batch_seconds.items():
            self._batch_cost.labels(str(size)).set(seconds)
        self.reloads["success"].inc()

    def set_unserved(self) -> None:
        """No version serves from now on."""
        for labels in self._labels:
            self._build_info.labels(*labels).set(0)
        self._labels = []

    def set_missing(self, missing: Mapping[str, int]) -> None:
        """These versions are named but missing, by what names them."""
        for name, number in missing.items():
            self._missing.labels(name).set(number)


class CanaryMetrics:
    """The canary, beside the version that serves."""

    def __init__(self, declare: Declarations) -> None:
        self._version = declare.plain_gauge("canary_version", "Version of the canary; 0: none.", over_workers="livemax")
        self._percent = declare.plain_gauge(
            "canary_percent", "Percent of the requests that the canary answers.", over_workers="livemax"
        )
        self.requests = declare.counters(
            "canary_requests_total", "Requests for the canary to answer.", "result", ("answered", "failed")
        )
        self.rollbacks = declare.counters(
            "canary_rollbacks_total", "Canaries that were stopped automatically.", "reason", ROLLBACK_REASONS
        )
        self.agreements = declare.counters(
            "shadow_answers_total", "Pictures that both versions answered.", "agreement", AGREEMENTS
        )
        self.seconds = declare.histograms(
            "shadow_inference_seconds", "Time of a run in a comparison.", "version", ("served", "canary")
        )
        self.dropped = declare.counter(
            "shadow_dropped_total", "Requests that were not compared, to leave time for others."
        )

    def set(self, version: int, percent: float) -> None:
        """This version is the canary from now on; 0: there is none."""
        self._version.set(version)
        self._percent.set(percent)
