"""Observe requests: give each an id, count and time it, and write a sampled share to the access log.

In: the beginning and the end of each request, from the ASGI middleware here and from the other drivers. Out:
`X-Request-ID` on the response, metrics by route template, and log lines. It changes nothing else of a response.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
from typing import TYPE_CHECKING

from ..headers import given_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..errors import ServiceError
    from .metrics import Metrics
    from .request_metrics import RouteMetrics

    Headers = Iterable[tuple[bytes, bytes]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

access_log = logging.getLogger("service.access")


class Observer:
    """Ids, metrics and log lines of requests."""

    def __init__(
        self,
        metrics: Metrics,
        routes: Iterable[tuple[str, str]],
        access_log_share: float,
        client_of: Callable[[str | None, Headers], str | None] = lambda peer, _: peer,
    ) -> None:
        """`routes` are the templates that exist, with their methods; `client_of` finds a request's client, by the
        connection's peer and the headers.
        """
        self._metrics = metrics
        self._client_of = client_of
        self._share = access_log_share
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

    def begin(self) -> None:
        """Count a request that begins."""
        self._metrics.requests.in_progress.inc()

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
        headers: Headers = (),
    ) -> None:
        """Count a request that was answered, or whose connection is gone; `peer` is the connection's other end."""
        self._metrics.requests.in_progress.dec()
        requests, duration, inferring = self._children(route, method, status)
        requests.inc()
        duration.observe(seconds)
        if inferring is not None:
            inferring.inc(seconds)
        if self._share and random.random() < self._share:  # noqa: S311 - a sample, not a secret
            fields = {
                "request_id": request_id.decode(),
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1e3, 3),
                "client": self._client_of(peer, headers),
            }
            access_log.info("request", extra={"fields": fields})

    def _children(self, route: str, method: str, status: int) -> RouteMetrics:
        """Return the metrics of these labels. They are kept: finding them costs more than counting."""
        key = (route, method, status)
        if key not in self._bound:
            self._bound[key] = self._metrics.requests.of_route(route, method, status)
        return self._bound[key]


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
        request_id = scope["request_id"] = self._observer.request_id(scope["headers"])
        status = 500  # what uvicorn answers when the app raises before it answers

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        self._observer.begin()
        try:
            await self._app(scope, receive, send_observed)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            peer = scope["client"][0] if scope.get("client") else None
            seconds, headers = time.perf_counter() - started, scope["headers"]
            end = self._observer.end
            end(route, method, status, seconds, request_id=request_id, peer=peer, headers=headers)
