"""The routes of the Open Inference Protocol, version 2, below /v2.

In: a predictor, a classifier and settings. Out: routes on the app, each with and without a trailing slash, and none
redirected, because clients don't follow. What tensors look like is `service.openinference`'s. Errors below /v2 are
{"error": "…"}, which `service.problems` makes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service import metrics, openinference, served
from service.errors import Forbidden
from service.openinference import HEADER_LENGTH
from service.predict import in_time
from service.receive import admitted_body, decompressed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.classifier import Classifier
    from service.metrics import Metrics
    from service.predict import Predictor
    from service.settings import Settings

MODEL = ("/models/{model}", "/models/{model}/versions/{version}")


def add_inference(
    app: FastAPI, predictor: Predictor, classifier: Classifier, settings: Settings, watched: Metrics
) -> None:
    """Add all routes below /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    def route(method: str, paths: tuple[str, ...], summary: str) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            for path in paths:
                name = f"{handler.__name__}{paths.index(path) or ''}"
                extra = {"parameters": [_parameter(part) for part in ("model", "version") if f"{{{part}}}" in path]}
                options: dict[str, Any] = {"methods": [method], "response_model": None, "responses": RESPONSES}
                router.add_api_route(path, handler, operation_id=name, summary=summary, openapi_extra=extra, **options)
                router.add_api_route(f"{path}/", handler, include_in_schema=False, **options)
            return handler

        return add

    def check(request: Request) -> None:
        """Raises `NoSuchModel` unless the path names the model, and the version, that is served."""
        served.check(classifier, request.path_params.get("model"), request.path_params.get("version"))

    @route("GET", ("",), "The server, and the extensions that it has")
    async def server_metadata() -> Response:
        return _json(served.server())

    @route("GET", ("/health/live",), "Is the process alive?")
    async def live() -> Response:
        return _json({"live": True})

    @route("GET", ("/health/ready",), "May requests be sent here?")
    async def ready() -> Response:
        return _json({"live": True, "ready": app.state.ready}, 200 if app.state.ready else 503)

    # Before the model's own routes, which would take "stats" for a name.
    @route("GET", ("/models/stats", *(f"{path}/stats" for path in MODEL)), "Inferences, and how long they took")
    async def model_statistics(request: Request) -> Response:
        check(request)
        watched.book.flush()
        numbers = await run_in_threadpool(metrics.totals, watched.registry)
        return _json({"model_stats": [served.statistics(classifier, numbers)]})

    @route("GET", MODEL, "The model's tensors")
    async def model_metadata(request: Request) -> Response:
        check(request)
        return _json(served.metadata(classifier))

    @route("GET", tuple(f"{path}/ready" for path in MODEL), "May this model be asked?")
    async def model_ready(request: Request) -> Response:
        check(request)
        return _json({"name": classifier.name, "ready": app.state.ready}, 200 if app.state.ready else 503)

    @route("GET", tuple(f"{path}/config" for path in MODEL), "The model's configuration, as Triton's clients read it")
    async def model_config(request: Request) -> Response:
        check(request)
        return _json(served.configuration(classifier, settings))

    @route("POST", ("/repository/index",), "The models that there are")
    async def repository_index() -> Response:
        return _json(served.repository(classifier))

    @route("POST", tuple(f"/repository/models/{{model}}/{verb}" for verb in ("load", "unload")), "Not open to clients")
    async def repository_change() -> Response:
        raise Forbidden(served.NO_CHANGE)

    @route("POST", tuple(f"{path}/infer" for path in MODEL), "Probabilities of pictures")
    async def infer(request: Request) -> Response:
        """One input `images`: UINT8 [N,1,28,28] as the network reads it, or BYTES [N] of PNG or JPEG files."""
        check(request)
        body, seconds = await admitted_body(request, settings, predictor.admission)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        body = decompressed(body, encoding, limit=settings.max_body_bytes)
        header = request.headers.get(HEADER_LENGTH)
        parse = functools.partial(openinference.parse, body, header, max_images=settings.max_images)
        content, length = await in_time(predictor.infer(parse, openinference.encode), seconds)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    app.include_router(router)


if TYPE_CHECKING:
    Handler = Callable[..., Awaitable[Response]]

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_CONTENT = {"application/json": {"schema": _ERROR}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Says what was wrong.", "content": _CONTENT},
    "5XX": {"description": "Not ready, full, too slow, or a fault.", "content": _CONTENT},
}


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
