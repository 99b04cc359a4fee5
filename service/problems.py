"""Errors → HTTP answers: `application/problem+json` (RFC 9457), made in this one place.

In: any exception that a route raised. Out: the response. A fault of ours tells the client no more than its request id;
the rest is in the log.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import Overloaded, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

    from service.metrics import Metrics


def install(app: FastAPI, metrics: Metrics) -> None:
    """Lets every error of the app's routes be answered by this module."""

    async def on_service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        if error.reason in metrics.shed:
            metrics.shed[error.reason].inc()
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Overloaded) else None
        return _problem(request, error.members(), headers)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = {
            404: f"There is no {request.url.path[:200]} here; /docs lists what there is.",
            405: f"{request.method} is not for {request.url.path[:200]}; see the Allow header.",
        }.get(error.status_code, error.detail)
        reason = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return _problem(request, {"status": error.status_code, "detail": detail, "reason": reason}, error.headers)

    async def on_fault(request: Request, _: Exception) -> Response:
        detail = "The service failed at this request; its log tells more under the request id."
        return _problem(request, {"status": 500, "detail": detail, "reason": "internal"})

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_fault)


def _problem(request: Request, problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    status = problem["status"]
    request_id = request.scope["request_id"].decode()
    content = {"title": HTTPStatus(status).phrase, **problem, "request_id": request_id}
    return Response(orjson.dumps(content), status, headers, media_type="application/problem+json")
