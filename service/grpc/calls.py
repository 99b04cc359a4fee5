"""Calls over gRPC: watched as requests over HTTP are, and their errors as status codes with the same sentences.

In: calls, each with its metadata, and then its messages. Out: the message that answers, or a status. Who may not ask is
refused before a message is read. It knows which messages each method takes and gives, not what a method does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from service import problems
from service.errors import Malformed, Overloaded, ServiceError, TooLarge
from service.grpc import inference_pb2 as pb
from service.grpc import packing, stream, tensors
from service.grpc.callers import caller_of
from service.grpc.codes import CODES
from service.protocol import CLOSED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service.access import Access
    from service.grpc.callers import Caller
    from service.grpc.holding import Held
    from service.grpc.limits import Limits
    from service.grpc.methods import Methods
    from service.metrics import Metrics
    from service.observe import Observer

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# Of the methods that ask for another scope than "infer"; None: open to all, for probes.
SCOPES = {
    "ServerLive": None,
    "ServerReady": None,
    "ModelReady": None,
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
}

# Without a new call, after which clients are taken to wait for their answers. On a busy machine some come back late:
# beside four busy loops 50 ms lost a call in one of 40 stops, 250 ms in none of 80.
QUIET_SECONDS = 0.25
HOLD_SECONDS = 1  # at the most: clients that do not wait would never be quiet
STREAMED = 512  # requests of all streams of a worker that are answered at once; more wait
LARGEST = 65_536  # bytes of a message that is no inference: names
ENDED = Overloaded(
    "The service is shutting down: what has no answer here is for another stream.", limit=0, retry_after_s=1
)

log = logging.getLogger("service")


class Answered(NamedTuple):
    """What becomes of one request."""

    status: int  # that HTTP has for it
    asked: Any  # its message; None where it was not read, or is none
    found: Any  # the message that answers, or the sentence of a refusal


class Method(NamedTuple):
    """One of the protocol's."""

    route: str  # the path that a call has, which is an HTTP/2 request: its label in the metrics
    scope: str | None
    read: Callable[[bytes], Any]  # a message's bytes → what is asked
    answer: Callable[[Any], Awaitable[Any]]


