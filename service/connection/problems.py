"""Errors → HTTP answers: `application/problem+json` (RFC 9457), or below /v2 {"error": "…"}, made in this one place.

In: any exception that a route raised. Out: the response. A fault of ours tells the client no more than its request id;
the rest is in the log.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..errors import Overloaded, RateLimited, ServiceError, Unauthorized
from ..quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

    from ..observability.metrics import Metrics


MEDIA_TYPE = "application/problem+json"
JSON = "application/json"
FAULT = {
    "status": 500,
    "detail": "The service failed at this request; its log tells more under the request id.",
    "reason": "internal",
}


def install(app: FastAPI, metrics: Metrics) -> None:
    """Lets every error of the app's routes be answered by this module."""

    async def on_service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        metrics.count_shed(error)
        return refusal(request, error)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = quoted(request.url.path)
        detail = {
            404: f"There is no {path} here; /docs lists what there is.",
            405: f"{quoted(request.method)} is not for {path}; see the Allow header.",
        }.get(error.status_code, error.detail)
        return plain(request, error.status_code, detail, error.headers)

    async def on_fault(request: Request, _: Exception) -> Response:
        return _problem(request, FAULT)

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_fault)


def plain(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response with a status that says everything, and a sentence."""
    reason = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return _problem(request, {"status": status, "detail": detail, "reason": reason}, headers)


def refusal(request: Request, error: ServiceError) -> Response:
    """The response to a request that is refused."""
    return _problem(request, error.members(), headers_of(error))


def headers_of(error: ServiceError) -> dict[str, str]:
    """The headers of an error that says when to come back, or how to come with a key."""
    match error:
        case Overloaded() | RateLimited():
            return {"Retry-After": str(error.retry_after_s)}
        case Unauthorized():
            return {"WWW-Authenticate": f'Bearer realm="mnist-mlp"{error.challenge}'}
    return {}


def _problem(request: Request, problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    media_type, content = encoded(problem, request.url.path, request.scope["request_id"])
    return Response(content, problem["status"], headers, media_type=media_type)


def encoded(problem: dict[str, Any], path: str, request_id: bytes) -> tuple[str, bytes]:
    """A problem's media type and JSON, as they are for requests to `path`."""
    if path.startswith("/v2"):
        return JSON, orjson.dumps({"error": problem["detail"]})
    title = HTTPStatus(problem["status"]).phrase
    return MEDIA_TYPE, orjson.dumps({"title": title, **problem, "request_id": request_id.decode()})
