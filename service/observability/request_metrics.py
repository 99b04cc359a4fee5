"""The metrics of requests: how many, how long, which were shed, and whose API keys they had."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .buffered_metrics import BufferedCounter, BufferedHistogram
from .declarations import SECONDS
from .exposition import result_of
from .labels import INFERENCE_ROUTES, RESULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import ServiceError
    from .declarations import Declarations

SHED = ("overloaded", "deadline_exceeded")
KEY_RESULTS = ("accepted", "expired", "forbidden", "limited")
NO_KEY = "-"  # in the place of a key's name, which cannot be this


class RouteMetrics(NamedTuple):
    """The metrics of requests with the same route, method and status."""

    requests: BufferedCounter
    duration: BufferedHistogram
    inference_seconds: BufferedCounter | None  # None where the route takes no pictures


class RequestMetrics:
    """Requests over HTTP and gRPC."""

    def __init__(self, declare: Declarations) -> None:
        self._buffered = declare.buffered
        self._count = declare.plain_counter(
            "http_requests_total", "Requests answered, by route template.", "route", "method", "code"
        )
        self._duration = declare.plain_histogram(
            "http_request_duration_seconds", "Time from the request line to the last byte of the response.", "route"
        )
        self.in_progress = declare.gauge(
            "http_requests_in_progress", "Requests that are being answered.", over_workers="livesum"
        )
        self._inference_seconds = declare.counters(
            "inference_request_seconds_total", "Time of requests with pictures, by result.", "result", RESULTS
        )
        self._shed = declare.counters(
            "shed_requests_total", "Requests that were given up to protect the others.", "reason", SHED
        )

    def of_route(self, route: str, method: str, status: int) -> RouteMetrics:
        """Return the metrics of requests with these labels, which exist from then on."""
        return RouteMetrics(
            BufferedCounter(self._buffered, self._count.labels(route, method, str(status))),
            BufferedHistogram(self._buffered, self._duration.labels(route), SECONDS),
            self._inference_seconds[result_of(str(status))] if route.endswith(INFERENCE_ROUTES) else None,
        )

    def count_shed(self, error: ServiceError) -> None:
        """Count a refused request, if its error protects the others."""
        if error.reason in self._shed:
            self._shed[error.reason].inc()


class KeyMetrics:
    """Requests by the name of their API key."""

    def __init__(self, declare: Declarations) -> None:
        self._buffered = declare.buffered
        self._requests = declare.plain_counter(
            "key_requests_total", "Requests by the name of their API key and by result.", "key", "result"
        )
        self._expiry = declare.plain_gauge(
            "api_key_expiry_timestamp_seconds",
            "When an API key with a last day expires, Unix time.",
            "key",
            over_workers="livemax",
        )
        self._expiring: set[str] = set()  # names of keys
        self.refusals = {result: self._counter(NO_KEY, result) for result in ("missing", "unknown")}
        self.file_unreadable = declare.gauge(
            "api_keys_unreadable", "1 while the file of API keys cannot be read.", over_workers="livemax"
        )

    def set_expiries(self, expiries: Mapping[str, float]) -> None:
        """These keys expire, by their names: at these times, Unix time; no others do."""
        for name in self._expiring - expiries.keys():
            self._expiry.labels(name).set(0)  # left out of a scrape
        for name, seconds in expiries.items():
            self._expiry.labels(name).set(seconds)
        self._expiring = set(expiries)

    def of_key(self, name: str) -> dict[str, BufferedCounter]:
        """Return the counters of requests with the key of this name, by result."""
        return {result: self._counter(name, result) for result in KEY_RESULTS}

    def _counter(self, key: str, result: str) -> BufferedCounter:
        return BufferedCounter(self._buffered, self._requests.labels(key, result))
