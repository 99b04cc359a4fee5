"""The routes of the Open Inference Protocol, version 2, below /v2.

In: a predictor, the models and settings. Out: routes on the app, each with and without a trailing slash, and none
redirected, because clients don't follow. What tensors look like is `service.openinference`'s. Errors below /v2 are
{"error": "…"}, which `service.problems` makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

import service
from service import metrics, openinference
from service.errors import NoSuchModel
from service.openinference import HEADER_LENGTH
from service.predict import in_time
from service.receive import decompressed, whole_body
from service.repository_routes import add_repository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.classifier import Classifier
    from service.lifecycle import Models
    from service.metrics import Metrics
    from service.predict import Predictor
    from service.settings import Settings

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]
MODEL = ("/models/{model}", "/models/{model}/versions/{version}")


def add_inference(app: FastAPI, predictor: Predictor, models: Models, settings: Settings, watched: Metrics) -> None:
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

    def asked(request: Request) -> Classifier:
        """What serves; raises `NoSuchModel` unless the path names that model, and that version, `NoModel` if none."""
        classifier = models.served()
        name, version = request.path_params.get("model"), request.path_params.get("version")
        if name not in {None, classifier.name} or version not in {None, classifier.version}:
            wanted = name if version is None else f"{name} version {version}"
            raise NoSuchModel(f"unknown model: {wanted} is not found; {classifier.name} {classifier.version} is served")
        return classifier

    @route("GET", ("",), "The server, and the extensions that it has")
    async def server_metadata() -> Response:
        return _json({"name": "mnist-mlp", "version": service.__version__, "extensions": EXTENSIONS})

    @route("GET", ("/health/live",), "Is the process alive?")
    async def live() -> Response:
        return _json({"live": True})

    @route("GET", ("/health/ready",), "May requests be sent here?")
    async def ready() -> Response:
        ready = app.state.unready() is None
        return _json({"live": True, "ready": ready}, 200 if ready else 503)

    # Before the model's own routes, which would take "stats" for a name.
    @route("GET", ("/models/stats", *(f"{path}/stats" for path in MODEL)), "Inferences, and how long they took")
    async def model_statistics(request: Request) -> Response:
        classifier = asked(request)
        watched.book.flush()
        numbers = await run_in_threadpool(metrics.totals, watched.registry)
        return _json({"model_stats": [statistics(classifier, numbers)]})

    @route("GET", MODEL, "The model's tensors")
    async def model_metadata(request: Request) -> Response:
        classifier = asked(request)
        return _json(
            {
                "name": classifier.name,
                "versions": [classifier.version],
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": openinference.INPUT, "datatype": "UINT8", "shape": [-1, 1, 28, 28]}],
                "outputs": [{"name": openinference.OUTPUT, "datatype": "FP32", "shape": [-1, openinference.CLASSES]}],
            }
        )

    @route("GET", tuple(f"{path}/ready" for path in MODEL), "May this model be asked?")
    async def model_ready(request: Request) -> Response:
        classifier = asked(request)
        return _json(
            {"name": classifier.name, "ready": app.state.unready() is None}, 503 if app.state.unready() else 200
        )

    @route("GET", tuple(f"{path}/config" for path in MODEL), "The model's configuration, as Triton's clients read it")
    async def model_config(request: Request) -> Response:
        classifier = asked(request)
        pixels = {"name": openinference.INPUT, "data_type": "TYPE_UINT8", "format": "FORMAT_NCHW", "dims": [1, 28, 28]}
        output = {"name": openinference.OUTPUT, "data_type": "TYPE_FP32", "dims": [openinference.CLASSES]}
        return _json(
            {
                "name": classifier.name,
                "platform": "onnxruntime_onnx",
                "backend": "onnxruntime",
                "max_batch_size": settings.max_images,
                "input": [pixels],
                "output": [output | {"label_filename": ""}],
            }
        )

    add_repository(route, models, settings)

    @route("POST", tuple(f"{path}/infer" for path in MODEL), "Probabilities of pictures")
    async def infer(request: Request) -> Response:
        """One input `images`: UINT8 [N,1,28,28] as the network reads it, or BYTES [N] of PNG or JPEG files."""
        classifier = asked(request)
        body = decompressed(
            await whole_body(request, settings),
            request.headers.get("content-encoding", "").strip().lower(),
            limit=settings.max_body_bytes,
        )
        work = predictor.infer(classifier, body, request.headers.get(HEADER_LENGTH))
        content, length = await in_time(work, settings.timeout_seconds)
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


def statistics(classifier: Classifier, numbers: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """One model's statistics: counts and nanoseconds over all workers, of requests on every route that infers."""
    nothing = (0, 0)

    def part(name: str) -> dict[str, int]:
        count, ns = numbers.get(name, nothing)
        return {"count": count, "ns": ns}

    return {
        "name": classifier.name,
        "version": classifier.version,
        "last_inference": numbers.get("last", nothing)[1] // 1_000_000,
        "inference_count": numbers.get("batch", nothing)[1],
        "execution_count": numbers.get("batch", nothing)[0],
        "inference_stats": {
            "success": part("success"),
            "fail": part("fail"),
            "queue": part("queue"),
            "compute_input": part("decode"),
            "compute_infer": part("inference"),
            "compute_output": part("encode"),
            "cache_hit": part(""),
            "cache_miss": part(""),
        },
        "batch_stats": [],
    }
