"""Turn metrics into Prometheus' text, in the format that a scraper asks for, or into totals for the V2 protocol.

In: metrics, summed over all workers. Out: bytes and their content type; or counts and times. It knows the formats and
the names of some metrics, but not who scrapes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from .labels import INFERENCE_ROUTES, RESULTS, STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

# The formats that scrapers ask for. Any other would let each client have a text of its own made.
KINDS = ("text/plain", "application/openmetrics-text")
ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")
ASKED = ["", *KINDS, *(f"{kind};version=1.0.0;escaping={escaping}" for kind in KINDS for escaping in ESCAPINGS)]


class _Collected(NamedTuple):
    """The part of a registry that prometheus_client's encoders use."""

    metrics: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def _text(encode: Callable[[_Collected], bytes], metrics: Iterable[Metric]) -> bytes:
    return encode(_Collected(metrics))


FORMATS = {kind: functools.partial(_text, encode) for encode, kind in map(choose_encoder, ASKED)}


def text_for(accept: str) -> tuple[Callable[[Iterable[Metric]], bytes], str]:
    """Return what makes the text for an `Accept` header, and its content type."""
    try:
        _, kind = choose_encoder(accept)
    except TypeError:  # a version that is not a number
        kind = CONTENT_TYPE_PLAIN_0_0_4
    if kind not in FORMATS:
        kind = CONTENT_TYPE_PLAIN_0_0_4
    return FORMATS[kind], kind


def totals(metrics: Iterable[Metric]) -> dict[str, tuple[int, int]]:
    """Return counts and nanoseconds over all workers.

    "success" and "failure" have the requests with pictures; each stage has its own, and "inference" counts a run once
    for each request in it; "batch" has the runs of the model and their pictures; "last" has the time of the last run.
    """
    samples = [sample for metric in metrics for sample in metric.samples]

    def total(name: str, **labels: str) -> float:
        return sum(s.value for s in samples if s.name == f"mnist_{name}" and labels.items() <= s.labels.items())

    requests = [sample for sample in samples if sample.name == "mnist_http_requests_total"]
    asked = [sample for sample in requests if sample.labels["route"].endswith(INFERENCE_ROUTES)]
    answered = dict.fromkeys(RESULTS, 0)
    for sample in asked:
        answered[result_of(sample.labels["code"])] += int(sample.value)
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


def result_of(code: str) -> str:
    """Return the result of a request with this status code."""
    succeeded, failed = RESULTS
    return succeeded if code == "200" else failed
