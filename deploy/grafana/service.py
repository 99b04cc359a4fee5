"""The dashboard of the service: how much is asked, how well and how fast it answers, and where the time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .panels import (
    GREEN,
    GREY,
    PREDICTIONS,
    RED,
    THIRD,
    YELLOW,
    Query,
    bars,
    heat,
    increase,
    lines,
    mean,
    number,
    per_bucket,
    quantile,
    rate,
    series,
    total,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

NAME, TITLE = "service", "MNIST: service"
DESCRIPTION = "Requests, errors, latency, batches and load. Objectives: 99.9 % without 5xx, 99 % within 50 ms."

ERRORS, SLOW = 0.001, 0.01  # of the predictions, that the objectives allow
REQUESTS, DURATION = "http_requests_total", "http_request_duration_seconds"
FAILED = f'{PREDICTIONS}, code=~"5.."'
FAST = f'{PREDICTIONS}, le="0.05"'
COUNT, BUCKET = f"{DURATION}_count", f"{DURATION}_bucket"
# A status without a response has no series.
NO_ERRORS = f"1 - ({total(increase(REQUESTS, FAILED))} or vector(0)) / {total(increase(REQUESTS, PREDICTIONS))}"
BURNT = f"({total(rate(REQUESTS, FAILED, '1h'))} or vector(0)) / {total(rate(REQUESTS, PREDICTIONS, '1h'))} / {ERRORS}"


def panels() -> dict[str, list[Builder[Panel]]]:
    """Return the panels by the titles of their rows."""
    return {
        "At a glance": _glance(),
        "Requests and errors": _requests(),
        "Latency": _latency(),
        "Stages and batches": _stages(),
        "Load": _load(),
    }


def _glance() -> list[Builder[Panel]]:
    predictions = total(rate(REQUESTS, PREDICTIONS))
    return [
        number(
            "Instances up",
            "Services that answer their scrapes.",
            'sum(up{job="$job", instance=~"$instance"})',
            "short",
            steps=[(None, RED), (1, GREEN)],
        ),
        number("Predictions", "Requests with pictures, a second, over HTTP and gRPC.", predictions, "reqps"),
        number(
            "Without 5xx",
            "Share of the predictions in the range shown that ended without a 5xx. The objective is 99.9 %.",
            NO_ERRORS,
            "percentunit",
            steps=[(None, RED), (1 - ERRORS, GREEN)],
            decimals=3,
            none="no predictions",
        ),
        number(
            "Within 50 ms",
            "Share of the predictions in the range shown that took 50 ms at most. The objective is 99 %.",
            f"{total(increase(BUCKET, FAST))} / {total(increase(COUNT, PREDICTIONS))}",
            "percentunit",
            steps=[(None, RED), (1 - SLOW, GREEN)],
            decimals=2,
            none="no predictions",
        ),
        number(
            "Median latency",
            "Half of the predictions take no longer, from the request line to the last byte of the response.",
            quantile(0.5, DURATION, labels=PREDICTIONS),
            "s",
            none="no predictions",
        ),
        number("Workers", "Worker processes that live, over all instances.", total(series("workers")), "short"),
    ]


def _requests() -> list[Builder[Panel]]:
    return [
        lines(
            "Requests by route",
            "All requests, health checks and pages too, by the template of their route.",
            "reqps",
            Query(total(rate(REQUESTS), "route"), "{{route}}"),
            stacked=True,
        ),
        lines(
            "Responses by status",
            "4xx: the request was wrong. 5xx: the service failed, or had no room (503) or no time (504).",
            "reqps",
            Query(total(rate(REQUESTS), "code"), "{{code}}"),
            stacked=True,
        ),
        lines(
            "Errors by route and status",
            "Responses with 4xx and 5xx. A status has a line from its first response on.",
            "reqps",
            Query(total(rate(REQUESTS, 'code=~"[45].."'), "route, code"), "{{code}} {{route}}"),
            span=THIRD,
        ),
        lines(
            "Error budget burnt",
            "How many times faster than the objective of 99.9 % allows predictions ended with a 5xx, in the last hour. "
            "At 1 the budget of 30 days lasts 30 days, at 14.4 it lasts two days.",
            "none",
            Query(BURNT, "burn rate, 1 h"),
            steps=[(None, GREEN), (1, YELLOW), (14.4, RED)],
            span=THIRD,
        ),
        lines(
            "Requests by API key",
            "Accepted and refused requests by the name of their key; - is without a known key.",
            "reqps",
            Query(total(rate("key_requests_total"), "key, result"), "{{key}} {{result}}"),
            span=THIRD,
        ),
    ]


def _latency() -> list[Builder[Panel]]:
    return [
        lines(
            "Latency of predictions",
            "From the request line to the last byte of the response. The dashed line is the objective for 99 %. "
            "A point is a request with a trace, where one worker serves and traces.",
            "s",
            *(Query(quantile(share, DURATION, labels=PREDICTIONS), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)),
            steps=[(None, GREEN), (0.05, RED)],
            exemplars=True,
        ),
        heat(
            "Latency of predictions, all of them",
            "How many predictions took how long; a row is named by the longest time in it.",
            "s",
            per_bucket(DURATION, PREDICTIONS),
        ),
        lines(
            "p99 by route",
            "99 of 100 requests to a route take no longer.",
            "s",
            Query(quantile(0.99, DURATION, "route"), "{{route}}"),
        ),
        lines(
            "Predictions within 50 ms",
            "The dashed line is the objective, 99 %.",
            "percentunit",
            Query(f"{total(rate(BUCKET, FAST))} / {total(rate(COUNT, PREDICTIONS))}", "within 50 ms"),
            most=1,
            steps=[(None, RED), (1 - SLOW, GREEN)],
        ),
    ]


def _stages() -> list[Builder[Panel]]:
    stages = "stage_duration_seconds"
    return [
        lines(
            "Mean time by stage",
            "decode: bytes to 28×28 pixels. queue: waiting for the model. inference: the run. encode: the response. "
            "A long queue calls for replicas, a long decode for smaller pictures.",
            "s",
            Query(mean(stages, "stage"), "{{stage}}"),
            stacked=True,
        ),
        lines(
            "p99 by stage",
            "99 of 100 predictions spend no longer in a stage.",
            "s",
            Query(quantile(0.99, stages, "stage"), "{{stage}}"),
        ),
        heat(
            "Batch sizes",
            "Runs of the model a second by their number of pictures. Pictures that wait together run together.",
            "short",
            per_bucket("batch_size"),
            span=THIRD,
        ),
        lines(
            "Runs and pictures",
            "Pictures a run, on average, and runs a second.",
            "short",
            Query(mean("batch_size"), "pictures a run"),
            Query(total(rate("batch_size_count")), "runs a second"),
            span=THIRD,
        ),
        bars(
            "CPU time of a run",
            "By the number of pictures, as measured when the served version was loaded: what the batcher plans with.",
            "s",
            Query(f"max by (size) ({series('batch_cost_seconds')})", "{{size}} pictures"),
            span=THIRD,
        ),
    ]


def _load() -> list[Builder[Panel]]:
    return [
        lines(
            "Queue",
            "Pictures that wait for the model.",
            "short",
            Query(total(series("queue_depth"), "instance"), "{{instance}}"),
            span=THIRD,
        ),
        lines(
            "Wait for the model",
            "Mean time that a request waits for the model: what the autoscalers follow.",
            "s",
            Query(mean("stage_duration_seconds", "instance", 'stage="queue"'), "{{instance}}"),
            span=THIRD,
        ),
        lines(
            "Requests being answered",
            "Requests between their first byte and the last byte of their response.",
            "short",
            Query(total(series("http_requests_in_progress"), "instance"), "{{instance}}"),
            span=THIRD,
        ),
        lines(
            "Workers by instance",
            "Worker processes that live. One that dies is replaced within a second.",
            "short",
            Query(total(series("workers"), "instance"), "{{instance}}"),
        ),
        lines(
            "Shed",
            "Requests that were given up to protect the others. overloaded: no room, 503. "
            "deadline_exceeded: no time, 503 or 504.",
            "reqps",
            Query(total(rate("shed_requests_total"), "reason"), "{{reason}}"),
            steps=[(None, GREY), (1, YELLOW)],
        ),
        lines(
            "Connections",
            "Open HTTP connections.",
            "short",
            Query(total(series("connections"), "instance"), "{{instance}}"),
        ),
        lines(
            "Connections cut",
            "Connections that the service closed: slow clients, and idle ones that made room at the limit (full).",
            "cps",
            Query(total(rate("connections_cut_total"), "reason"), "{{reason}}"),
        ),
    ]
