"""Watches every request and gives it an id: the one middleware, and what the fast path shares with it.

In: ASGI messages. Out: the same, with `X-Request-ID` on the answer; metrics by route template; and for a sampled share
of requests a line in the access log. It changes no answer, and gives that of a request that was refused before its turn
came, which costs less so than by the app's exceptions.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
from typing import TYPE_CHECKING

from starlette.requests import Request

from ..access.proxies import TrustedProxies
from ..connection import problems
from ..headers import given_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..errors import ServiceError
    from .buffered_metrics import BufferedCounter, BufferedHistogram
    from .metrics import Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

access_log = logging.getLogger("service.access")


class Observer:
    """Ids, metrics and log lines of requests; `routes` are the templates that exist, with their methods."""

    def __init__(
        self,
        metrics: Metrics,
        routes: Iterable[tuple[str, str]],
        access_log_share: float,
        trusted_proxies: str | None = None,
    ) -> None:
        self._metrics = metrics
        self._proxies = TrustedProxies(trusted_proxies)
        self._share = access_log_share
        # An id is cheap and unique: a random start for each process, then a count.
        self._prefix = os.urandom(6).hex()
        self._count = itertools.count()
        self._bound: dict[tuple[str, str, int], tuple[BufferedCounter, BufferedHistogram, BufferedCounter | None]] = {}
        self.expect(routes)

    def expect(self, routes: Iterable[tuple[str, str]]) -> None:
        """These exist too: they are exported as zeros."""
        for route, method in routes:
            self._children(route, method, 200)

    def request_id(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The id that the client gave, if it is one, or a new one."""
        given = given_id(headers)
        return (given or f"{self._prefix}-{next(self._count):x}").encode()

    def begin(self) -> None:
        """A request has come."""
        self._metrics.in_progress.inc()

    def shed(self, error: ServiceError) -> None:
        """A request is refused to protect the others."""
        self._metrics.count_shed(error)

    def end(
        self,
        route: str,
        method: str,
        status: int,
        seconds: float,
        *,
        request_id: bytes,
        client: str | None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """A request has been answered, or its connection is gone; `client` is whom that leads to."""
        self._metrics.in_progress.dec()
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
                "client": self._proxies.client(client, headers),
            }
            access_log.info("request", extra={"fields": fields})

    def _children(
        self, route: str, method: str, status: int
    ) -> tuple[BufferedCounter, BufferedHistogram, BufferedCounter | None]:
        """The metrics of these labels: looked up once, since that costs more than counting."""
        key = (route, method, status)
        if key not in self._bound:
            self._bound[key] = self._metrics.request_metrics(route, method, status)
        return self._bound[key]


class Observe:
    """Plain ASGI middleware that lets an `Observer` see every request."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request through the app."""
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
            app = self._app
            if (error := scope.get("refusal")) is not None:
                app = problems.refusal(Request(scope), error)
                self._observer.shed(error)
            await app(scope, receive, send_observed)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            client = scope["client"][0] if scope.get("client") else None
            seconds, headers = time.perf_counter() - started, scope["headers"]
            end = self._observer.end
            end(route, method, status, seconds, request_id=request_id, client=client, headers=headers)
