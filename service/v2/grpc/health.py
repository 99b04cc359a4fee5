"""`grpc.health.v1.Health`, as gRPC's clients, load balancers and Kubernetes ask for it.

In: why the service is not ready, if so, and the event of its end. Out: its status: once, or whenever it changes until
the end. The library's own servicer lets its watchers wait for ever, and so a server that answers what it has accepted
would not end.
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
from .calls import named
from .codes import CODES
from .sockets import Peer, peer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from .limits import Limits

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
Status = health_pb2.HealthCheckResponse
POLL_SECONDS = 0.5  # after which a watcher knows of a change
OF_ONE = 16  # watchers over one connection; a client has one


class Health:
    """Of the named services, which is that of the whole."""

    def __init__(
        self, services: set[str], unready: Callable[[], str | None], ended: asyncio.Event, limits: Limits
    ) -> None:
        self._services = services
        self._unready = unready
        self._ended = ended
        self._limits = limits
        self._watchers: Counter[Peer] = Counter()
        self._change = asyncio.Event()  # set, and another put in its place, at each change

    def handler(self) -> grpc.GenericRpcHandler:
        """Both methods, for a server; to core they are of streams, as all others are."""
        given = Status.SerializeToString
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, response_serializer=given),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, response_serializer=given),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Tell the watchers of changes while the context is open."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()

    async def _follow(self) -> None:
        told = self._status()
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), POLL_SECONDS)
            if self._status() != told or self._ended.is_set():
                told = self._status()
                self._change.set()
                self._change = asyncio.Event()

    def _status(self) -> Any:
        return Status(status=Status.NOT_SERVING if self._unready() else Status.SERVING)

    async def _check(self, _: object, context: Any) -> Any:
        async with self._answering(context) as peer:
            self._limits.calls.enter()
            try:
                service = await self._asked(context, peer)
            finally:
                self._limits.calls.leave()
        if service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service: {quoted(service)}")
        return self._status()

    async def _watch(self, _: object, context: Any) -> None:
        async with self._answering(context) as peer:
            with self._one(peer):
                known = await self._asked(context, peer) in self._services
                await self._tell(context, peer, known=known)

    async def _tell(self, context: Any, peer: Peer, *, known: bool) -> None:
        told, over = None, False
        while not over:
            over, change = self._ended.is_set(), self._change
            found = self._status() if known else Status(status=Status.SERVICE_UNKNOWN)
            if found != told:
                await self._limits.departures.write(context, peer, found)
                told = found
            if not over:
                await change.wait()

    @contextlib.contextmanager
    def _one(self, peer: Peer) -> Iterator[None]:
        """A watcher; raises `ServiceError` where there is no room for it."""
        if self._watchers[peer] >= OF_ONE:
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
        """Refusals become statuses, and what is sent is to be taken."""
        peer, departures = peer_of(context.peer()), self._limits.departures
        context.add_done_callback(departures.sent)
        try:
            yield peer
        except ServiceError as error:
            departures.sends(context, peer)
            if context.done():  # it was given up while it waited
                raise asyncio.CancelledError from None
            code = grpc.StatusCode.RESOURCE_EXHAUSTED if error.status == 503 else CODES[error.status]
            await context.abort(code, error.detail)
        departures.sends(context, peer)

    async def _asked(self, context: Any, peer: Peer) -> str:
        message = await self._limits.arrivals.only(context, peer, self._limits.calls)
        if message is None:
            raise Malformed("the call has no message.")
        with contextlib.closing(message):
            return str(named(health_pb2.HealthCheckRequest, message.take()).service)
