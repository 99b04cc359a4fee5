"""The app: it creates every part of the service, opens and closes them, and adds all routes.

In: settings, the model's versions, and the process's drain. Out: a FastAPI app.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import platform
from typing import TYPE_CHECKING

import onnxruntime
from fastapi import Depends, FastAPI

from . import __version__
from .access.authorisation import Access
from .access.cors import CrossOrigin, PreflightMiddleware
from .access.origins import AllowedHosts
from .access.proxies import TrustedProxies
from .access.root_path import RootPath
from .api import kserve, metrics_port, openapi, operation, predict
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
from .observability import logs
from .observability.metrics import Metrics
from .observability.process_metrics import ALONE
from .observability.requests import Observer, ObserverMiddleware
from .observability.tracing import Sampler, asking
from .source import state as source_state
from .system import orphans, signals
from .v2 import inference, rest
from .v2 import openapi as v2_openapi
from .v2.inference import Inference, rest_form

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from .connection.drain import Drain
    from .model.classifier import Classifier
    from .observability.process_metrics import Workers
    from .observability.spans import Spans
    from .settings import Settings
    from .versions.canary import CanaryTrial
    from .versions.manager import VersionManager

# Requests for these paths start before others that wait.
PRIORITY_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = logging.getLogger("service")


def create_app(
    settings: Settings,
    models: VersionManager,
    registry: CollectorRegistry,
    drain: Drain,
    workers: Workers = ALONE,
) -> FastAPI:
    """Build the service's app; `registry` collects its metrics, and `workers` are those that serve together."""
    metrics = Metrics(registry, workers)
    access = None if settings.api_keys_file is None else Access(settings.api_keys_file, metrics)
    batcher = Batcher(metrics, max_batch=settings.max_images)
    engine = Engine(models, batcher, metrics, settings)
    predict_route = predict.Predict(engine, settings)
    infer_route = Inference(engine, rest_form(settings.max_images), models.served, named=False)
    fast_routes = {predict.TEMPLATE.encode(): DirectRoute(predict.TEMPLATE, predict_route, engine, access)}
    cross_origin = CrossOrigin(settings.cors_origins) if settings.cors_origins else None
    proxies = TrustedProxies(settings.trusted_proxies)
    unready = functools.partial(_unready, drain, access, models)

    def on_served_changed(classifier: Classifier | None) -> None:
        _report_served(metrics, classifier)
        if classifier is not None:  # the model's name is known when its first version is loaded
            for template, route in ((inference.TEMPLATE, infer_route), (kserve.TEMPLATE, predict_route)):
                path = template.format(model=classifier.name).encode()
                fast_routes[path] = DirectRoute(template, route, engine, access)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        logs.count_dropped(metrics.worker.log_lines_dropped.inc)
        drain.install()
        certificate = Certificate(settings, metrics)
        budget = Budget()
        connections = Connections(settings, metrics, budget)
        bodies = BodyBudget(budget, settings.max_body_bytes)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(signals.on_hangup(asyncio.get_running_loop(), models.poll_now))
            for part in (
                engine.reading(),
                engine.predicting_wait(),
                models.following(
                    on_served_changed,
                    functools.partial(_report_refused, metrics),
                    functools.partial(_report_canary, metrics),
                    metrics.model.set_missing,
                ),
                certificate.following(),
                orphans.reaping(),
                connections.watching(),
                contextlib.nullcontext() if access is None else access.file.following(),
                contextlib.nullcontext()
                if settings.model_source is None
                else source_state.following(settings.model_dir, metrics.model.source_polled.set),
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
                        metrics=metrics,
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
                "root_path": _root_path(settings, proxies),
                "cross_origin": cross_origin,
                "fast_routes": fast_routes if settings.fast_path else {},
                "metrics_port": await stack.enter_async_context(
                    metrics_port.serving(settings, metrics, observer, drain, budget)
                ),
            }
        engine.close()
        batcher.close()
        if spans is not None:
            await spans.close(drain.seconds_left(settings.shutdown_seconds))
        metrics.buffered.flush()

    app = FastAPI(
        title="mnist-mlp",
        version=__version__,
        description="Pictures of handwritten digits in, digits out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # `service.connection.framing` drops the slash
        # Its own would miss the fast path and gRPC, and would double the spans of `service.observability.spans`.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        dependencies=[] if access is None else [Depends(access.guard())],
        lifespan=lifespan,
    )
    problems.install(app, metrics)
    # Straight into the app's own: a router within it costs each request a second search.
    predict.add_routes(app.router, predict_route, engine, models, settings)
    kserve.add_routes(app.router, predict_route, engine, models, settings, unready=unready)
    operation.add_routes(app.router, models, unready, metrics if settings.metrics_port is None else None)
    rest.add_routes(app.router, engine, models, settings, metrics=metrics, unready=unready)
    add_pages(app)
    operation.add_document(app, openapi.schemas(settings) | v2_openapi.schemas(settings))
    spans = _spans(settings, metrics)
    observer = Observer(metrics, _templates(app), settings.access_log, proxies.client, spans)
    if cross_origin is not None:
        app.add_middleware(PreflightMiddleware, cross_origin=cross_origin)
    app.add_middleware(problems.RefusalMiddleware, metrics=metrics)
    app.add_middleware(ObserverMiddleware, observer=observer)
    return app


