"""The fast path: small requests, answered inside uvicorn's own protocol without scope, task or ASGI messages.

In: what uvicorn's httptools protocol gets from a connection, and the routes that answer small requests. Out: the same
answers, for a third of the CPU time. What is not small and plain (large bodies, queries, HTTP/1.0, bodies that take
their time) goes to the app. A head that comes again on its connection, byte by byte, is not parsed again. It knows HTTP
framing, and routes by their paths alone.
"""

from __future__ import annotations

import functools
import logging
import math
import termios
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import DeadlineExceeded, ServiceError
from . import problems, writing
from .draining import Draining
from .holding import holds
from .limits import CLIENT_CLOSED, MAX_KNOWN_HEAD, UNCOUNTED_BYTES

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Awaitable, Callable, Mapping

    from ..reply import Reply

    # Takes the reply to a request, or what went wrong, and returns what sends the response.
    Finish = Callable[[Reply | Exception], Callable[[], None]]

BODY_WAIT_SECONDS = 0.05  # for the rest of a body; then the app has it
MAX_BODY = 65_536  # bytes: 64 pictures of 784; what is larger gains nothing here
FRAMING = frozenset({b"transfer-encoding", b"expect", b"content-encoding", b"upgrade"})  # left to the app

log = logging.getLogger("service")


class SmallRequest:
    """A request on the fast path, in the place of uvicorn's cycle: later requests of the connection wait for it."""

    def __init__(self, path: bytes, headers: dict[bytes, bytes], body: bytes = b"") -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.started = time.perf_counter()
        self.deadline = math.inf  # of the answer; its route sets it
        self.keep_alive = True
        self.more_body = False
        self.response_started = False
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> SmallRequest:
        """What uvicorn wakes a cycle by. Kept, it would leave each request and its body to the garbage collector."""
        return self

    def set(self) -> None:
        """Do nothing: nothing waits for this event."""


