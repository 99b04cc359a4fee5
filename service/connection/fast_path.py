"""The fast path: small requests, answered inside uvicorn's protocol without an ASGI scope, task or messages.

In: the events of uvicorn's httptools protocol, and the routes of small requests. Out: the same responses as the app's,
for a third of the CPU time. Other requests go to the app: large or slow bodies, queries, HTTP/1.0. A head that equals
the connection's previous one, byte for byte, is not parsed again.
"""

from __future__ import annotations

import functools
import math
import termios
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import DeadlineExceeded, ServiceError
from . import problems, writing
from .draining import Draining
from .holding import holds
from .limits import CLIENT_CLOSED, MAX_KNOWN_HEAD_BYTES, UNCOUNTED_BYTES

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Awaitable, Callable, Mapping

    from ..observability.record import Record
    from ..reply import Reply

    # Called with the reply or the error of a request; returns a function that sends the response.
    Finish = Callable[[Reply | Exception], Callable[[], None]]

BODY_WAIT_SECONDS = 0.05  # for the rest of a body; then the app continues
MAX_BODY_BYTES = 65_536  # 83 pictures of 784 bytes; larger bodies gain nothing here
APP_HEADERS = frozenset({b"transfer-encoding", b"expect", b"content-encoding", b"upgrade"})  # the app handles these


class SmallRequest:
    """A request on the fast path; it replaces uvicorn's cycle, so later requests of the connection wait for it."""

    def __init__(self, path: bytes, headers: dict[bytes, bytes], body: bytes = b"") -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.record: Record | None = None  # of a request that is logged or traced
        self.started = time.perf_counter()
        self.deadline = math.inf  # of the response (perf_counter); the route sets it
        self.keep_alive = True
        self.more_body = False
        self.response_started = False
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> SmallRequest:
        """The event that uvicorn sets. An attribute would be a reference cycle, left to the garbage collector."""
        return self

    def set(self) -> None:
        """Do nothing: nothing waits for this event."""