def _spans(settings: Settings, metrics: Metrics) -> Spans | None:
    """Return what exports this process's spans; None where no variable of OpenTelemetry asks for them."""
    if asking(os.environ) is None:
        return None
    from .observability.spans import Spans  # noqa: PLC0415 - OpenTelemetry is an extra

    scheme = "http" if settings.tls_cert_file is None else "https"
    return Spans(Sampler(os.environ), metrics.worker.spans_lost.inc, scheme=scheme, version=__version__)


def _root_path(settings: Settings, proxies: TrustedProxies) -> RootPath | None:
    """Return the path below which proxies publish the service; None where neither a setting nor a proxy can name it."""
    needed = settings.root_path or settings.trusted_proxies
    return RootPath(settings.root_path or "", proxies) if needed else None


def _unready(drain: Drain, access: Access | None, models: VersionManager) -> str | None:
    """Return why the service is not ready, or None."""
    if drain.begun:
        return "the service is shutting down"
    if access is not None and access.file.failure is not None:
        return access.file.failure
    return None if models.current else "no model version is loaded"


def _report_served(metrics: Metrics, classifier: Classifier | None) -> None:
    if classifier is None:
        metrics.model.set_unserved()
        log.warning("serving no model")
    else:
        metrics.model.set_served(__version__, classifier.version, classifier.sha256, classifier.costs.by_size())
        metrics.drift.follow(classifier.version, classifier.sha256, classifier.card.get("reference"))
        facts = {
            "model": classifier.name,
            "version": classifier.version,
            "sha256": classifier.sha256,
            "run_ms": {str(size): round(seconds * 1e3, 4) for size, seconds in classifier.costs.by_size().items()},
            "service": __version__,
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
        }
        log.info("serving model %s version %s", classifier.name, classifier.version, extra={"fields": facts})


def _report_refused(metrics: Metrics, reason: str) -> None:
    metrics.model.reloads["failure"].inc()
    log.error("a model version is refused: %s", reason)


def _report_canary(metrics: Metrics, canary: CanaryTrial | None) -> None:
    if canary is None:
        metrics.canary.set(0, 0)
        log.info("no canary")
    else:
        metrics.canary.set(int(canary.classifier.version), canary.percent)
        log.info("canary version %s gets %g %% of the requests", canary.classifier.version, canary.percent)


def _templates(app: FastAPI) -> list[tuple[str, str]]:
    """Return each route's template with each of its methods."""
    routes = [route for route in app.routes if hasattr(route, "path")]
    return [(route.path, method) for route in routes for method in getattr(route, "methods", None) or {"GET"}]