class FastRoute(Protocol):
    """What answers the small requests for one path."""

    template: str  # of the route: a label

    def fits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether who sends these headers may ask here; nothing is counted."""

    def answer(self, request: SmallRequest, finish: Finish, wanted: Callable[[], bool]) -> Awaitable[Reply] | None:
        """Have `finish` called, while the answer is `wanted`; or return what the reply is to be waited for by.

        Raises `ServiceError`.
        """


class _Known(NamedTuple):
    """A request that was answered here: clients send its head again and again, with other bodies of its length."""

    head: bytes
    size: int  # with its body
    path: bytes
    headers: dict[bytes, bytes]


class FastPath(Draining):
    """The protocol of connections, with the fast path before the app."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._routes: Mapping[bytes, FastRoute] = self.app_state.get("fast_routes", {})
        self._max_body = min(MAX_BODY, self._connections.max_body)
        self._known: _Known | None = None  # the last one
        self._coming: SmallRequest | None = None  # its head is here, its body not yet
        self._body_wait: TimerHandle | None = None

    def begin(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> None:
        """Begin a request: on the fast path if it fits there."""
        if self._fits(method, version, headers):
            self._coming = SmallRequest(self.url, headers)
        else:
            self.begin_app()

    def _fits(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> bool:
        if self.url not in self._routes or method != b"POST":
            return False
        if version != "1.1" or self.expect_100_continue or not self.parser.should_keep_alive():
            return False
        if not FRAMING.isdisjoint(headers):
            return False
        assert self._body is not None  # a body in chunks is left to the app
        return self._body <= self._max_body and self._is_free(self.url, headers)

    def _is_free(self, path: bytes, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request can be answered now, for whoever sends these headers."""
        return not (self._answering() or self.flow.write_paused) and self._routes[path].fits(headers)

    def _knows(self, data: bytes) -> bool:
        """Whether this is one request, whole, whose head is the last one's: it would be parsed as that was."""
        known = self._known
        if known is None or len(data) != known.size or not data.startswith(known.head):
            return False
        between = self._receiving is None and not (self._rest or self._refused or self.transport.is_closing())
        return between and self._is_free(known.path, known.headers)

    def _learn(self, request: SmallRequest) -> None:
        """Know this request's head, if its head and its body came in one piece each, and no header twice."""
        apart = self._size == len(self._first) and self._piece == len(request.body)
        if apart and self._size <= MAX_KNOWN_HEAD and len(self.headers) == len(request.headers):
            size = self._size + self._piece
            self._known = _Known(self._first, size, request.path, request.headers)

    def _holding(self) -> int:
        """Count the bytes that are held for this connection."""
        return super()._holding() + (0 if self._coming is None else len(self._coming.body))

    def take_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._coming is None:
            super().take_body(body)
        else:
            self._coming.body += body
            if len(self._coming.body) > self._max_body:
                self._hand_over(self._coming)

    def on_message_complete(self) -> None:
        """The request is whole: answer it."""
        request = self._coming
        if request is None:
            super().on_message_complete()
        else:
            self._receiving = None
            self._learn(request)
            self._take(request)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection; many clients send the body apart, and it is waited for a little."""
        if self._knows(data):
            assert self._known
            self._unset_keepalive_if_required()
            self._take(SmallRequest(self._known.path, self._known.headers, data[len(self._known.head) :]))
            return
        super().data_received(data)
        if self._coming is not None and self._body_wait is None:
            self._body_wait = self.loop.call_later(BODY_WAIT_SECONDS, self._end_body_wait, self._coming)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it whatever was coming."""
        self._settle()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The service ends: the app has deadlines for what is coming."""
        if self._coming is not None:
            self._hand_over(self._coming)
        super().shutdown()

    def _settle(self) -> None:
        """Nothing is waited for any more."""
        self._coming = None
        if self._body_wait is not None:
            self._body_wait.cancel()
            self._body_wait = None

    def _end_body_wait(self, request: SmallRequest) -> None:
        """Hand over a request whose body does not come; where it only was not read yet, the loop was busy."""
        if not self.transport.is_closing() and holds(self.transport, termios.FIONREAD):
            self._body_wait = self.loop.call_later(BODY_WAIT_SECONDS, self._end_body_wait, request)
        else:
            self._hand_over(request)

    def _hand_over(self, request: SmallRequest) -> None:
        """Let the app have a request whose end has not come yet: it has deadlines, limits and words for it."""
        self._settle()
        if self.transport.is_closing():
            return
        self.begin_app()
        if request.body:
            super().take_body(request.body)

    def _take(self, request: SmallRequest) -> None:
        """Answer a request that is whole."""
        self._settle()
        self.cycle = request  # type: ignore[assignment]  # it has all of a cycle that uvicorn asks for
        self._observer.begin()
        finish, wanted = functools.partial(self._finish, request), functools.partial(self._wanted, request)
        try:
            if len(request.body) > UNCOUNTED_BYTES and not self._connections.has_room(len(request.body)):
                raise self._connections.full()
            reply = self._routes[request.path].answer(request, finish, wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, this request gets an answer
            # Later, as all answers: so that requests behind it on the connection are known when it is written.
            self.loop.call_soon(self._refuse_late, request, _without_frames(error))
            return
        if reply is not None:
            task = self.loop.create_task(self._wait_for(request, reply))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if len(request.body) > UNCOUNTED_BYTES:
            self.count()

    async def _wait_for(self, request: SmallRequest, reply: Awaitable[Reply]) -> None:
        found: Reply | Exception
        try:
            found = await reply
        except Exception as error:  # noqa: BLE001 - whatever it is, this request gets an answer
            found = _without_frames(error)
        self._finish(request, found)()

    def _wanted(self, request: SmallRequest) -> bool:
        """Whether anybody waits for the answer, and still in time."""
        if request.disconnected:
            self._record(request, CLIENT_CLOSED, self._observer.request_id(request.headers.items()))
            return False
        if time.perf_counter() > request.deadline:
            seconds = request.deadline - request.started
            sentence = f"The answer was not ready within {seconds:.3g} s."
            self._refuse_late(request, DeadlineExceeded(sentence, limit=seconds))
            return False
        return True

    def _refuse_late(self, request: SmallRequest, error: Exception) -> None:
        """There will be no answer: send the reason."""
        self._finish(request, error)()

    def _finish(self, request: SmallRequest, found: Reply | Exception) -> Callable[[], None]:
        """Count the response to a request, and return what sends it."""
        request_id = self._observer.request_id(request.headers.items())
        if isinstance(found, ServiceError):
            self._observer.shed(found)
        elif isinstance(found, Exception):
            log.error("request %s failed", request_id.decode(), exc_info=found)
        if isinstance(found, Exception):
            found = problems.reply_to(found, request.path.decode(), request_id)
        self._record(request, found.status, request_id)
        if self._drain.begun and not (self.pipeline or self._rest):
            request.keep_alive = False
        defaults = self.server_state.default_headers
        response = writing.response(found, request_id, defaults, keep_alive=request.keep_alive)
        return functools.partial(self._send, request, response)

    def _send(self, request: SmallRequest, response: bytes) -> None:
        """Send the response, and go on with what has come behind the request."""
        request.response_complete = True
        request.body = b""
        if not self.transport.is_closing():
            self.transport.write(response)
            if not request.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def _record(self, request: SmallRequest, status: int, request_id: bytes) -> None:
        client, headers = self.client[0] if self.client else None, request.headers.items()
        template, seconds = self._routes[request.path].template, time.perf_counter() - request.started
        end = self._observer.end
        end(template, "POST", status, seconds, request_id=request_id, peer=client, headers=headers)


def _without_frames(error: Exception) -> Exception:
    """Let go of where a refusal was raised: frames that hold it are a cycle, which waits for the garbage collector."""
    return error.with_traceback(None) if isinstance(error, ServiceError) else error
