"""Observe requests: give each an id, count and time it, and write a sampled share to the access log.

In: the beginning and the end of each request, from the ASGI middleware here and from the other drivers. Out:
`X-Request-ID` on the response, metrics by route template, log lines, and spans. It changes nothing else of a response.
A request that is logged or traced has a record, into which others write what they find.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
from typing import TYPE_CHECKING

from ..headers import given_id
from . import trace_context
from .record import Record, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..errors import ServiceError
    from .buffered_metrics import BufferedHistogram
    from .metrics import Metrics
    from .record import Fields
    from .request_metrics import RouteMetrics
    from .spans import Spans

    Headers = Iterable[tuple[bytes, bytes]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

access_log = logging.getLogger("service.access")
log = logging.getLogger("service")


class Observer:
    """Ids, metrics and log lines of requests."""

    def __init__(
        self,
        metrics: Metrics,
        routes: Iterable[tuple[str, str]],
        access_log_share: float,
        client_of: Callable[[str | None, Headers], str | None] = lambda peer, _: peer,
        spans: Spans | None = None,
    ) -> None:
        """`routes` are the templates that exist, with their methods; `client_of` finds a request's client, by the
        connection's peer and the headers; without `spans`, no request is traced.
        """
        self._metrics = metrics
        self._spans = spans
        self._client_of = client_of
        self._share = access_log_share
        self._records = spans is not None or access_log_share > 0  # whether any request has a record
        # Cheap and unique ids: a random prefix for each process, then a count.
        self._prefix = os.urandom(6).hex()
        self._count = itertools.count()
        self._bound: dict[tuple[str, str, int], RouteMetrics] = {}
        self.expect(routes)

    def expect(self, routes: Iterable[tuple[str, str]]) -> None:
        """Export these routes as zeros too."""
        for route, method in routes:
            self._children(route, method, 200)

    def request_id(self, headers: Headers) -> bytes:
        """Return the id that the client gave, if it has the form of one, or else a new one."""
        given = given_id(headers)
        return (given or f"{self._prefix}-{next(self._count):x}").encode()

    def begin(self, headers: Headers) -> Record | None:
        """Count a request that begins; return its record if it is to be logged or traced."""
        self._metrics.requests.in_progress.inc()
        if not self._records:
            return None
        logged = self._share > 0 and random.random() < self._share  # noqa: S311 - a sample, not a secret
        span = None if self._spans is None else self._spans.sample(headers)
        return Record(logged=logged, span=span) if logged or span is not None else None

    def shed(self, error: ServiceError) -> None:
        """Count a refused request, if its error protects the others."""
        self._metrics.requests.count_shed(error)

    def end(
        self,
        route: str,
        method: str,
        status: int,
        seconds: float,
        *,
        request_id: bytes,
        peer: str | None,
        headers: Headers,
        record: Record | None,
    ) -> None:
        """Count a request that was answered, or whose connection is gone; `peer` is the connection's other end."""
        self._metrics.requests.in_progress.dec()
        requests, duration, inferring = self._children(route, method, status)
        requests.inc()
        duration.observe(seconds)
        if inferring is not None:
            inferring.inc(seconds)
        if record is not None:
            client = self._client_of(peer, headers)
            request = Request(method, route, status, seconds, request_id, client)
            self._report(request, record, headers, duration)

    def _report(self, request: Request, record: Record, headers: Headers, duration: BufferedHistogram) -> None:
        """Write the line and the spans of a request that has ended."""
        if record.logged:
            fields = request.fields() | record.fields() | trace_fields(headers, record)
            access_log.info("request", extra={"fields": fields})
        if self._spans is not None and record.span is not None:
            self._spans.add(record, record.span, request, headers)
            labels = {"trace_id": record.span.trace, "span_id": record.span.id}
            duration.add_exemplar(request.seconds, labels)
            for stage, (started, ended) in record.stages.items():
                self._metrics.predictions.stages[stage].add_exemplar(ended - started, labels)

    def fail(self, request_id: bytes, error: Exception, headers: Headers, record: Record | None) -> None:
        """Log a fault of the service, with its stack, the request's id and its trace."""
        extra = {"fields": {"request_id": request_id.decode(), **trace_fields(headers, record)}}
        log.error("request %s failed", request_id.decode(), exc_info=error, extra=extra)

    def _children(self, route: str, method: str, status: int) -> RouteMetrics:
        """Return the metrics of these labels. They are kept: finding them costs more than counting."""
        key = (route, method, status)
        if key not in self._bound:
            self._bound[key] = self._metrics.requests.of_route(route, method, status)
        return self._bound[key]


def trace_fields(headers: Headers, record: Record | None) -> Fields:
    """Return what a log line says of a request's trace: its own span, or else the caller's trace, or nothing."""
    if record is not None and record.span is not None:
        return {"trace_id": record.span.trace, "span_id": record.span.id}
    parent = trace_context.find(headers)
    return {} if parent is None else {"trace_id": f"{parent.trace_id:032x}"}


class ObserverMiddleware:
    """Plain ASGI middleware that lets an `Observer` see every request."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on to the app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = scope["headers"]
        request_id = scope["request_id"] = self._observer.request_id(headers)
        record = scope["record"] = self._observer.begin(headers)
        status = 500  # what uvicorn answers when the app raises before it answers

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception as error:
            self._observer.fail(request_id, error, headers, record)
            error.is_logged = True  # type: ignore[attr-defined]
            raise
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            peer = scope["client"][0] if scope.get("client") else None
            seconds = time.perf_counter() - started
            if record is not None:
                record.started, record.path, record.protocol = started, scope["path"], scope["http_version"]
            end = self._observer.end
            end(route, method, status, seconds, request_id=request_id, peer=peer, headers=headers, record=record)
