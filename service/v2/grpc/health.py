"""`grpc.health.v1.Health`, which gRPC's clients, load balancers and Kubernetes call.

In: the service's readiness, and the event of its end. Out: its status, once or at each change until the end. The
library's own servicer never ends its watches, so that a graceful stop of the server would not end either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

from ...errors import Malformed, ServiceError
from ...quoting import quoted
from .calls import parse_names
from .codes import CODES
from .sockets import Peer, peer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from .limits import Limits

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
Status = health_pb2.HealthCheckResponse
POLL_SECONDS = 0.5  # a watcher learns of a change within this time
MAX_WATCHERS = 16  # over one connection; a client has one


class Health:
    """The health service; all named services have the status of the whole process."""

    def __init__(
        self, services: set[str], unready: Callable[[], str | None], ended: asyncio.Event, limits: Limits
    ) -> None:
        self._services = services
        self._unready = unready
        self._ended = ended
        self._limits = limits
        self._watchers: Counter[Peer] = Counter()
        self._change = asyncio.Event()  # set and replaced at each change

    def handler(self) -> grpc.GenericRpcHandler:
        """Return gRPC's handler of both methods, registered as streams like all others."""
        serialize = Status.SerializeToString
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, response_serializer=serialize),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, response_serializer=serialize),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Notify the watchers of changes while the context is open."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()

    async def _follow(self) -> None:
        last = self._status()
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), POLL_SECONDS)
            if self._status() != last or self._ended.is_set():
                last = self._status()
                self._change.set()
                self._change = asyncio.Event()

    def _status(self) -> Any:
        return Status(status=Status.NOT_SERVING if self._unready() else Status.SERVING)

    async def _check(self, _: object, context: Any) -> Any:
        async with self._answering(context) as peer:
            self._limits.calls.enter()
            try:
                service = await self._service_name(context, peer)
            finally:
                self._limits.calls.leave()
        if service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service: {quoted(service)}")
        return self._status()

    async def _watch(self, _: object, context: Any) -> None:
        async with self._answering(context) as peer:
            with self._watcher(peer):
                known = await self._service_name(context, peer) in self._services
                await self._send_changes(context, peer, known=known)

    async def _send_changes(self, context: Any, peer: Peer, *, known: bool) -> None:
        last, ended = None, False
        while not ended:
            ended, change = self._ended.is_set(), self._change
            status = self._status() if known else Status(status=Status.SERVICE_UNKNOWN)
            if status != last:
                await self._limits.departures.write(context, peer, status)
                last = status
            if not ended:
                await change.wait()

    @contextlib.contextmanager
    def _watcher(self, peer: Peer) -> Iterator[None]:
        """Count a watcher; raises `ServiceError` if there are too many."""
        if self._watchers[peer] >= MAX_WATCHERS:
            raise self._limits.watchers.full
        self._limits.watchers.enter()
        self._watchers[peer] += 1
        try:
            yield
        finally:
            self._limits.watchers.leave()
            self._watchers[peer] -= 1
            if not self._watchers[peer]:
                del self._watchers[peer]

    @contextlib.asynccontextmanager
    async def _answering(self, context: Any) -> AsyncIterator[Peer]:
        """Yield the peer of a call; errors become statuses, and the response gets its time limit."""
        peer, departures = peer_of(context.peer()), self._limits.departures
        context.add_done_callback(departures.sent)
        try:
            yield peer
        except ServiceError as error:
            departures.sends(context, peer)
            if context.done():  # it was aborted while it waited
                raise asyncio.CancelledError from None
            code = grpc.StatusCode.RESOURCE_EXHAUSTED if error.status == 503 else CODES[error.status]
            await context.abort(code, error.detail)
        departures.sends(context, peer)

    async def _service_name(self, context: Any, peer: Peer) -> str:
        message = await self._limits.arrivals.only(context, peer, self._limits.calls)
        if message is None:
            raise Malformed("The call has no message.")
        with contextlib.closing(message):
            return str(parse_names(health_pb2.HealthCheckRequest, message.take()).service)
