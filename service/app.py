"""The app: every route and what it takes to open and close them, in one place.

In: settings, the models, and how the process ends. Out: a FastAPI app. It knows who answers what; how an answer comes
about is `service.inference.engine`'s, and how an error looks over HTTP is `service.connection.problems`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

import service

from .access.authorisation import Access, scope_of
from .access.origins import AllowedHosts
from .api import metrics_port, openapi
from .api.pages import add_pages
from .connection import problems
from .connection.body_budget import Bodies
from .connection.budget import Budget
from .connection.certificate import Certificate
from .connection.connections import Connections
from .connection.fast_path import FastPath
from .connection.receive import admitted_body
from .connection.start_queue import Turns
from .inference.batcher import Batcher
from .inference.engine import Predictor, in_time
from .observability import logs, metrics
from .observability.requests import Observe, Observer
from .system import orphans, signals
from .v2 import metadata
from .v2.rest import add_inference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from .connection.drain import Drain
    from .model.classifier import Classifier
    from .settings import Settings
    from .versions.canary import Trial
    from .versions.manager import Models

# Answered before whatever waits for its turn.
AHEAD = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = logging.getLogger("service")


def create_app(settings: Settings, models: Models, registry: CollectorRegistry, drain: Drain) -> FastAPI:
    """The service: the `models` answer within the limits of `settings`, and `registry` takes its metrics."""
    watched = metrics.Metrics(registry)
    batcher = Batcher(watched, max_batch=settings.max_images)
    predictor = Predictor(models, batcher, watched, settings)
    access = None if settings.api_keys_file is None else Access(settings.api_keys_file, watched)

    unready = functools.partial(_unready, drain, access, models)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        fast_path = FastPath(predictor, observer, access, watched)
        logs.count_dropped(watched.dropped_lines.inc)

        def changed(classifier: Classifier | None) -> None:
            watched.serves(service.__version__, classifier)
            if classifier is None:
                log.warning("serving no model")
            else:
                fast_path.take(classifier.name)
                costs = f"milliseconds of a run by its pictures: {classifier.costs}"
                log.info("serving model %s version %s; %s", classifier.name, classifier.version, costs)

        def refused(reason: str) -> None:
            watched.reloads["failure"].inc()
            log.error("a model version is refused: %s", reason)

        drain.install()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(signals.on_hangup(asyncio.get_running_loop(), models.look_again))
            certificate = Certificate(settings)
            connections = Connections(settings, watched, budget := Budget())
            bodies = Bodies(budget, settings.max_body_bytes)
            for part in (
                predictor.reading(),
                models.followed(changed, refused, functools.partial(_tried, watched), watched.misses),
                certificate.followed(),
                orphans.reaped(),
                connections.watched(),
                contextlib.nullcontext() if access is None else access.file.followed(),
            ):
                await stack.enter_async_context(part)
            if settings.grpc_port is not None:
                from .v2.grpc.server import serving  # noqa: PLC0415 - gRPC is an extra

                await stack.enter_async_context(
                    serving(
                        settings=settings,
                        models=models,
                        predictor=predictor,
                        observer=observer,
                        access=access,
                        watched=watched,
                        bodies=bodies,
                        drain=drain,
                        unready=unready,
                    )
                )
            shared = {
                "drain": drain,
                "connections": connections,
                "observer": observer,
                "turns": Turns(settings.max_wait_seconds, AHEAD),
                "bodies": bodies,
                "certificate": certificate,
                "hosts": AllowedHosts(settings.allowed_hosts) if settings.allowed_hosts else None,
                "metrics_port": await stack.enter_async_context(
                    metrics_port.serving(settings, watched, observer, drain, budget)
                ),
            }
            yield shared | ({"fast_path": fast_path} if settings.fast_path else {})
        predictor.close()
        batcher.close()
        watched.book.flush()

    app = FastAPI(
        title="mnist-mlp",
        version=service.__version__,
        description="Pictures of handwritten digits in, digits out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # `service.connection.framing` takes the slash away
        dependencies=[] if access is None else [Depends(access.guard())],
        lifespan=lifespan,
    )
    problems.install(app, watched)
    _add_predict(app, predictor, models, settings)
    app.state.unready = unready
    _add_operation(app, models)
    add_inference(app, predictor, models, settings, watched)
    if settings.metrics_port is None:
        _add_metrics(app, watched)
    add_pages(app)
    _add_openapi(app)
    observer = Observer(watched, _routes(app), settings.access_log, settings.trusted_proxies)
    app.add_middleware(Observe, observer=observer)
    return app


def _unready(drain: Drain, access: Access | None, models: Models) -> str | None:
    """Why no requests should be sent here, if so."""
    if drain.begun:
        return "the service is shutting down"
    if access is not None and access.file.trouble is not None:
        return access.file.trouble
    return None if models.current else "no model version is loaded"


def _tried(watched: metrics.Metrics, trial: Trial | None) -> None:
    watched.tries(trial)
    if trial is None:
        log.info("trying no other version")
    else:
        log.info("trying version %s with %g %% of the requests", trial.classifier.version, trial.percent)


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    """The route templates that exist, each with its methods."""
    return [(route.path, method) for route in app.routes if hasattr(route, "path") for method in _methods(route)]


def _methods(route: object) -> set[str]:
    return getattr(route, "methods", None) or {"GET"}


def _add_predict(app: FastAPI, predictor: Predictor, models: Models, settings: Settings) -> None:
    responses = openapi.predict_responses(settings)
    options: dict[str, Any] = {"tags": ["predict"], "response_model": None}

    @app.post(
        "/predict",
        summary="Which digits do these pictures show?",
        responses=responses,
        openapi_extra=openapi.predict_extra(settings),
        **options,
    )
    async def predict(request: Request) -> Response:
        """Answers pictures in any of the forms below. `?explain=1` adds what the network saw and why."""
        explained = request.query_params.get("explain", "0") not in {"", "0", "false"}
        content_type = request.headers.get("content-type", "")
        async with admitted_body(request, settings, predictor.admission) as (data, seconds):
            work = predictor.answer(content_type, data, explained=explained, headers=request.scope["headers"])
            answer = await in_time(work, seconds)
        return Response(answer, media_type="application/json")

    @app.post(
        "/predictions/{model}",
        summary="The same, where clients of TorchServe look for it",
        responses=responses | {404: openapi.problem("Another model than the one that is served.")},
        openapi_extra=openapi.predict_extra(settings, "model"),
        **options,
    )
    async def predictions(request: Request) -> Response:
        """Answers as `/predict` does, if the path names the model."""
        metadata.asked(models, request.path_params["model"], None)
        return await predict(request)


def _add_operation(app: FastAPI, models: Models) -> None:
    ready: dict[int | str, dict[str, Any]] = {
        200: openapi.answer(openapi.HEALTH, "Ready."),
        503: openapi.answer(openapi.HEALTH, "Not ready, with the reason."),
    }

    def health() -> Response:
        reason = app.state.unready()
        status = {"status": reason or "ready"}
        return Response(orjson.dumps(status), 503 if reason else 200, media_type="application/json")

    @app.get("/livez", summary="Is the process alive?", tags=["operation"])
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="May requests be sent here?", tags=["operation"], responses=ready)
    async def readyz() -> Response:
        return health()

    @app.get("/healthz", summary="The same as /readyz", tags=["operation"], responses=ready)
    async def healthz() -> Response:
        return health()

    card: dict[int | str, dict[str, Any]] = {
        200: openapi.answer(openapi.CARD, "The card: what it was trained on, how, and how well."),
        503: openapi.problem("No model version is loaded."),
    }

    @app.get("/model", summary="The card of the version that answers", tags=["predict"], responses=card)
    async def model() -> Response:
        return Response(orjson.dumps(models.served().card), media_type="application/json")


def _add_metrics(app: FastAPI, watched: metrics.Metrics) -> None:
    text = {"schema": {"type": "string"}}
    formats = {"text/plain": text, "application/openmetrics-text": text}

    @app.get(
        "/metrics",
        summary="Prometheus metrics, right over all workers",
        tags=["operation"],
        response_class=Response,
        responses={200: {"description": "The format that Accept asks for.", "content": formats}},
    )
    async def scrape(request: Request) -> Response:
        return await metrics_port.scraped(request, watched)


def _add_openapi(app: FastAPI) -> None:
    """The document of the interface, made once: FastAPI itself makes its bytes for every request."""
    path = app.openapi_url or ""
    app.router.routes = [route for route in app.routes if getattr(route, "path", None) != path]

    @functools.cache
    def document() -> bytes:
        described = app.openapi()
        for path, methods in described["paths"].items():
            if scope_of(path) is None:
                for method in methods.values():
                    method.pop("security", None)  # FastAPI declares it of every route
        return orjson.dumps(described)

    async def openapi(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    app.add_route(path, openapi, include_in_schema=False)
