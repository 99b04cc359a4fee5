"""The fast path: small requests, answered inside uvicorn's own protocol without scope, task or ASGI messages.

In: what uvicorn's httptools protocol gets from a connection. Out: the same answers, for a third of the CPU time. What
is not small and plain (big pictures, queries, HTTP/1.0, bodies that take their time), and whatever would end in
an error, goes the normal way to the app with all of its body: so there is one place that refuses. Only what is refused
to protect the others is refused here, where it costs least. A head that comes again on its connection, byte by byte, is
not parsed again. It knows HTTP framing, and nothing of pictures.
"""

from __future__ import annotations

import functools
import logging
import math
import termios
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..codec import v2_json
from ..errors import DeadlineExceeded, Forbidden, Overloaded, RateLimited, ServiceError, Unauthorized
from ..inference.admission import TIMEOUT
from ..inference.engine import in_time
from ..system.spool import Spool
from . import problems
from .connections import FREE
from .guard import MAX_KNOWN, Guarded, holds

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport
    from collections.abc import Callable, Iterable

    from ..access.authorisation import Access
    from ..inference.engine import Predictor, Small
    from ..inference.results import Answers
    from ..observability.metrics import Metrics
    from ..observability.requests import Observer
    from .drain import Drain

PATIENCE = 0.05  # seconds for the rest of a body; then the normal way has it
MAX_BODY = 65_536  # bytes: 64 pictures of 784; what is larger gains nothing here
FRAMING = frozenset({b"transfer-encoding", b"expect", b"content-encoding", b"upgrade"})  # left to the normal way
JSON = b"content-type: application/json\r\n"
BINARY = b"content-type: application/octet-stream\r\n%b: %%d\r\n" % v2_json.HEADER_LENGTH.lower().encode()
TIMEOUT_BYTES = TIMEOUT.lower().encode()
CLOSED = 499  # as nginx counts requests whose client has gone
# Refused here: what the app would say is known, and costs more there.
REFUSED = (Overloaded, DeadlineExceeded, Unauthorized, Forbidden, RateLimited)
INFERENCE = "/v2/models/{model}/infer"
QUIET = 0.5  # seconds without a request after which a connection is closed when the service ends

log = logging.getLogger("service")


class FastPath:
    """What the protocol needs of the app; the lifespan hands it over in its state."""

    def __init__(self, predictor: Predictor, observer: Observer, access: Access | None, watched: Metrics) -> None:
        self.predictor = predictor
        self.admission = predictor.admission
        self.rollout = predictor.rollout
        self.observer = observer
        self.access = access
        self.watched = watched
        # By path: the route's template, and what prepares a request.
        self.routes = {b"/predict": ("/predict", predictor.small_answer)}

    def take(self, model: str) -> None:
        """Answer inferences of this model too: its name is known when its first version is loaded."""
        self.routes[INFERENCE.format(model=model).encode()] = (INFERENCE, self.predictor.small_infer)


class _InFlight:
    """A request on the fast path, in the place of uvicorn's cycle: later requests of the connection wait for it."""

    def __init__(self, path: bytes, headers: dict[bytes, bytes], body: bytes = b"") -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.started = time.perf_counter()
        self.deadline = math.inf
        self.keep_alive = True
        self.more_body = False
        self.response_started = False
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> _InFlight:
        """What uvicorn wakes a cycle by. Kept, it would leave each request and its body to the garbage collector."""
        return self

    def set(self) -> None:
        """Nothing waits for this event."""


class _Known(NamedTuple):
    """A request that was answered here: clients send its head again and again, with other bodies of its length."""

    head: bytes
    size: int  # with its body
    path: bytes
    headers: dict[bytes, bytes]


