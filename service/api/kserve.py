"""Version 1 of KServe's protocol, which TensorFlow Serving's clients speak too, below /v1.

In: requests with `instances`, each a picture. Out: `predictions`, in the same order and as `/predict` has them; the
model's name, and whether it is ready. `service.codec.body` reads the instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request  # noqa: TC002 - FastAPI reads it at run time
from starlette.responses import Response

from ..drivers import asgi
from ..openapi import TEXT, answer, array, path_parameter, record, ref
from . import openapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..inference.engine import Engine
    from ..settings import Settings
    from ..versions.manager import VersionManager
    from .predict import Predict

TEMPLATE = "/v1/models/{model}:predict"


def add_routes(
    routes: APIRouter,
    route: Predict,
    engine: Engine,
    models: VersionManager,
    settings: Settings,
    *,
    unready: Callable[[], str | None],
) -> None:
    """Add the routes to FastAPI's; `unready` returns why the service is not ready, or None."""
    options: dict[str, Any] = {"tags": ["KServe V1"], "response_model": None}
    model = {"parameters": [path_parameter("model")]}

    @routes.post(
        TEMPLATE,
        operation_id="predict_instances",
        summary="Which digits do these instances show?",
        responses=openapi.instances_responses(),
        openapi_extra=openapi.instances_extra(settings),
        **options,
    )
    async def predict(request: Request) -> Response:
        """Responds as `/predict` does, if the path names the model."""
        models.resolve(request.path_params["model"])
        return await asgi.answer(request, engine, route, settings)

    @routes.get(
        "/v1/models",
        operation_id="list_models",
        summary="The model's name",
        responses={200: answer(record({"models": array(TEXT)}))},
        **options,
    )
    async def names() -> Response:
        return _json({"models": [models.loader.name] if models.loader.name else []})

    @routes.get(
        "/v1/models/{model}",
        operation_id="get_model_readiness",
        summary="Is the model ready?",
        responses=openapi.INSTANCES_ERRORS
        | {200: answer(ref("ModelReady"), "It is ready."), 503: answer(ref("InferenceError"), "It is not.")},
        openapi_extra=model,
        **options,
    )
    async def ready(request: Request) -> Response:
        name = models.resolve(request.path_params["model"]).name
        reason = unready()
        return _json({"error": reason}, 503) if reason else _json({"name": name, "ready": True})


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
