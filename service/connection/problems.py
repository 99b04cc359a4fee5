"""Errors → replies: `application/problem+json` (RFC 9457), or {"error": "…"} below /v1 and /v2.

In: any exception of a request. Out: its reply, or for the app's routes its response. For an internal error the client
gets only a request id; the log has the rest.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..errors import Overloaded, RateLimited, ServiceError, Unauthorized
from ..quoting import quoted
from ..reply import JSON, Reply
from .writing import as_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..observability.metrics import Metrics


PROBLEM = ((b"content-type", b"application/problem+json"),)
KSERVE = ("/v1", "/v2")  # KServe's protocols have an error of their own
FAULT = {
    "status": 500,
    "detail": "The service failed at this request; its log has the error under the request id.",
    "reason": "internal",
}


def install(app: FastAPI, metrics: Metrics) -> None:
    """Register this module's handlers for every error of the app's routes."""

    async def on_service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        metrics.requests.count_shed(error)
        return refusal(request, error)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = quoted(request.url.path)
        detail = {
            404: f"There is no route {path}; see /docs.",
            405: f"{path} does not support {quoted(request.method)}; see the Allow header.",
        }.get(error.status_code, error.detail)
        return plain(request, error.status_code, detail, error.headers)

    async def on_fault(request: Request, _: Exception) -> Response:
        request_id = request.scope["request_id"]
        response = as_response(_reply(FAULT, request.url.path, request_id))
        response.headers["X-Request-ID"] = request_id.decode()  # this response does not pass the observer
        return response

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_fault)


class RefusalMiddleware:
    """Plain ASGI middleware that answers requests which the connection refused before their turn.

    Their error is in the scope. This costs less than an exception in the app would.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on to the app."""
        app = self._app
        if (error := scope.get("refusal")) is not None:
            self._metrics.requests.count_shed(error)
            app = refusal(Request(scope), error)
        await app(scope, receive, send)


def plain(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a status and a sentence, for errors that are no `ServiceError`."""
    reason = HTTPStatus(status).phrase.lower().replace(" ", "_")
    problem = {"status": status, "detail": detail, "reason": reason}
    response = as_response(_reply(problem, request.url.path, request.scope["request_id"]))
    response.headers.update(headers or {})
    return response


def refusal(request: Request, error: ServiceError) -> Response:
    """Return the response to a refused request."""
    return as_response(reply_to(error, request.url.path, request.scope["request_id"]))


def reply_to(error: Exception, path: str, request_id: bytes) -> Reply:
    """Return the reply for an error of a request to `path`."""
    if not isinstance(error, ServiceError):
        return _reply(FAULT, path, request_id)
    reply = _reply(error.members(), path, request_id)
    match error:
        case Overloaded() | RateLimited():
            more = (b"retry-after", b"%d" % error.retry_after_s)
        case Unauthorized():
            more = (b"www-authenticate", f'Bearer realm="mnist-mlp"{error.challenge}'.encode())
        case _:
            return reply
    return reply._replace(headers=(*reply.headers, more))


def _reply(problem: dict[str, Any], path: str, request_id: bytes) -> Reply:
    status = problem["status"]
    if path.startswith(KSERVE):
        return Reply(orjson.dumps({"error": problem["detail"]}), JSON, status)
    content = {"title": HTTPStatus(status).phrase, **problem, "request_id": request_id.decode()}
    return Reply(orjson.dumps(content), PROBLEM, status)