class Protocol(Guarded):
    """The guarded protocol, with the fast path before the app, and an end that loses nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fast: FastPath | None = self.app_state.get("fast_path")
        self._drain: Drain = self.app_state["drain"]
        self._known: _Known | None = None  # the last one
        self._coming: _InFlight | None = None  # its head is here, its body not yet
        self._patience: TimerHandle | None = None
        self._let_in = False  # the request that is coming has been let in, with its token, and is not to pay twice
        self._last: object = None  # whose answer closes the connection because the service ends

    def begin(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> None:
        """Begin a request: on the fast path if it fits there, and has not been given up there before."""
        if not self._let_in and self._fits(method, version, headers):
            self._coming = _InFlight(self.url, headers)
        else:
            self._start()

    def _start(self) -> None:
        """Start a request on the normal way; while the service ends, the last of those on the connection closes it."""
        before = self.cycle
        self.scope["let_in"], self._let_in = self._let_in, False  # type: ignore[typeddict-unknown-key]
        self.begin_app()
        if self._drain.begun:
            if before is not None and before is self._last and not before.response_complete:
                before.keep_alive = True
            self._close_after(self.cycle)

    def _close_after(self, cycle: Any) -> None:
        """Close the connection with this answer, unless another request comes before it is given."""
        if cycle.keep_alive:
            cycle.keep_alive = False
            self._last = cycle

    def _read(self) -> None:
        """Read what is there; what is answered does not close the connection where other requests are behind it."""
        super()._read()
        if self._rest and self._whole() and self.cycle is self._last and not self.cycle.response_started:
            self.cycle.keep_alive = True

    def _fits(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> bool:
        if self._fast is None or self.url not in self._fast.routes or method != b"POST":
            return False
        if version != "1.1" or self.expect_100_continue or not self.parser.should_keep_alive():
            return False
        if not FRAMING.isdisjoint(headers):
            return False
        assert self._body is not None  # a body in chunks is left to the normal way
        return self._body <= MAX_BODY and self._free(self.headers)

    def _free(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request can be answered now, for whoever sends these headers."""
        assert self._fast
        if self._answering() or self.flow.write_paused:
            return False
        return self._fast.access is None or self._fast.access.fits(headers, "infer")

    def _knows(self, data: bytes) -> bool:
        """Whether this is one request, whole, whose head is the last one's: it would be parsed as that was."""
        known = self._known
        if known is None or len(data) != known.size or not data.startswith(known.head):
            return False
        between = self._receiving is None and not (self._rest or self._refused or self.transport.is_closing())
        return between and self._free(known.headers.items())

    def _learn(self, request: _InFlight) -> None:
        """Know this request's head, if its head and its body came in one piece each, and no header twice."""
        apart = self._size == len(self._first) and self._piece == len(request.body)
        if apart and self._size <= MAX_KNOWN and len(self.headers) == len(request.headers):
            size = self._size + self._piece
            self._known = _Known(self._first, size, request.path, request.headers)

    def _holding(self) -> int:
        """Bytes that are held for this connection."""
        return super()._holding() + (0 if self._coming is None else len(self._coming.body))

    def take_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._coming is None:
            super().take_body(body)
        else:
            self._coming.body += body
            if len(self._coming.body) > MAX_BODY:
                self._hand_over(self._coming)

    def on_message_complete(self) -> None:
        """The request is whole: answer it."""
        request = self._coming
        if request is not None:
            self._receiving = None
            if self._takes(request):
                self._learn(request)
                return
            self._hand_over(request)
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection; many clients send the body apart, and it is waited for a little."""
        if self._knows(data):
            assert self._known
            request = _InFlight(self._known.path, self._known.headers, data[len(self._known.head) :])
            if self._takes(request):
                self._unset_keepalive_if_required()
                return
        super().data_received(data)
        if self._coming is not None and self._patience is None:
            self._patience = self.loop.call_later(PATIENCE, self._lose_patience, self._coming)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it whatever was coming."""
        self._settle()
        super().connection_lost(exc)

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection is there; one of the last is told apart from those that `shutdown` is called for."""
        super().connection_made(transport)
        if self._drain.closing.is_set():
            self._close_when_quiet()

    def shutdown(self) -> None:
        """The service ends: what is coming is still waited for, on the normal way, and what is there is read."""
        if self._coming is not None:
            self._hand_over(self._coming)
        if self.cycle is None or self.cycle.response_complete:
            self._close_when_quiet()
        elif not self._rest:
            self._close_after(self.cycle)

    def _close_when_quiet(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(QUIET, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing has come for a while: close the connection, unless something has come that was not read yet."""
        if not self.transport.is_closing() and (self._rest or holds(self.transport, termios.FIONREAD)):
            self._close_when_quiet()
        else:
            super().timeout_keep_alive_handler()
            if self._drain.closing.is_set():
                self.loop.call_later(QUIET, self._abort)

    def _abort(self) -> None:
        """Over TLS a closed connection waits for its client to close it too, who may not read: only for its answers."""
        if self not in self.connections:
            return
        if holds(self.transport, termios.TIOCOUTQ):
            self.loop.call_later(QUIET, self._abort)
        else:
            self.transport.abort()

    def _settle(self) -> None:
        """Nothing is waited for any more."""
        self._coming = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self, request: _InFlight) -> None:
        """Hand over a request whose body does not come; where it only was not read yet, the loop was busy."""
        if not self.transport.is_closing() and holds(self.transport, termios.FIONREAD):
            self._patience = self.loop.call_later(PATIENCE, self._lose_patience, request)
        else:
            self._hand_over(request)

    def _hand_over(self, request: _InFlight) -> None:
        """Let the app have a request whose end has not come yet: it has deadlines, limits and words for it."""
        self._settle()
        if self.transport.is_closing():
            return
        self._start()
        if request.body:
            super().take_body(request.body)

    def _takes(self, request: _InFlight) -> bool:
        """Take a request that is whole, if it is for here; what would end in an error is for the app."""
        assert self._fast
        _, prepare = self._fast.routes[request.path]
        try:
            if self._fast.access is not None:  # before anything is read: so a rate saves the work
                self._fast.access.admit(request.headers.items(), "infer")
            self._let_in = True
            self._admit(request, large=False)
            small = prepare(request.headers, request.body)
            if small is None:
                self._admit(request, large=True)
            elif len(request.body) > FREE and not self._connections.has_room(len(request.body)):
                raise self._connections.full()
            else:
                wanted = functools.partial(self._wanted, request)
                self._fast.rollout.submit(small, functools.partial(self._end, request), wanted)
        except REFUSED as error:
            self._take(request)
            # Later, as all answers: so that requests behind it on the connection are known when it is written.
            self.loop.call_soon(self._refuse_late, request, error)
            return True
        except Exception:  # noqa: BLE001 - whatever it is, it comes again where the app answers it
            small = None
        if small is not None:
            self._take(request)
            if len(request.body) > FREE:
                self.count()
        return small is not None

    def _admit(self, request: _InFlight, *, large: bool) -> None:
        assert self._fast
        timeout = request.headers.get(TIMEOUT_BYTES)
        text = None if timeout is None else timeout.decode("latin-1")
        request.deadline = time.perf_counter() + self._fast.admission.admit(text, request.started, large=large)

    def _take(self, request: _InFlight) -> None:
        """This request is answered here."""
        assert self._fast
        self._settle()
        self._let_in = False
        self.cycle = request  # type: ignore[assignment]  # it has all of a cycle that uvicorn asks for
        self._fast.observer.begin()

    def _wanted(self, request: _InFlight) -> bool:
        """Whether anybody waits for the answer, and still in time."""
        if request.disconnected and self._fast:
            self._record(request, CLOSED, self._fast.observer.request_id(request.headers.items()))
            return False
        if time.perf_counter() > request.deadline:
            seconds = request.deadline - request.started
            sentence = f"The answer was not ready within {seconds:.3g} s."
            self._refuse_late(request, DeadlineExceeded(sentence, limit=seconds))
            return False
        return True

    def _record(self, request: _InFlight, status: int, request_id: bytes) -> None:
        assert self._fast
        client, headers = self.client[0] if self.client else None, request.headers.items()
        route, _ = self._fast.routes[request.path]
        seconds = time.perf_counter() - request.started
        end = self._fast.observer.end
        end(route, "POST", status, seconds, request_id=request_id, client=client, headers=headers)

    def _end(self, request: _InFlight, small: Small, found: Answers | Exception) -> Callable[[], None] | None:
        """The model has answered: what sends the response; None if there is more to do before."""
        answer: tuple[bytes, int | None] | Exception | None
        try:
            answer = found if isinstance(found, Exception) else small.answer(small.chosen.classifier, found)
        except Exception as error:  # noqa: BLE001 - whatever it is, this request gets an answer
            answer = error
        if answer is not None:
            return functools.partial(self._send, request, self._response(request, answer))
        task = self.loop.create_task(self._end_later(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return None

    async def _end_later(self, request: _InFlight) -> None:
        """Pictures only seemed to be in MNIST's form: have them prepared as the app does, and send the response."""
        assert self._fast
        content_type = request.headers.get(b"content-type", b"").decode("latin-1")
        body = Spool(request.body)
        work = self._fast.predictor.answer(content_type, body, headers=request.headers.items())
        answer: tuple[bytes, None] | Exception
        try:
            answer = await in_time(work, request.deadline - time.perf_counter()), None
        except Exception as error:  # noqa: BLE001 - whatever it is, this request gets an answer
            answer = error
        self._send(request, self._response(request, answer))

    def _refuse_late(self, request: _InFlight, error: ServiceError) -> None:
        """There will be no answer: send the reason."""
        self._send(request, self._response(request, error))

    def _response(self, request: _InFlight, answer: tuple[bytes, int | None] | Exception) -> bytes:
        """The response to a request, which is counted now."""
        assert self._fast
        request_id = self._fast.observer.request_id(request.headers.items())
        if isinstance(answer, ServiceError):
            self._fast.watched.count_shed(answer)
            status, lines, content = _problem(request, answer.members(), request_id, problems.headers_of(answer))
        elif isinstance(answer, Exception):
            log.error("request %s failed", request_id.decode(), exc_info=answer)
            status, lines, content = _problem(request, problems.FAULT, request_id, {})
        else:
            content, length = answer
            status, lines = 200, JSON if length is None else BINARY % length
        self._record(request, status, request_id)
        if self._drain.begun and not (self.pipeline or self._rest):
            request.keep_alive = False
        return self._head(request, status, lines, len(content), request_id) + content

    def _send(self, request: _InFlight, response: bytes) -> None:
        """Send the response, and go on with what has come behind the request."""
        request.response_complete = True
        request.body = b""
        if not self.transport.is_closing():
            self.transport.write(response)
            if not request.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def _head(self, request: _InFlight, status: int, lines: bytes, size: int, request_id: bytes) -> bytes:
        headers = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        close = b"" if request.keep_alive else b"connection: close\r\n"
        return b"%bcontent-length: %d\r\n%bx-request-id: %b\r\n%b%b\r\n" % (
            STATUS_LINE[status],
            size,
            lines,
            request_id,
            headers,
            close,
        )


def _problem(
    request: _InFlight, problem: dict[str, Any], request_id: bytes, headers: dict[str, str]
) -> tuple[int, bytes, bytes]:
    """Status, header lines and body of a problem."""
    kind, content = problems.encoded(problem, request.path.decode(), request_id)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"content-type": kind, **headers}.items())
    return problem["status"], lines.encode(), content
