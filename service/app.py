"""The app: every route and what it takes to open and close them, in one place.

In: settings, the models, and how the process ends. Out: a FastAPI app. It knows who answers what; how an answer comes
about is `service.inference.engine`'s, and how an error looks over HTTP is `service.connection.problems`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, FastAPI

from . import __version__
from .access.authorisation import Access
from .access.origins import AllowedHosts
from .access.proxies import TrustedProxies
from .api import metrics_port, openapi, operation, predict
from .api.pages import add_pages
from .connection import problems
from .connection.body_budget import BodyBudget
from .connection.budget import Budget
from .connection.certificate import Certificate
from .connection.connections import Connections
from .connection.start_queue import StartQueue
from .drivers.direct import DirectRoute
from .inference.batcher import Batcher
from .inference.engine import Engine
from .observability import logs, metrics
from .observability.requests import Observer, ObserverMiddleware
from .system import orphans, signals
from .v2 import inference, rest
from .v2 import openapi as v2_openapi
from .v2.inference import Inference, rest_form

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from .connection.drain import Drain
    from .model.classifier import Classifier
    from .settings import Settings
    from .versions.canary import CanaryTrial
    from .versions.manager import VersionManager

# Answered before whatever waits for its turn.
PRIORITY_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = logging.getLogger("service")


def create_app(settings: Settings, models: VersionManager, registry: CollectorRegistry, drain: Drain) -> FastAPI:
    """Build the service: the `models` answer within the limits of `settings`, and `registry` takes its metrics."""
    watched = metrics.Metrics(registry)
    access = None if settings.api_keys_file is None else Access(settings.api_keys_file, watched)
    batcher = Batcher(watched, max_batch=settings.max_images)
    engine = Engine(models, batcher, watched, settings)
    predict_route = predict.Predict(engine, settings)
    infer_route = Inference(engine, rest_form(settings.max_images), models.served, named=False)
    fast_routes = {predict.TEMPLATE.encode(): DirectRoute(predict.TEMPLATE, predict_route, engine, access)}
    unready = functools.partial(_unready, drain, access, models)

    def on_served_changed(classifier: Classifier | None) -> None:
        _tell_served(watched, classifier)
        if classifier is not None:  # the model's name is known when its first version is loaded
            path = inference.TEMPLATE.format(model=classifier.name).encode()
            fast_routes[path] = DirectRoute(inference.TEMPLATE, infer_route, engine, access)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        logs.count_dropped(watched.worker.log_lines_dropped.inc)
        drain.install()
        certificate = Certificate(settings)
        budget = Budget()
        connections = Connections(settings, watched, budget)
        bodies = BodyBudget(budget, settings.max_body_bytes)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(signals.on_hangup(asyncio.get_running_loop(), models.poll_now))
            for part in (
                engine.reading(),
                models.following(
                    on_served_changed,
                    functools.partial(_tell_refused, watched),
                    functools.partial(_tell_canary, watched),
                    watched.model.set_missing,
                ),
                certificate.following(),
                orphans.reaping(),
                connections.watching(),
                contextlib.nullcontext() if access is None else access.file.following(),
            ):
                await stack.enter_async_context(part)
            if settings.grpc_port is not None:
                from .v2.grpc.server import serving  # noqa: PLC0415 - gRPC is an extra

                await stack.enter_async_context(
                    serving(
                        settings=settings,
                        models=models,
                        engine=engine,
                        observer=observer,
                        access=access,
                        watched=watched,
                        bodies=bodies,
                        drain=drain,
                        unready=unready,
                    )
                )
            yield {
                "drain": drain,
                "connections": connections,
                "observer": observer,
                "start_queue": StartQueue(settings.max_wait_seconds, PRIORITY_PATHS),
                "bodies": bodies,
                "certificate": certificate,
                "hosts": AllowedHosts(settings.allowed_hosts) if settings.allowed_hosts else None,
                "fast_routes": fast_routes if settings.fast_path else {},
                "metrics_port": await stack.enter_async_context(
                    metrics_port.serving(settings, watched, observer, drain, budget)
                ),
            }
        engine.close()
        batcher.close()
        watched.buffered.flush()

    app = FastAPI(
        title="mnist-mlp",
        version=__version__,
        description="Pictures of handwritten digits in, digits out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # `service.connection.framing` takes the slash away
        dependencies=[] if access is None else [Depends(access.guard())],
        lifespan=lifespan,
    )
    problems.install(app, watched)
    routers = (
        predict.router(predict_route, engine, models, settings),
        operation.router(models, watched, unready, metrics=settings.metrics_port is None),
        rest.router(engine, models, settings, watched, unready),
    )
    for router in routers:
        app.include_router(router)
    add_pages(app)
    operation.add_document(app, openapi.schemas(settings) | v2_openapi.schemas(settings))
    client = TrustedProxies(settings.trusted_proxies).client
    observer = Observer(watched, _templates(app, *routers), settings.access_log, client)
    app.add_middleware(problems.RefusalMiddleware, metrics=watched)
    app.add_middleware(ObserverMiddleware, observer=observer)
    return app


def _unready(drain: Drain, access: Access | None, models: VersionManager) -> str | None:
    """Say why no requests should be sent here, if so."""
    if drain.begun:
        return "the service is shutting down"
    if access is not None and access.file.failure is not None:
        return access.file.failure
    return None if models.current else "no model version is loaded"


def _tell_served(watched: metrics.Metrics, classifier: Classifier | None) -> None:
    if classifier is None:
        watched.model.set_unserved()
        log.warning("serving no model")
    else:
        watched.model.set_served(__version__, classifier.version, classifier.sha256, classifier.costs.by_size())
        costs = f"milliseconds of a run by its pictures: {classifier.costs}"
        log.info("serving model %s version %s; %s", classifier.name, classifier.version, costs)


def _tell_refused(watched: metrics.Metrics, reason: str) -> None:
    watched.model.reloads["failure"].inc()
    log.error("a model version is refused: %s", reason)


def _tell_canary(watched: metrics.Metrics, canary: CanaryTrial | None) -> None:
    if canary is None:
        watched.canary.set(0, 0)
        log.info("trying no other version")
    else:
        watched.canary.set(int(canary.classifier.version), canary.percent)
        log.info("trying version %s with %g %% of the requests", canary.classifier.version, canary.percent)


def _templates(*routers: FastAPI | APIRouter) -> list[tuple[str, str]]:
    """Return the route templates that exist, each with its methods."""
    routes = [route for router in routers for route in router.routes if hasattr(route, "path")]
    return [(route.path, method) for route in routes for method in getattr(route, "methods", None) or {"GET"}]
