"""The port of the metrics alone, in the same event loop and behind the same guard as the service's own.

In: connections, and what scrapes the metrics. Out: the metrics at /metrics and at /, without a key and without TLS, for
a private network; 404 elsewhere. Its connections are few, are counted apart, and leave their descriptors to the
service's port. It knows no model.
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
    """Those of this port, which are not among the service's in the metrics."""

    def __init__(self, settings: Settings, watched: Metrics, budget: Budget) -> None:
        super().__init__(settings.model_copy(update={"max_connections": METRICS_PORT_CONNECTIONS}), watched, budget)

    def tell(self) -> None:
        """They are told nowhere."""


class MetricsProtocol(Draining):
    """The guarded protocol, with the app of this port behind it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.app = self.app_state["app"]


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, watched: Metrics, observer: Observer, drain: Drain, budget: Budget
) -> AsyncIterator[dict[str, Any] | None]:
    """While the context is open: what `MetricsProtocol` needs, if there is such a port."""
    if settings.metrics_port is None:
        yield None
        return

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        request_id = scope["request_id"] = observer.request_id(scope["headers"])
        response = await _response(request, watched)
        response.headers["X-Request-ID"] = request_id.decode()
        await response(scope, receive, send)

    connections = FewConnections(settings, watched, budget)
    async with connections.watching():
        yield {
            "app": app,
            "connections": connections,
            "drain": drain,
            "observer": observer,
            "start_queue": StartQueue(settings.max_wait_seconds, PATHS),
        }


async def _response(request: Request, watched: Metrics) -> Response:
    if request.url.path not in PATHS:
        return problems.plain(request, 404, "There is nothing here but /metrics.")
    if request.method != "GET":
        return problems.plain(request, 405, "The metrics are for GET.", {"Allow": "GET"})
    try:
        return await scraped(request, watched)
    except ServiceError as error:
        watched.requests.count_shed(error)
        return problems.refusal(request, error)


async def scraped(request: Request, watched: Metrics) -> Response:
    """The metrics in the format that a request asks for; raises `Overloaded`."""
    make, content_type = text_for(request.headers.get("accept", ""))
    return Response(await watched.scrape(make), headers={"Content-Type": content_type})
