"""Calls over gRPC: access is checked before a message is read, and errors become status codes with HTTP's details.

In: calls with their metadata and messages. Out: response messages, or a status.
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
from .codes import CODES, code_of
from .requests import Answered, Method

if TYPE_CHECKING:
    from ...observability.record import Record
    from ...observability.requests import Observer
    from .holding import Held
    from .limits import Limits
    from .methods import Methods
    from .requests import Requests

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# The methods with another scope than "infer"; None is open to all, for probes.
SCOPES = {
    "ServerLive": None,
    "ServerReady": None,
    "ModelReady": None,
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
}

STREAMED_REQUESTS = 512  # of all streams of a worker at once; more wait
MAX_NAMES_BYTES = 65_536  # of a message without an inference
ENDED = Overloaded(
    "The service is shutting down; retry unanswered requests on another stream.", limit=0, retry_after_s=1
)


class Calls:
    """Answers calls with `methods`; `observer` sees each."""

    def __init__(self, methods: Methods, observer: Observer, requests: Requests, limits: Limits) -> None:
        self._methods = methods
        self._observer = observer
        self._requests = requests
        self._limits = limits
        self._streamed = asyncio.Semaphore(STREAMED_REQUESTS)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return gRPC's handler of all methods."""
        self._observer.expect((_route(method), "POST") for method in SERVICE.methods)
        return grpc.method_handlers_generic_handler(
            SERVICE.full_name, {method.name: self._handler(method) for method in SERVICE.methods}
        )

    def end(self) -> None:
        """Read no more from streams; requests that were read get their responses."""
        self._limits.streams.end(ENDED)

    def _handler(self, described: Any) -> grpc.RpcMethodHandler:
        """Return the handler of one method; registered as streams, methods decide themselves when to read."""
        request_type = getattr(pb, described.input_type.name)
        answer = getattr(self._methods, described.name)
        method = Method(
            _route(described),
            SCOPES.get(described.name, "infer"),
            v2_grpc.read_call if request_type is pb.ModelInferRequest else functools.partial(parse_names, request_type),
            answer if request_type is pb.ModelInferRequest else lambda request, _: answer(request),
        )
        serialize = getattr(pb, described.output_type.name).SerializeToString
        if described.client_streaming:
            call = functools.partial(self._stream, method)
            return grpc.stream_stream_rpc_method_handler(call, response_serializer=serialize)
        call = functools.partial(self._call, method)
        return grpc.stream_unary_rpc_method_handler(call, response_serializer=serialize)

    async def _call(self, method: Method, _: object, context: Any) -> Any:
        caller, limits = caller_of(context, self._observer), self._limits

        async def ask(record: Record | None) -> Answered:
            self._requests.admit(method, caller, record)
            limits.calls.enter()
            try:
                message = await limits.arrivals.only(context, caller.peer, limits.calls)
                if message is None:
                    raise Malformed("The call has no message.")
                return await self._requests.answer(method, caller, message, record)
            finally:
                limits.calls.leave()

        # Drop the request here: an abort's exception keeps this frame until it is garbage-collected.
        answered = await self._requests.watch(method, caller, ask)
        status, result = answered.status, answered.result
        del answered
        limits.departures.sends(context, caller.peer)
        context.add_done_callback(limits.departures.sent)
        if status != 200 and not context.done():  # it may have been aborted already
            await context.abort(code_of(status), result)
        return result

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
            async def ask(record: Record | None) -> Answered:
                self._requests.admit(method, caller, record)
                return await self._requests.answer(method, caller, message, record)

            return _on_stream(await self._requests.watch(method, caller, ask))

        def done(message: Held) -> None:
            message.close()
            self._streamed.release()

        context.add_done_callback(limits.departures.sent)
        try:
            self._requests.check_access(method, caller)
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
    """Return a response as Triton sends it on a stream: an error has the request's id, and does not end the stream."""
    if answered.status == 200:
        answered.result.parameters["triton_final_response"].bool_param = True  # clients wait for it
        return pb.ModelStreamInferResponse(infer_response=answered.result)
    identity = {} if answered.request is None else {"id": answered.request.id}
    return pb.ModelStreamInferResponse(error_message=answered.result, infer_response=identity)


async def _refuse(error: ServiceError, _: Record | None) -> Answered:
    raise error


def _route(method: Any) -> str:
    return f"/{SERVICE.full_name}/{method.name}"


def parse_names(kind: Any, data: bytes) -> Any:
    """Parse a message that contains only names; raises `TooLarge` or `Malformed`."""
    plain, whole = decompress_head(data, MAX_NAMES_BYTES)
    if not whole or len(plain) > MAX_NAMES_BYTES:
        raise TooLarge(f"Received message larger than max ({MAX_NAMES_BYTES:,} bytes).", limit=MAX_NAMES_BYTES)
    return v2_grpc.parse_message(kind, plain)
