"""The app: every route and what it takes to open and close them, in one place.

In: settings, the models, and how the process ends. Out: a FastAPI app. It knows who answers what; how an answer comes
about is `service.predict`'s, and how an error looks over HTTP is `service.problems`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response

import service
from service import metrics, openapi, problems, watchdog
from service.access import Access
from service.batcher import Batcher
from service.connections import Connections
from service.inference_routes import add_inference
from service.observe import Observe, Observer, start_access_log, template
from service.predict import Predictor, in_time
from service.protocol import FastPath
from service.receive import admitted_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

    from service.classifier import Classifier
    from service.drain import Drain
    from service.lifecycle import Models
    from service.settings import Settings

PAGE = Path(__file__).parent / "page"
# The page may load and ask only what comes from here; pictures that it makes itself are data: and blob:.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

log = logging.getLogger("service")


def create_app(settings: Settings, models: Models, registry: CollectorRegistry, drain: Drain) -> FastAPI:
    """The service: the `models` answer within the limits of `settings`, and `registry` takes its metrics."""
    watched = metrics.Metrics(registry)
    batcher = Batcher(watched, max_batch=settings.max_images)
    predictor = Predictor(models, batcher, watched, settings)
    access = None if settings.api_keys_file is None else Access(settings.api_keys_file, watched)

    def unready() -> str | None:
        """Why no requests should be sent here, if so."""
        if drain.begun:
            return "the service is shutting down"
        return None if models.current else "no model version is loaded"

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        listener = start_access_log()
        fast_path = FastPath(predictor, batcher, observer, access, watched)

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
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, models.look_again)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(models.followed(changed, refused))
            await stack.enter_async_context(watchdog.watched(settings.stall_seconds))
            connections = Connections(settings, watched)
            await stack.enter_async_context(connections.watched())
            if settings.grpc_port is not None:
                from service.grpc.server import serving  # noqa: PLC0415 - gRPC is an extra

                over_grpc = serving(
                    settings=settings,
                    models=models,
                    predictor=predictor,
                    observer=observer,
                    access=access,
                    watched=watched,
                    drain=drain,
                    unready=unready,
                )
                await stack.enter_async_context(over_grpc)
            shared = {"drain": drain, "connections": connections, "observer": observer}
            yield shared | ({"fast_path": fast_path} if settings.fast_path else {})
        predictor.close()
        batcher.close()
        watched.book.flush()
        listener.stop()

    app = FastAPIOffline(
        title="mnist-mlp",
        version=service.__version__,
        description="Pictures of handwritten digits in, digits out.",
        redoc_url=None,
        dependencies=[] if access is None else [Depends(access.guard())],
        lifespan=lifespan,
    )
    problems.install(app, watched)
    _add_predict(app, predictor, settings)
    app.state.unready = unready
    _add_operation(app, models)
    add_inference(app, predictor, models, settings, watched)
    if settings.metrics_port is None:
        _add_metrics(app, watched)
    _add_page(app)
    observer = Observer(watched, _routes(app), settings.access_log)
    app.add_middleware(Observe, observer=observer)
    return app


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    """The route templates that exist, each with its methods."""
    return [
        (template(route.path), method) for route in app.routes if hasattr(route, "path") for method in _methods(route)
    ]


def _methods(route: object) -> set[str]:
    return getattr(route, "methods", None) or {"GET"}


def _add_predict(app: FastAPI, predictor: Predictor, settings: Settings) -> None:
    @app.post(
        "/predict",
        summary="Which digits do these pictures show?",
        tags=["predict"],
        response_model=None,
        responses=openapi.predict_responses(settings),
        openapi_extra=openapi.predict_extra(settings),
    )
    async def predict(request: Request) -> Response:
        """Answers pictures in any of the forms below. `?explain=1` adds what the network saw and why."""
        data, seconds = await admitted_body(request, settings, predictor.admission)
        explained = request.query_params.get("explain", "0") not in {"", "0", "false"}
        content_type = request.headers.get("content-type", "")
        answer = await in_time(predictor.answer(content_type, data, explained=explained), seconds)
        return Response(answer, media_type="application/json")


def _add_operation(app: FastAPI, models: Models) -> None:
    not_ready: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready, with the reason."}}

    def health() -> Response:
        reason = app.state.unready()
        status = {"status": reason or "ready"}
        return Response(orjson.dumps(status), 503 if reason else 200, media_type="application/json")

    @app.get("/livez", summary="Is the process alive?", tags=["operation"])
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="May requests be sent here?", tags=["operation"], responses=not_ready)
    async def readyz() -> Response:
        return health()

    @app.get("/healthz", summary="The same as /readyz", tags=["operation"], responses=not_ready)
    async def healthz() -> Response:
        return health()

    @app.get("/model", summary="The card of the version that answers", tags=["predict"])
    async def model() -> Response:
        return Response(orjson.dumps(models.served().card), media_type="application/json")


def _add_metrics(app: FastAPI, watched: metrics.Metrics) -> None:
    @app.get("/metrics", summary="Prometheus metrics, right over all workers", tags=["operation"])
    async def scrape(request: Request) -> Response:
        watched.book.flush()
        accept = request.headers.get("accept", "")
        text, content_type = await run_in_threadpool(metrics.exposition, watched.registry, accept)
        return Response(text, headers={"Content-Type": content_type})


def _add_page(app: FastAPI) -> None:
    class PageFiles(StaticFiles):
        """The page's files, with headers that let the page use nothing from elsewhere."""

        def file_response(self, *args: object, **kwargs: object) -> Response:
            response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
            response.headers.update(PAGE_HEADERS)
            return response

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)

    app.mount("/page", GZipMiddleware(PageFiles(directory=PAGE)), name="page")
