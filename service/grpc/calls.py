"""Calls over gRPC: watched as requests over HTTP are, and their errors as status codes with the same sentences.

In: the bytes of a message. Out: the message that answers, or a status. It knows which messages each method takes and
gives, not what a method does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from service import problems
from service.errors import Malformed, ServiceError
from service.grpc import inference_pb2 as pb
from service.grpc import stream
from service.protocol import CLOSED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service.access import Access
    from service.grpc.methods import Methods
    from service.metrics import Metrics
    from service.observe import Observer

REQUEST_ID = "x-request-id"
SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
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

log = logging.getLogger("service")


class Caller(NamedTuple):
    """Who asks."""

    headers: list[tuple[bytes, bytes]]
    request_id: bytes
    address: str


class Answered(NamedTuple):
    """What becomes of one request."""

    status: int  # that HTTP has for it
    asked: Any  # its message; None where it was not read, or is none
    found: Any  # the message that answers, or the sentence of a refusal


class Calls:
    """Answers calls with `methods`; `observer` sees each."""

    def __init__(self, methods: Methods, observer: Observer, access: Access | None, watched: Metrics) -> None:
        self._methods = methods
        self._observer = observer
        self._access = access
        self._watched = watched
        self._begun = 0  # calls so far
        self._answering = asyncio.Event()
        self._answering.set()
        self._ending = asyncio.Event()  # of streams: no more is read from them

    def handler(self) -> grpc.GenericRpcHandler:
        """All methods of the service, for a server."""
        self._observer.expect((_route(method), "POST") for method in SERVICE.methods)
        return grpc.method_handlers_generic_handler(
            SERVICE.full_name, {method.name: self._handler(method) for method in SERVICE.methods}
        )

    def _handler(self, method: Any) -> grpc.RpcMethodHandler:
        answer = self._answered(method)

        async def call(data: bytes, context: Any) -> Any:
            answered = await answer(data, self._caller(context))
            if answered.status != 200:
                code = CODES.get(answered.status, grpc.StatusCode.INTERNAL)
                await context.abort(code, answered.found)
            return answered.found

        async def calls(requests: AsyncIterator[bytes], context: Any) -> None:
            caller = self._caller(context)

            async def one(data: bytes) -> pb.ModelStreamInferResponse:
                return _on_stream(await answer(data, caller))

            await stream.answer(requests, context, one, self._ending)

        given = getattr(pb, method.output_type.name).SerializeToString
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(calls, response_serializer=given)
        return grpc.unary_unary_rpc_method_handler(call, response_serializer=given)

    def _caller(self, context: Any) -> Caller:
        """Whose call this is; the id is told when it ends."""
        headers = [(k.encode(), v.encode()) for k, v in context.invocation_metadata() if isinstance(v, str)]
        request_id = self._observer.request_id(headers)
        context.set_trailing_metadata(((REQUEST_ID, request_id.decode()),))
        return Caller(headers, request_id, _host(context.peer()))

    def _answered(self, method: Any) -> Callable[[bytes, Caller], Awaitable[Answered]]:
        """What answers a request to this method, or each of those on its stream."""
        route, answer = _route(method), getattr(self._methods, method.name)
        scope = SCOPES.get(method.name, "infer")
        taken = getattr(pb, method.input_type.name)

        async def answered(data: bytes, caller: Caller) -> Answered:
            started = time.perf_counter()
            status, asked = CLOSED, None  # where the client leaves, this is cancelled
            self._observer.begin()
            self._begun += 1
            try:
                try:
                    if self._access is not None and scope is not None:
                        self._access.admit(caller.headers, scope)
                    asked = _message(taken, data)
                    found = Answered(200, asked, await answer(asked))
                except Exception as error:  # noqa: BLE001 - whatever it is, the request must get an answer
                    found = self._refusal(error, asked, caller)
                await self._answering.wait()
                status = found.status
                return found
            finally:
                seconds = time.perf_counter() - started
                self._observer.end(route, "POST", status, seconds, request_id=caller.request_id, client=caller.address)

        return answered

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
        self._ending.set()
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


def _route(method: Any) -> str:
    """The path that the call has, which is an HTTP/2 request: its label in the metrics."""
    return f"/{SERVICE.full_name}/{method.name}"


def _message(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Malformed(f"the {len(data):,} bytes are no message of the type {kind.DESCRIPTOR.full_name}.") from None


def _host(peer: str) -> str:
    """The address in ipv4:ADDRESS:PORT, or in ipv6:%5BADDRESS%5D:PORT."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
