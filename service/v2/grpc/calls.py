"""Calls over gRPC: their messages are read when they may be, and errors are status codes with HTTP's sentences.

In: calls, each with its metadata, and then its messages. Out: the messages that answer, or a status. Who may not ask is
refused before a message is read. It knows which messages each method takes and gives, not what a method does.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import grpc

from ...codec import inference_pb2 as pb
from ...codec import v2_grpc
from ...codec.compression import decompress_head
from ...errors import Malformed, Overloaded, ServiceError, TooLarge
from . import stream
from .callers import caller_of
from .codes import CODES
from .requests import Answered, Method

if TYPE_CHECKING:
    from ...observability.requests import Observer
    from .holding import Held
    from .limits import Limits
    from .methods import Methods
    from .requests import Requests

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# Of the methods that ask for another scope than "infer"; None: open to all, for probes.
SCOPES = {
    "ServerLive": None,
    "ServerReady": None,
    "ModelReady": None,
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
}

STREAMED = 512  # requests of all streams of a worker that are answered at once; more wait
LARGEST = 65_536  # bytes of a message that is no inference: names
ENDED = Overloaded(
    "The service is shutting down: what has no answer here is for another stream.", limit=0, retry_after_s=1
)


class Calls:
    """Answers calls with `methods`; `observer` sees each."""

    def __init__(self, methods: Methods, observer: Observer, requests: Requests, limits: Limits) -> None:
        self._methods = methods
        self._observer = observer
        self._requests = requests
        self._limits = limits
        self._streamed = asyncio.Semaphore(STREAMED)

    def handler(self) -> grpc.GenericRpcHandler:
        """All methods of the service, for a server."""
        self._observer.expect((_route(method), "POST") for method in SERVICE.methods)
        return grpc.method_handlers_generic_handler(
            SERVICE.full_name, {method.name: self._handler(method) for method in SERVICE.methods}
        )

    def end(self) -> None:
        """Read no more from streams; what was read is answered."""
        self._limits.streams.end(ENDED)

    def _handler(self, described: Any) -> grpc.RpcMethodHandler:
        """To core every method is one of streams: then it leaves to us when a message is read."""
        taken = getattr(pb, described.input_type.name)
        method = Method(
            _route(described),
            SCOPES.get(described.name, "infer"),
            v2_grpc.read_call if taken is pb.ModelInferRequest else functools.partial(named, taken),
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
            self._requests.admit(method, caller)
            limits.calls.enter()
            try:
                message = await limits.arrivals.only(context, caller.peer, limits.calls)
                if message is None:
                    raise Malformed("the call has no message.")
                return await self._requests.answer(method, caller, message)
            finally:
                limits.calls.leave()

        # What was asked is let go here: what an abort raises has this frame, and stays until it is garbage-collected.
        answered = await self._requests.watch(method, caller, ask)
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
                self._requests.admit(method, caller)
                return await self._requests.answer(method, caller, message)

            return _on_stream(await self._requests.watch(method, caller, ask))

        def done(message: Held) -> None:
            message.close()
            self._streamed.release()

        context.add_done_callback(limits.departures.sent)
        try:
            self._requests.know(method, caller)
            limits.streams.enter()
            try:
                write = functools.partial(limits.departures.write, context, caller.peer)
                await stream.answer(read, one, done, write)
            finally:
                limits.streams.leave()
        except ServiceError as error:
            if error is not ENDED:
                await self._requests.watch(method, caller, functools.partial(_refuse, error))
            limits.departures.sends(context, caller.peer)
            await context.abort(CODES[error.status], error.detail)


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
    plain, whole = decompress_head(data, LARGEST)
    if not whole or len(plain) > LARGEST:
        raise TooLarge(f"Received message larger than max ({LARGEST:,} bytes).", limit=LARGEST)
    return v2_grpc.parse_message(kind, plain)
