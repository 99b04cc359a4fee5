"""`grpc.health.v1.Health`, as gRPC's clients, load balancers and Kubernetes ask for it.

In: why the service is not ready, if so, and the event of its end. Out: its status: once, or whenever it changes until
the end. The library's own servicer lets its watchers wait for ever, and so a server that answers what it has accepted
would not end.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
Status = health_pb2.HealthCheckResponse
LOOK_SECONDS = 0.5  # after which a watcher knows of a change


def handler(services: set[str], unready: Callable[[], str | None], ended: asyncio.Event) -> grpc.GenericRpcHandler:
    """Health of the named services, which is that of the whole."""

    def status() -> Any:
        return Status(status=Status.NOT_SERVING if unready() else Status.SERVING)

    async def check(request: Any, context: Any) -> Any:
        if request.service not in services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service: {request.service}")
        return status()

    async def watch(request: Any, _: Any) -> AsyncIterator[Any]:
        told, over = None, False
        while not over:
            over = ended.is_set()
            found = status() if request.service in services else Status(status=Status.SERVICE_UNKNOWN)
            if found != told:
                yield found
                told = found
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)

    taken = {
        "request_deserializer": health_pb2.HealthCheckRequest.FromString,
        "response_serializer": Status.SerializeToString,
    }
    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(check, **taken),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, **taken),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)
