"""Errors → statuses of gRPC, with the same sentences as over HTTP.

In: a `ServiceError`, or its status. Out: the code, and the end of a call. It knows no methods.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from ...errors import ServiceError

# By the status that an error has over HTTP. UNAVAILABLE is what clients try again; RESOURCE_EXHAUSTED is what gRPC
# itself says of a message over the limit.
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


async def give_up(context: Any, error: ServiceError) -> None:
    """End a call from beside it: what it waits for from its client comes to an end then."""
    with contextlib.suppress(grpc.aio.AbortError, grpc.aio.BaseError):
        await context.abort(CODES[error.status], error.detail)
