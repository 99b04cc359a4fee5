"""What is made of all metrics: Prometheus' text in the format that is asked for, and totals for the inference protocol.

In: metrics, added up over all workers. Out: bytes and their content type; or counts and times. It knows how metrics are
written and the names of some, and neither where they come from nor who asks.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from .labels import INFERENCE_ROUTES, RESULTS, STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

# What scrapers ask for. A version that anybody may invent would be a text of its own, with work of its own.
KINDS = ("text/plain", "application/openmetrics-text")
ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")
ASKED = ["", *KINDS, *(f"{kind};version=1.0.0;escaping={escaping}" for kind in KINDS for escaping in ESCAPINGS)]


class _Collected(NamedTuple):
    """A registry, as far as prometheus_client's encoders use one."""

    metrics: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def _text(encode: Callable[[_Collected], bytes], metrics: Iterable[Metric]) -> bytes:
    return encode(_Collected(metrics))


FORMATS = {kind: functools.partial(_text, encode) for encode, kind in map(choose_encoder, ASKED)}


def text_for(accept: str) -> tuple[Callable[[Iterable[Metric]], bytes], str]:
    """What makes the text that an `Accept` header asks for, and its content type."""
    try:
        _, kind = choose_encoder(accept)
    except TypeError:  # a version that is no number
        kind = CONTENT_TYPE_PLAIN_0_0_4
    if kind not in FORMATS:
        kind = CONTENT_TYPE_PLAIN_0_0_4
    return FORMATS[kind], kind


def totals(metrics: Iterable[Metric]) -> dict[str, tuple[int, int]]:
    """Counts and nanoseconds over all workers: of requests with pictures that ended in "success" or in "failure"; of
    each stage, where the stage "inference" is there once for each request; under "batch" the runs of the model and the
    pictures in them; and under "last" when the last run was, in Unix time.
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
    """How a request ended that was answered with this status code."""
    succeeded, failed = RESULTS
    return succeeded if code == "200" else failed
