"""Requests over gRPC: admitted, metrics as those over HTTP are, and answered, each with a message or with a sentence.

In: who calls, and a message. Out: what becomes of it. It knows neither how messages come nor how answers go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ...connection import problems
from ...connection.limits import CLIENT_CLOSED
from ...errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ...access.authorisation import Access
    from ...observability.metrics import Metrics
    from ...observability.requests import Observer
    from .callers import Caller
    from .departures import Departures
    from .holding import Held

# Without a new call, after which clients are taken to wait for their answers. On a busy machine some come back late:
# beside four busy loops 50 ms lost a call in one of 40 stops, 250 ms in none of 80.
QUIET_SECONDS = 0.25
HOLD_SECONDS = 1  # at the most: clients that do not wait would never be quiet

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


class Requests:
    """All of one worker; `observer` sees each."""

    def __init__(self, observer: Observer, access: Access | None, metrics: Metrics, departures: Departures) -> None:
        self._observer = observer
        self._access = access
        self._metrics = metrics
        self._departures = departures
        self._begun = 0  # so far
        self._answering = asyncio.Event()
        self._answering.set()

    def admit(self, method: Method, caller: Caller) -> None:
        """Let a request in; raises `ServiceError`."""
        caller.check()
        if self._access is not None and method.scope is not None:
            self._access.admit(caller.headers, method.scope)

    def know(self, method: Method, caller: Caller) -> None:
        """Know whose stream this is; each of its requests is admitted by itself. Raises `ServiceError`."""
        caller.check()
        access, scope = self._access, method.scope
        if access is not None and scope is not None and not access.fits(caller.headers, scope):
            access.admit(caller.headers, scope)

    async def watch(self, method: Method, caller: Caller, ask: Callable[[], Awaitable[Answered]]) -> Answered:
        """What becomes of a request, which is seen by the observer."""
        started = time.perf_counter()
        status = CLIENT_CLOSED  # where the client leaves, this is cancelled
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
            self._observer.end(method.route, "POST", status, seconds, request_id=request_id, peer=host)

    async def answer(self, method: Method, caller: Caller, message: Held) -> Answered:
        """What a message asks for is answered."""
        asked, departures = None, self._departures
        departures.begin(caller.peer)
        try:
            asked = method.read(message.take())
            return Answered(200, asked, await method.answer(asked))
        except Exception as error:  # noqa: BLE001 - whatever it is, the request must get an answer
            return self._refusal(error, asked, caller)
        finally:
            departures.end(caller.peer)
            message.close()

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
        self._answering.set()

    def _refusal(self, error: Exception, asked: Any, caller: Caller) -> Answered:
        if not isinstance(error, ServiceError):
            log.error("request %s failed", caller.request_id.decode(), exc_info=error)
            return Answered(500, asked, str(problems.FAULT["detail"]))
        self._metrics.requests.count_shed(error)
        return Answered(error.status, asked, error.detail)
