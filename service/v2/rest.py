"""The REST routes of the Open Inference Protocol, version 2, below /v2.

In: the engine, the version manager and settings. Out: a router. `service.connection.problems` encodes errors below /v2
as {"error": "…"}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request  # noqa: TC002 - FastAPI reads it at run time
from starlette.responses import Response

from ..access.origins import require_same_origin
from ..drivers import asgi
from ..observability.exposition import totals
from ..openapi import answer
from . import metadata, openapi, repository
from .inference import Inference, encoding, rest_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..inference.engine import Engine
    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..settings import Settings
    from ..versions.manager import VersionManager

    Handler = Callable[..., Awaitable[Response]]
    Responses = dict[int | str, dict[str, Any]]  # by status code

PREFIX = "/v2"
MODEL = ("/models/{model}", "/models/{model}/versions/{version}")


def add_routes(
    routes: APIRouter,
    engine: Engine,
    models: VersionManager,
    settings: Settings,
    *,
    metrics: Metrics,
    unready: Callable[[], str | None],
) -> None:
    """Add all routes to FastAPI's; `unready` returns why the service is not ready, or None."""
    _add_server(routes, unready)
    _add_model(routes, models, settings, metrics, unready)
    _add_repository(routes, models, settings)
    form = rest_form(settings.max_images)

    @_route(
        routes,
        "POST",
        tuple(f"{path}/infer" for path in MODEL),
        "Probabilities of pictures",
        {200: openapi.INFERENCE},
        **openapi.inference_extra(),
    )
    async def infer(request: Request) -> Response:
        """One input `images`: UINT8 [N,1,28,28] in MNIST's format, or BYTES [N] of files that `/predict` reads."""
        classifier = _resolve(models, request)
        encoding(dict(request.scope["headers"]))
        named = "version" in request.path_params
        return await asgi.answer(request, engine, Inference(engine, form, lambda: classifier, named=named), settings)


def _add_server(routes: APIRouter, unready: Callable[[], str | None]) -> None:
    @_route(routes, "GET", ("",), "The server and its extensions", {200: answer(openapi.SERVER)})
    async def server_metadata() -> Response:
        return _json(metadata.server())

    @_route(routes, "GET", ("/health/live",), "Is the process alive?", {200: answer(openapi.LIVE)})
    async def live() -> Response:
        return _json({"live": True})

    @_route(routes, "GET", ("/health/ready",), "Is the service ready?", openapi.readiness(openapi.READY))
    async def ready() -> Response:
        ready = unready() is None
        return _json({"live": True, "ready": ready}, 200 if ready else 503)


def _add_model(
    routes: APIRouter, models: VersionManager, settings: Settings, metrics: Metrics, unready: Callable[[], str | None]
) -> None:
    # Before the model's own routes, which would match "stats" as a name.
    @_route(
        routes,
        "GET",
        ("/models/stats", *(f"{path}/stats" for path in MODEL)),
        "Counts and durations of inferences",
        {200: answer(openapi.STATISTICS)},
    )
    async def model_statistics(request: Request) -> Response:
        classifier = _resolve(models, request)
        numbers = await metrics.scrape(totals)
        return _json({"model_stats": [metadata.statistics(classifier, numbers)]})

    @_route(routes, "GET", MODEL, "The model's tensors", {200: answer(openapi.METADATA)})
    async def model_metadata(request: Request) -> Response:
        return _json(metadata.metadata(_resolve(models, request)))

    readiness = openapi.readiness(openapi.MODEL_READY)

    @_route(routes, "GET", tuple(f"{path}/ready" for path in MODEL), "Is the model ready?", readiness)
    async def model_ready(request: Request) -> Response:
        classifier = _resolve(models, request)
        ready = unready() is None
        return _json({"name": classifier.name, "ready": ready}, 200 if ready else 503)

    @_route(
        routes,
        "GET",
        tuple(f"{path}/config" for path in MODEL),
        "The model's configuration, in Triton's format",
        {200: answer(openapi.CONFIGURATION)},
    )
    async def model_config(request: Request) -> Response:
        return _json(metadata.configuration(_resolve(models, request), settings))


def _add_repository(routes: APIRouter, models: VersionManager, settings: Settings) -> None:
    @_route(routes, "POST", ("/repository/index",), "The versions in the model folder", {200: answer(openapi.INDEX)})
    async def repository_index() -> Response:
        return _json(repository.index(models, settings))

    model = "/repository/models/{model}"

    @_route(routes, "POST", (f"{model}/load",), "Load the chosen version and serve it", {200: openapi.DONE})
    async def repository_load(request: Request) -> Response:
        require_same_origin(request.headers)
        await repository.load(models, settings, request.path_params["model"])
        return Response()

    @_route(routes, "POST", (f"{model}/unload",), "Serve no model until the next load", {200: openapi.DONE})
    async def repository_unload(request: Request) -> Response:
        require_same_origin(request.headers)
        await repository.unload(models, settings, request.path_params["model"])
        return Response()


def _route(
    routes: APIRouter, method: str, paths: tuple[str, ...], summary: str, responses: Responses, **extra: Any
) -> Callable[[Handler], Handler]:
    """Add a handler under each path; `extra` is merged into its description in /openapi.json."""

    def add(handler: Handler) -> Handler:
        for path in paths:
            parameters = [*openapi.path_parameters(path), *extra.get("parameters", [])]
            routes.add_api_route(
                f"{PREFIX}{path}",
                handler,
                tags=["Open Inference Protocol"],
                methods=[method],
                response_class=Response,
                operation_id=openapi.operation_id(handler.__name__, path, paths),
                summary=summary,
                responses=openapi.ERRORS | responses,
                openapi_extra=extra | {"parameters": parameters},
            )
        return handler

    return add


def _resolve(models: VersionManager, request: Request) -> Classifier:
    """Return the serving version; raises `NoSuchModel` if the path names another, and `NoModel` if there is none."""
    return models.resolve(request.path_params.get("model"), request.path_params.get("version"))


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
