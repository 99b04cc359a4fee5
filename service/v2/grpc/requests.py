"""Requests over gRPC: checked, logged and counted like those over HTTP.

In: a caller and a message. Out: the response's message, or an error's status and detail.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ...connection import problems
from ...connection.limits import CLIENT_CLOSED
from ...errors import ServiceError
from .codes import code_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ...access.authorisation import Access
    from ...observability.metrics import Metrics
    from ...observability.record import Record
    from ...observability.requests import Observer
    from .callers import Caller
    from .departures import Departures
    from .holding import Held

    Ask = Callable[[Record | None], Awaitable["Answered"]]

# After this time without a new call, all clients are assumed to wait for responses. On a busy machine some send late:
# beside four busy loops, 50 ms lost a call in one of 40 stops, 250 ms in none of 80.
IDLE_SECONDS = 0.25
MAX_HOLD_SECONDS = 1  # clients that do not wait for responses would never be idle


class Answered(NamedTuple):
    """The result of one request."""

    status: int  # HTTP's
    request: Any  # its message; None if it was not read or is invalid
    result: Any  # the response's message, or the error's detail


class Method(NamedTuple):
    """One method of the protocol."""

    route: str  # the path of its HTTP/2 requests: its label in the metrics
    scope: str | None
    read: Callable[[bytes], Any]  # parses a message
    answer: Callable[[Any, Record | None], Awaitable[Any]]


class Requests:
    """The requests of one worker; `observer` logs and counts each."""

    def __init__(self, observer: Observer, access: Access | None, metrics: Metrics, departures: Departures) -> None:
        self._observer = observer
        self._access = access
        self._metrics = metrics
        self._departures = departures
        self._begun = 0  # requests so far
        self._may_respond = asyncio.Event()
        self._may_respond.set()

    def admit(self, method: Method, caller: Caller, record: Record | None) -> None:
        """Admit a request; raises `ServiceError`."""
        caller.check()
        if self._access is not None and method.scope is not None:
            self._access.admit(caller.headers, method.scope, record)

    def check_access(self, method: Method, caller: Caller) -> None:
        """Check the key of a stream, whose requests are admitted one by one; raises `ServiceError`."""
        caller.check()
        access, scope = self._access, method.scope
        if access is not None and scope is not None and not access.fits(caller.headers, scope):
            access.admit(caller.headers, scope, None)

    async def watch(self, method: Method, caller: Caller, ask: Ask) -> Answered:
        """Return the result of `ask`, which gets the request's record; log and count the request."""
        started = time.perf_counter()
        status = CLIENT_CLOSED  # a disconnect of the client cancels this coroutine
        record = self._observer.begin(caller.headers)
        self._begun += 1
        try:
            try:
                answered = await ask(record)
            except Exception as error:  # noqa: BLE001 - any error becomes this request's response
                answered = self._refusal(error, None, caller, record)
            await self._may_respond.wait()
            status = answered.status
            return answered
        finally:
            seconds = time.perf_counter() - started
            if record is not None:
                record.started, record.grpc_code = started, code_of(status).name
            self._observer.end(
                method.route,
                "POST",
                status,
                seconds,
                request_id=caller.request_id,
                peer=caller.peer.host,
                headers=caller.headers,
                record=record,
            )

    async def answer(self, method: Method, caller: Caller, message: Held, record: Record | None) -> Answered:
        """Return the method's result for a message, and close the message."""
        request, departures = None, self._departures
        departures.begin(caller.peer)
        try:
            data = message.take()
            if record is not None:
                record.bytes = len(data)
            request = method.read(data)
            del data
            return Answered(200, request, await method.answer(request, record))
        except Exception as error:  # noqa: BLE001 - any error becomes this request's response
            return self._refusal(error, request, caller, record)
        finally:
            departures.end(caller.peer)
            message.close()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold responses back while the context is open; it opens when no call has come for `IDLE_SECONDS`.

        A stopping server notifies its clients, and cancels calls that they sent before the notice arrived. A client
        that waits for a response sends no such call.
        """
        self._may_respond.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_HOLD_SECONDS):
                begun = -1
                while begun != self._begun:
                    begun = self._begun
                    await asyncio.sleep(IDLE_SECONDS)
        yield
        self._may_respond.set()

    def _refusal(self, error: Exception, request: Any, caller: Caller, record: Record | None) -> Answered:
        if not isinstance(error, ServiceError):
            self._observer.fail(caller.request_id, error, caller.headers, record)
            return Answered(500, request, str(problems.FAULT["detail"]))
        self._metrics.requests.count_shed(error)
        return Answered(error.status, request, error.detail)