class FastRoute(Protocol):
    """The handler of small requests for one path."""

    template: str  # the route's label in metrics and logs

    def fits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a client with these headers has access; nothing is counted."""

    def answer(self, request: SmallRequest, finish: Finish, wanted: Callable[[], bool]) -> Awaitable[Reply] | None:
        """Call `finish` later, unless the reply is no longer `wanted`; or return an awaitable of the reply.

        Raises `ServiceError`.
        """


class _KnownHead(NamedTuple):
    """The head of a fast request: clients often repeat it, with other bodies of the same length."""

    head: bytes
    size: int  # bytes, with the body
    path: bytes
    headers: dict[bytes, bytes]


class FastPath(Draining):
    """The draining protocol, with the fast path before the app."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._routes: Mapping[bytes, FastRoute] = self.app_state.get("fast_routes", {})
        self._max_body = min(MAX_BODY_BYTES, self._connections.max_body)
        self._known: _KnownHead | None = None  # of the previous fast request
        self._arriving: SmallRequest | None = None  # its head is complete, its body not yet
        self._complete: SmallRequest | None = None  # it is answered after the data that has come is read
        self._body_wait: TimerHandle | None = None

    def begin(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> None:
        """Begin a request, on the fast path if it fits."""
        if self._fits(method, version, headers):
            self._arriving = SmallRequest(self.url, headers)
        else:
            self.begin_app()

    def _fits(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> bool:
        if self.url not in self._routes or method != b"POST":
            return False
        if version != "1.1" or self.expect_100_continue or not self.parser.should_keep_alive():
            return False
        if not APP_HEADERS.isdisjoint(headers):
            return False
        assert self._body_left is not None  # the app handles chunked bodies
        return self._body_left <= self._max_body and self._is_free(self.url, headers)

    def _is_free(self, path: bytes, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether no response is under way, and a client with these headers has access."""
        return not (self._responding() or self.flow.write_paused) and self._routes[path].fits(headers)

    def _knows(self, data: bytes) -> bool:
        """Return whether `data` is one complete request with the known head, which need not be parsed."""
        known = self._known
        if known is None or len(data) != known.size or not data.startswith(known.head):
            return False
        between = self._receiving is None and not (self._rest or self._refused or self.transport.is_closing())
        return between and self._is_free(known.path, known.headers)

    def _learn(self, request: SmallRequest) -> None:
        """Keep this request's head, if head and body came in one piece each and no header came twice."""
        separate = self._size == len(self._first) and self._piece == len(request.body)
        if separate and self._size <= MAX_KNOWN_HEAD_BYTES and len(self.headers) == len(request.headers):
            size = self._size + self._piece
            self._known = _KnownHead(self._first, size, request.path, request.headers)

    def _held_bytes(self) -> int:
        return super()._held_bytes() + (0 if self._arriving is None else len(self._arriving.body))

    def add_body(self, body: bytes) -> None:
        """Add a part of the body to the request; a body over the limit goes to the app."""
        if self._arriving is None:
            super().add_body(body)
        else:
            self._arriving.body += body
            if len(self._arriving.body) > self._max_body:
                self._hand_over(self._arriving)

    def on_message_complete(self) -> None:
        """End a complete request."""
        request = self._arriving
        if request is None:
            super().on_message_complete()
        else:
            self._receiving = None
            self._learn(request)
            self._clear_arriving()
            self.cycle = request  # type: ignore[assignment]  # it has every attribute of a cycle that uvicorn uses
            self._complete = request

    def _read(self) -> None:
        """Read buffered data, then answer: an answer depends on what else the client has sent."""
        super()._read()
        if self._complete is not None:
            request, self._complete = self._complete, None
            self._answer_fast(request)

    def data_received(self, data: bytes) -> None:
        """Read data from the connection; if the body comes after its head, wait for it briefly."""
        if self._knows(data):
            assert self._known
            self._unset_keepalive_if_required()
            request = SmallRequest(self._known.path, self._known.headers, data[len(self._known.head) :])
            self.cycle = request  # type: ignore[assignment]
            self._answer_fast(request)
            return
        super().data_received(data)
        if self._arriving is not None and self._body_wait is None:
            self._body_wait = self.loop.call_later(BODY_WAIT_SECONDS, self._end_body_wait, self._arriving)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the arriving request."""
        self._clear_arriving()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Hand an arriving request over to the app, which has deadlines for it."""
        if self._arriving is not None:
            self._hand_over(self._arriving)
        super().shutdown()

    def _clear_arriving(self) -> None:
        self._arriving = None
        if self._body_wait is not None:
            self._body_wait.cancel()
            self._body_wait = None

    def _end_body_wait(self, request: SmallRequest) -> None:
        """Hand a request with a late body over to the app; wait on if its data arrived but the loop was busy."""
        if not self.transport.is_closing() and holds(self.transport, termios.FIONREAD):
            self._body_wait = self.loop.call_later(BODY_WAIT_SECONDS, self._end_body_wait, request)
        else:
            self._hand_over(request)

    def _hand_over(self, request: SmallRequest) -> None:
        """Hand an incomplete request over to the app, which has deadlines, limits and errors for it."""
        self._clear_arriving()
        if self.transport.is_closing():
            return
        self.begin_app()
        if request.body:
            super().add_body(request.body)

    def _answer_fast(self, request: SmallRequest) -> None:
        """Answer a complete request, which is the connection's `cycle`."""
        self._start_queue.fast_requests += 1
        request.record = self._observer.begin(request.headers.items())
        finish, wanted = functools.partial(self._finish, request), functools.partial(self._wanted, request)
        try:
            if len(request.body) > UNCOUNTED_BYTES and not self._connections.has_room(len(request.body)):
                raise self._connections.full()
            reply = self._routes[request.path].answer(request, finish, wanted)
        except Exception as error:  # noqa: BLE001 - any error becomes this request's response
            self._send_error(request, _without_frames(error))
            return
        if reply is not None:
            task = self.loop.create_task(self._wait_for(request, reply))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if len(request.body) > UNCOUNTED_BYTES:
            self.count()

    async def _wait_for(self, request: SmallRequest, reply: Awaitable[Reply]) -> None:
        result: Reply | Exception
        try:
            result = await reply
        except Exception as error:  # noqa: BLE001 - any error becomes this request's response
            result = _without_frames(error)
        self._finish(request, result)()

    def _wanted(self, request: SmallRequest) -> bool:
        """Return whether the client still waits and the deadline has not passed."""
        if request.disconnected:
            self._record(request, CLIENT_CLOSED, self._observer.request_id(request.headers.items()))
            return False
        if time.perf_counter() > request.deadline:
            seconds = request.deadline - request.started
            detail = f"The response was not ready within {seconds:.3g} s."
            self._send_error(request, DeadlineExceeded(detail, limit=seconds))
            return False
        return True

    def _send_error(self, request: SmallRequest, error: Exception) -> None:
        self._finish(request, error)()

    def _finish(self, request: SmallRequest, result: Reply | Exception) -> Callable[[], None]:
        """Count the response to a request, and return a function that sends it."""
        request_id = self._observer.request_id(request.headers.items())
        if isinstance(result, ServiceError):
            self._observer.shed(result)
        elif isinstance(result, Exception):
            self._observer.fail(request_id, result, request.headers.items(), request.record)
        if isinstance(result, Exception):
            result = problems.reply_to(result, request.path.decode(), request_id)
        self._record(request, result.status, request_id)
        if self._drain.begun and not (self.pipeline or self._rest):
            request.keep_alive = False
        defaults = self._default_headers(request.path, request.headers.items())
        response = writing.response(result, request_id, defaults, keep_alive=request.keep_alive)
        return functools.partial(self._send, request, response)

    def _send(self, request: SmallRequest, response: bytes) -> None:
        """Send the response, and continue with the next request."""
        request.response_complete = True
        request.body = b""
        if not self.transport.is_closing():
            self.transport.write(response)
            if not request.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def _record(self, request: SmallRequest, status: int, request_id: bytes) -> None:
        client, headers = self.client[0] if self.client else None, request.headers.items()
        template, seconds, record = (
            self._routes[request.path].template,
            time.perf_counter() - request.started,
            request.record,
        )
        if record is not None:
            record.started, record.path, record.bytes = request.started, request.path.decode(), len(request.body)
        end = self._observer.end
        end(template, "POST", status, seconds, request_id=request_id, peer=client, headers=headers, record=record)


def _without_frames(error: Exception) -> Exception:
    """Drop a refusal's traceback: its frames refer to the error, and only the garbage collector would free them."""
    return error.with_traceback(None) if isinstance(error, ServiceError) else error
