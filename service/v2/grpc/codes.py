"""Errors → gRPC status codes, with the same details as over HTTP.

In: a `ServiceError`, or its HTTP status. Out: the gRPC code, or the end of a call.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc

from ...connection.limits import CLIENT_CLOSED

if TYPE_CHECKING:
    from ...errors import ServiceError

# By HTTP status. Clients retry after UNAVAILABLE; gRPC itself sends RESOURCE_EXHAUSTED for a message over the limit.
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(status: int) -> grpc.StatusCode:
    """Return the code for an HTTP status, also of a response or of a client that is gone."""
    if status == 200:
        return grpc.StatusCode.OK
    return grpc.StatusCode.CANCELLED if status == CLIENT_CLOSED else CODES.get(status, grpc.StatusCode.INTERNAL)


async def give_up(context: Any, error: ServiceError) -> None:
    """Abort a call from another task; its wait for the client ends, too."""
    with contextlib.suppress(grpc.aio.AbortError, grpc.aio.BaseError):
        await context.abort(CODES[error.status], error.detail)