class Calls:
    """Answers calls with `methods`; `observer` sees each."""

    def __init__(
        self, methods: Methods, observer: Observer, access: Access | None, watched: Metrics, limits: Limits
    ) -> None:
        self._methods = methods
        self._observer = observer
        self._access = access
        self._watched = watched
        self._limits = limits
        self._streamed = asyncio.Semaphore(STREAMED)
        self._begun = 0  # calls so far
        self._answering = asyncio.Event()
        self._answering.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """All methods of the service, for a server."""
        self._observer.expect((_route(method), "POST") for method in SERVICE.methods)
        return grpc.method_handlers_generic_handler(
            SERVICE.full_name, {method.name: self._handler(method) for method in SERVICE.methods}
        )

    def _handler(self, described: Any) -> grpc.RpcMethodHandler:
        """To core every method is one of streams: then it leaves to us when a message is read."""
        taken = getattr(pb, described.input_type.name)
        method = Method(
            _route(described),
            SCOPES.get(described.name, "infer"),
            tensors.asked if taken is pb.ModelInferRequest else functools.partial(named, taken),
            getattr(self._methods, described.name),
        )
        given = getattr(pb, described.output_type.name).SerializeToString
        if described.client_streaming:
            call = functools.partial(self._stream, method)
            return grpc.stream_stream_rpc_method_handler(call, response_serializer=given)
        call = functools.partial(self._call, method)
        return grpc.stream_unary_rpc_method_handler(call, response_serializer=given)

    async def _call(self, method: Method, _: object, context: Any) -> Any:
        caller, limits = caller_of(context, self._observer), self._limits

        async def ask() -> Answered:
            self._admit(method, caller)
            limits.calls.enter()
            try:
                message = await limits.arrivals.only(context, caller.peer, limits.calls)
                if message is None:
                    raise Malformed("the call has no message.")
                return await self._asked(method, caller, message)
            finally:
                limits.calls.leave()

        # What was asked is let go here: what an abort raises has this frame, and stays until it is garbage-collected.
        answered = await self._watch(method, caller, ask)
        status, found = answered.status, answered.found
        del answered
        limits.departures.sends(context, caller.peer)
        context.add_done_callback(limits.departures.sent)
        if status != 200 and not context.done():  # it may have been given up already
            await context.abort(CODES.get(status, grpc.StatusCode.INTERNAL), found)
        return found

    async def _stream(self, method: Method, _: object, context: Any) -> None:
        caller, limits = caller_of(context, self._observer), self._limits

        async def read() -> Held | None:
            message = await limits.arrivals.next(context, caller.peer, limits.streams)
            if message is not None:
                try:
                    await self._streamed.acquire()
                except asyncio.CancelledError:
                    message.close()
                    raise
            return message

        async def one(message: Held) -> pb.ModelStreamInferResponse:
            async def ask() -> Answered:
                self._admit(method, caller)
                return await self._asked(method, caller, message)

            return _on_stream(await self._watch(method, caller, ask))

        def done(message: Held) -> None:
            message.close()
            self._streamed.release()

        context.add_done_callback(limits.departures.sent)
        try:
            self._look_at(method, caller)
            limits.streams.enter()
            try:
                write = functools.partial(limits.departures.write, context, caller.peer)
                await stream.answer(read, one, done, write)
            finally:
                limits.streams.leave()
        except ServiceError as error:
            if error is not ENDED:
                await self._watch(method, caller, functools.partial(_refuse, error))
            limits.departures.sends(context, caller.peer)
            await context.abort(CODES[error.status], error.detail)

    async def _watch(self, method: Method, caller: Caller, ask: Callable[[], Awaitable[Answered]]) -> Answered:
        """What becomes of a request, which is seen by the observer."""
        started = time.perf_counter()
        status = CLOSED  # where the client leaves, this is cancelled
        self._observer.begin()
        self._begun += 1
        try:
            try:
                found = await ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, the request must get an answer
                found = self._refusal(error, None, caller)
            await self._answering.wait()
            status = found.status
            return found
        finally:
            seconds = time.perf_counter() - started
            request_id, host = caller.request_id, caller.peer.host
            self._observer.end(method.route, "POST", status, seconds, request_id=request_id, client=host)

    async def _asked(self, method: Method, caller: Caller, message: Held) -> Answered:
        """What a message asks for."""
        asked, departures = None, self._limits.departures
        departures.begin(caller.peer)
        try:
            asked = method.read(message.take())
            return Answered(200, asked, await method.answer(asked))
        except Exception as error:  # noqa: BLE001 - whatever it is, the request must get an answer
            return self._refusal(error, asked, caller)
        finally:
            departures.end(caller.peer)
            message.close()

    def _admit(self, method: Method, caller: Caller) -> None:
        caller.check()
        if self._access is not None and method.scope is not None:
            self._access.admit(caller.headers, method.scope)

    def _look_at(self, method: Method, caller: Caller) -> None:
        """Whose stream this is; each of its requests is admitted by itself."""
        caller.check()
        access, scope = self._access, method.scope
        if access is not None and scope is not None and not access.fits(caller.headers, scope):
            access.admit(caller.headers, scope)

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold all answers back; the context opens when no call has come for a moment, and lets them go at its end.

        A server that stops tells its clients so, and cancels the calls that they sent before they knew. Clients that
        wait for their answers send none.
        """
        self._answering.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                begun = -1
                while begun != self._begun:
                    begun = self._begun
                    await asyncio.sleep(QUIET_SECONDS)
        yield
        self._limits.streams.end(ENDED)
        self._answering.set()

    def _refusal(self, error: Exception, asked: Any, caller: Caller) -> Answered:
        if not isinstance(error, ServiceError):
            log.error("request %s failed", caller.request_id.decode(), exc_info=error)
            return Answered(500, asked, str(problems.FAULT["detail"]))
        self._watched.count_shed(error)
        return Answered(error.status, asked, error.detail)


def _on_stream(answered: Answered) -> pb.ModelStreamInferResponse:
    """An answer as Triton gives it on a stream: a refusal ends nothing, and has the request's id."""
    if answered.status == 200:
        answered.found.parameters["triton_final_response"].bool_param = True  # clients wait for it
        return pb.ModelStreamInferResponse(infer_response=answered.found)
    known = {} if answered.asked is None else {"id": answered.asked.id}
    return pb.ModelStreamInferResponse(error_message=answered.found, infer_response=known)


async def _refuse(error: ServiceError) -> Answered:
    raise error


def _route(method: Any) -> str:
    return f"/{SERVICE.full_name}/{method.name}"


def named(kind: Any, data: bytes) -> Any:
    """A message that has names alone."""
    plain, whole = packing.head(data, LARGEST) if packing.is_packed(data) else (data, True)
    if not whole or len(plain) > LARGEST:
        raise TooLarge(f"Received message larger than max ({LARGEST:,} bytes).", limit=LARGEST)
    return tensors.unpacked(kind, plain)
