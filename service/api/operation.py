"""Routes for operators: health, the model card, metrics, and the OpenAPI document."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, FastAPI, Request  # noqa: TC002 - FastAPI reads it at run time
from starlette.responses import Response

from ..access.authorisation import scope_of
from . import metrics_port, openapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..observability.metrics import Metrics
    from ..versions.manager import VersionManager


def add_routes(
    routes: APIRouter, models: VersionManager, unready: Callable[[], str | None], metrics: Metrics | None
) -> None:
    """Add the routes to FastAPI's; /metrics only with `metrics`.

    `unready` returns why the service is not ready, or None.
    """
    _add_health(routes, unready)
    _add_card(routes, models)
    if metrics is not None:
        _add_metrics(routes, metrics)


def _add_health(routes: APIRouter, unready: Callable[[], str | None]) -> None:
    ready: dict[int | str, dict[str, Any]] = {
        200: openapi.answer(openapi.HEALTH, "Ready."),
        503: openapi.answer(openapi.HEALTH, "Not ready, with the reason."),
    }

    def health() -> Response:
        reason = unready()
        status = {"status": reason or "ready"}
        return Response(orjson.dumps(status), 503 if reason else 200, media_type="application/json")

    options: dict[str, Any] = {"tags": ["operation"], "response_model": None}
    alive: dict[int | str, dict[str, Any]] = {200: openapi.answer(openapi.HEALTH, "Alive.")}

    @routes.get("/livez", operation_id="get_liveness", summary="Is the process alive?", responses=alive, **options)
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get("/readyz", operation_id="get_readiness", summary="Is the service ready?", responses=ready, **options)
    async def readyz() -> Response:
        return health()

    @routes.get("/healthz", operation_id="get_health", summary="The same as /readyz", responses=ready, **options)
    async def healthz() -> Response:
        return health()


def _add_card(routes: APIRouter, models: VersionManager) -> None:
    responses: dict[int | str, dict[str, Any]] = {
        200: openapi.answer(openapi.CARD, "The card: training data, training and evaluation."),
        503: openapi.problem("No model version is loaded."),
    }

    @routes.get(
        "/model",
        operation_id="get_model_card",
        summary="The card of the serving version",
        tags=["predict"],
        response_model=None,
        responses=responses,
    )
    async def model() -> Response:
        return Response(orjson.dumps(models.served().card), media_type="application/json")


def _add_metrics(routes: APIRouter, metrics: Metrics) -> None:
    text = {"schema": {"type": "string"}}
    formats = {"text/plain": text, "application/openmetrics-text": text}

    @routes.get(
        "/metrics",
        operation_id="get_metrics",
        summary="Prometheus metrics, summed over all workers",
        tags=["operation"],
        response_class=Response,
        responses={200: {"description": "The format that Accept asks for.", "content": formats}},
    )
    async def get_metrics(request: Request) -> Response:
        return await metrics_port.scrape(request, metrics)


def add_document(app: FastAPI, schemas: dict[str, Any]) -> None:
    """Serve the OpenAPI document, encoded once: FastAPI would encode it for every request."""
    path = app.openapi_url or ""
    app.router.routes = [route for route in app.routes if getattr(route, "path", None) != path]

    @functools.cache
    def document() -> bytes:
        content = app.openapi()
        content.setdefault("components", {})["schemas"] = schemas
        for path, methods in content["paths"].items():
            if scope_of(path) is None:
                for method in methods.values():
                    method.pop("security", None)  # FastAPI declares it for every route
        return orjson.dumps(content)

    async def openapi(request: Request) -> Response:
        content = document()
        if root := request.scope.get("root"):  # below a proxy's path
            content = b'{"servers":[{"url":"%b"}],%b' % (root.encode(), content[1:])
        return Response(content, media_type="application/json")

    app.add_route(path, openapi, include_in_schema=False)
