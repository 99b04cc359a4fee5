"""A separate port for metrics, in the same event loop and with the same guarded protocol as the service's port.

In: connections of scrapers. Out: the metrics at /metrics and at /, without API key and TLS, for a private network; 404
elsewhere. The port has its own small connection limit, so that scrapers cannot take the service's descriptors.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ..connection import problems
from ..connection.connections import METRICS_PORT_CONNECTIONS, Connections
from ..connection.draining import Draining
from ..connection.start_queue import StartQueue
from ..errors import ServiceError
from ..observability.exposition import text_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from ..connection.budget import Budget
    from ..connection.drain import Drain
    from ..observability.metrics import Metrics
    from ..observability.requests import Observer
    from ..settings import Settings

PATHS = frozenset({"/metrics", "/"})


class FewConnections(Connections):
    """The connections of this port, which the service's metrics leave out."""

    def __init__(self, settings: Settings, metrics: Metrics, budget: Budget) -> None:
        super().__init__(settings.model_copy(update={"max_connections": METRICS_PORT_CONNECTIONS}), metrics, budget)

    def set_metric(self) -> None:
        """Do nothing: the metric counts the service's port alone."""


class MetricsProtocol(Draining):
    """The draining protocol with this port's app."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.app = self.app_state["app"]


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, metrics: Metrics, observer: Observer, drain: Drain, budget: Budget
) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the state that `MetricsProtocol` needs; None without a metrics port."""
    if settings.metrics_port is None:
        yield None
        return

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        request_id = scope["request_id"] = observer.request_id(scope["headers"])
        response = await _response(request, metrics)
        response.headers["X-Request-ID"] = request_id.decode()
        await response(scope, receive, send)

    connections = FewConnections(settings, metrics, budget)
    async with connections.watching():
        yield {
            "app": app,
            "connections": connections,
            "drain": drain,
            "observer": observer,
            "start_queue": StartQueue(settings.max_wait_seconds, PATHS),
        }


async def _response(request: Request, metrics: Metrics) -> Response:
    if request.url.path not in PATHS:
        return problems.plain(request, 404, "This port has only /metrics.")
    if request.method != "GET":
        return problems.plain(request, 405, "The metrics support only GET.", {"Allow": "GET"})
    try:
        return await scrape(request, metrics)
    except ServiceError as error:
        metrics.requests.count_shed(error)
        return problems.refusal(request, error)


async def scrape(request: Request, metrics: Metrics) -> Response:
    """Return the metrics in the format of the Accept header; raises `Overloaded`."""
    make, content_type = text_for(request.headers.get("accept", ""))
    return Response(await metrics.scrape(make), headers={"Content-Type": content_type})
