"""The routes of the Open Inference Protocol, version 2, below /v2.

In: a predictor, the models and settings. Out: routes on the app. What tensors look like is `service.codec.v2_json`'s,
what is told of the model `service.v2.metadata`'s and `service.v2.repository`'s, what is said of the routes
`service.v2.openapi`'s. Errors below /v2 are {"error": "…"}, which `service.connection.problems` makes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from ..access.origins import require_same_origin
from ..api.openapi import answer
from ..codec import compression, v2_json
from ..codec.v2_json import HEADER_LENGTH
from ..connection.receive import admitted_body
from ..inference.engine import Unread, in_time
from ..observability.exposition import totals
from . import metadata as served
from . import openapi, repository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..inference.engine import Predictor
    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..settings import Settings
    from ..system.spool import Spool
    from ..versions.manager import Models

MAX_LENGTH_HEADER = 40  # characters, of which a length has twenty at most
MODEL = ("/models/{model}", "/models/{model}/versions/{version}")


def add_inference(app: FastAPI, predictor: Predictor, models: Models, settings: Settings, watched: Metrics) -> None:
    """Add all routes below /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    def route(
        method: str, paths: tuple[str, ...], summary: str, responses: Described, **extra: Any
    ) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            options: dict[str, Any] = {"methods": [method], "response_class": Response}
            for path in paths:
                described: dict[str, Any] = {
                    "operation_id": f"{handler.__name__}{paths.index(path) or ''}",
                    "summary": summary,
                    "responses": openapi.ERRORS | responses,
                    "openapi_extra": extra
                    | {"parameters": [*openapi.path_parameters(path), *extra.get("parameters", [])]},
                }
                router.add_api_route(path, handler, **described, **options)
            return handler

        return add

    def asked(request: Request) -> Classifier:
        """What serves, if the path names it."""
        return served.asked(models, request.path_params.get("model"), request.path_params.get("version"))

    @route("GET", ("",), "The server, and the extensions that it has", {200: answer(openapi.SERVER)})
    async def server_metadata() -> Response:
        return _json(served.server())

    @route("GET", ("/health/live",), "Is the process alive?", {200: answer(openapi.LIVE)})
    async def live() -> Response:
        return _json({"live": True})

    @route("GET", ("/health/ready",), "May requests be sent here?", openapi.readiness(openapi.READY))
    async def ready() -> Response:
        ready = app.state.unready() is None
        return _json({"live": True, "ready": ready}, 200 if ready else 503)

    # Before the model's own routes, which would take "stats" for a name.
    @route(
        "GET",
        ("/models/stats", *(f"{path}/stats" for path in MODEL)),
        "Inferences, and how long they took",
        {200: answer(openapi.STATISTICS)},
    )
    async def model_statistics(request: Request) -> Response:
        classifier = asked(request)
        numbers = await watched.scrape(totals)
        return _json({"model_stats": [served.statistics(classifier, numbers)]})

    @route("GET", MODEL, "The model's tensors", {200: answer(openapi.METADATA)})
    async def model_metadata(request: Request) -> Response:
        return _json(served.metadata(asked(request)))

    @route(
        "GET",
        tuple(f"{path}/ready" for path in MODEL),
        "May this model be asked?",
        openapi.readiness(openapi.MODEL_READY),
    )
    async def model_ready(request: Request) -> Response:
        classifier = asked(request)
        ready = app.state.unready() is None
        return _json({"name": classifier.name, "ready": ready}, 200 if ready else 503)

    @route(
        "GET",
        tuple(f"{path}/config" for path in MODEL),
        "The model's configuration, as Triton's clients read it",
        {200: answer(openapi.CONFIGURATION)},
    )
    async def model_config(request: Request) -> Response:
        return _json(served.configuration(asked(request), settings))

    @route("POST", ("/repository/index",), "The versions that there are", {200: answer(openapi.INDEX)})
    async def repository_index() -> Response:
        return _json(repository.index(models, settings))

    @route(
        "POST",
        ("/repository/models/{model}/load",),
        "Look for the chosen version anew, and serve it",
        {200: openapi.DONE},
    )
    async def repository_load(request: Request) -> Response:
        require_same_origin(request.headers)
        await repository.load(models, settings, request.path_params["model"])
        return Response()

    @route(
        "POST",
        ("/repository/models/{model}/unload",),
        "Serve nothing until there is an order to load",
        {200: openapi.DONE},
    )
    async def repository_unload(request: Request) -> Response:
        require_same_origin(request.headers)
        await repository.unload(models, settings, request.path_params["model"])
        return Response()

    @route(
        "POST",
        tuple(f"{path}/infer" for path in MODEL),
        "Probabilities of pictures",
        {200: openapi.INFERENCE},
        **openapi.inference_extra(settings),
    )
    async def infer(request: Request) -> Response:
        """One input `images`: UINT8 [N,1,28,28] as the network reads it, or BYTES [N] of PNG or JPEG files."""
        classifier = asked(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        header = request.headers.get(HEADER_LENGTH)
        if encoding not in compression.NONE:
            compression.check_encoding(encoding)
        about = {"encoding": encoding, "header_length": None if header is None else header[:MAX_LENGTH_HEADER]}

        def parse(body: Spool) -> v2_json.Request | None:
            if body.small is None or encoding not in compression.NONE:  # a few compressed bytes may be many
                return None
            return v2_json.parse(body.small, header, max_images=settings.max_images)

        named, headers = "version" in request.path_params, request.scope["headers"]
        async with admitted_body(request, settings, predictor.admission) as (body, seconds):
            unread = Unread(functools.partial(parse, body), body, "infer", about)
            work = predictor.infer(classifier, unread, v2_json.encode, named=named, headers=headers)
            content, length = await in_time(work, seconds)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    app.include_router(router)


if TYPE_CHECKING:
    Handler = Callable[..., Awaitable[Response]]
    Described = dict[int | str, dict[str, Any]]  # responses, by status code


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
