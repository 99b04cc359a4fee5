"""uvicorn's HTTP protocol, guarded: no client holds a connection for long, or sends what can be read in two ways.

In: bytes of a connection. Out: requests whose heads are good, started by `begin`; or a problem and the connection's
end. Bodies that an app waits for are its own to time (`service.connection.receive`); heads, silence, answers that
nobody takes and bodies that nobody waits for are timed here. It knows HTTP framing, and neither routes nor pictures.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import math
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any, NamedTuple

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import BadFraming, HeadTooLarge, ServiceError, SlowRequest, TooLarge
from . import framing, problems, writing
from .limits import CONNECTION_BYTES, MAX_KNOWN_HEAD, MIN_BYTES_PER_SECOND, UNCOUNTED_BYTES

if TYPE_CHECKING:
    from asyncio import Transport

    from ..access.origins import AllowedHosts
    from ..errors import Overloaded
    from ..observability.requests import Observer
    from .connections import Connections
    from .start_queue import StartQueue

HEAD_END = b"\r\n\r\n"
CHUNKS = 4096  # bytes of a body in chunks that are read without looking whether a request is whole
PARTS_A_TURN = 512  # parts of a body that are read in one turn: in chunks of one byte each costs a microsecond
HANG_UP_SECONDS = 0.5
HEAD = framing.MAX_HEAD + 8192  # bytes of a head with all that is no name and no value
BYTES_ACKED = slice(120, 128)  # linux/tcp.h: tcpi_bytes_acked in struct tcp_info

log = logging.getLogger("service")


class _Taking(NamedTuple):
    """An answer on its way to a client who has not taken all of it."""

    since: float
    taken: int  # bytes of the connection, then


class _Flow(FlowControl):
    """uvicorn's, which lets no more be read while enough is there."""

    full = False

    def resume_reading(self) -> None:
        if not self.full:
            super().resume_reading()


class Guarded(HttpToolsProtocol):
    """uvicorn's protocol with deadlines and limits, which reads a request when those before it are answered."""

    flow: _Flow
    cost = CONNECTION_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: Connections = self.app_state["connections"]
        self._observer: Observer = self.app_state["observer"]
        self._start_queue: StartQueue = self.app_state["start_queue"]
        self._hosts: AllowedHosts | None = self.app_state.get("hosts")
        self.held = 0  # bytes, as they are counted
        self._rest = b""  # what came, and is not read yet
        self._again = b""  # what was read, and is to be read once more
        self._rest_since = 0.0
        self._unsent = 0  # bytes of answers that the client had not taken when they were written
        self._unsent_since = 0.0
        self._receiving: float | None = None  # since when a request is coming, on the loop's clock
        self._idle = 0.0  # since when none is
        self._in_head = False
        self._body: int | None = 0  # bytes of this request's body that are to come; None: it comes in chunks
        self._size = 0  # bytes of this request, with what came before it in the same piece
        self._head_size = 0  # bytes of its head, or of the last one's
        self._barren = 0  # bytes since the last of a body
        self._parts = 0  # of bodies, in this turn
        self._first = b""  # the piece that it began in, if it is short
        self._piece = 0  # bytes that are being read now
        self._begun = False  # the app has it
        self._running: Any = None  # the request that the app had last
        self._upgrades = False
        self._refused = False
        self._ended = False  # the client sends no more
        self._hanging_up = False  # what it sends is passed over
        self._taking: _Taking | None = None
        self.url = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection is there: there may be too many."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._watch_writing(transport)
        self._idle = self.loop.time()
        try:
            self._connections.enter(self, self._idle)
        except ServiceError as error:
            self._refuse(error)

    def _watch_writing(self, transport: Transport) -> None:
        """Be told of every byte that is not taken at once."""
        transport.set_write_buffer_limits(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._connections.hold(self, 0)
        self._connections.leave(self)
        if self._running is not None:  # uvicorn tells the last of pipelined requests alone
            self._running.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._unset_keepalive_if_required()
        self._rest = self._rest + data if self._rest else data
        self._rest_since = self.loop.time()
        self._read()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, and may still read: keep the connection for its answers, where TLS lets us."""
        self._ended = True
        self._close_if_done()
        return self.scheme == "http"

    def _close_if_done(self) -> None:
        """Close a connection on which nothing more comes, when all that came is answered."""
        if not self._ended or self._rest or self._refused:
            return
        if self._receiving is not None:
            self._refuse(BadFraming("The request breaks off."))
        elif not self._answering():
            self.transport.close()

    def _read(self) -> None:
        """Read what is there, as far as it may be read in this turn of the loop."""
        rest, at, self._parts = self._rest, 0, 0
        while at < len(rest) and not (self._refused or self._whole()):
            if self._parts >= PARTS_A_TURN:
                self._start_queue.enqueue(self._read_in_turn, "")
                break
            piece = rest[at : at + self._size_of_next(rest, at)]
            at += len(piece)
            self._feed(piece)
            if self._again:
                rest, at, self._again = self._again + rest[at:], 0, b""
        self._rest = b"" if self._refused else rest[at:]
        self.flow.full = bool(self._rest)
        if self._rest:
            self.flow.pause_reading()
        self.count()
        if self.held and self._answering():
            self.loop.call_soon(self.count)  # when the app has taken what has come of a body, and counts it itself

    def _whole(self) -> bool:
        """Whether a request is whole, and waits for its turn, its answer, or until those before it are taken."""
        return self._receiving is None and (self.flow.write_paused or self._answering())

    def _size_of_next(self, rest: bytes, at: int) -> int:
        """How many of the bytes that are there may be read before a look at whether a request is whole."""
        if self._receiving is not None and not self._in_head:
            return self._body or CHUNKS
        end = rest.find(HEAD_END, at, at + HEAD)
        return HEAD if end < 0 else end + len(HEAD_END) - at

    def _read_in_turn(self, refusal: Overloaded | None) -> None:
        """Read on, if there is time for it."""
        if refusal is None:
            self.loop.call_soon(self._read_on)
        elif not self.transport.is_closing():
            self._refuse(refusal)

    def _read_on(self) -> None:
        """Read what has been there for a while."""
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.flow.full = False
            self.flow.resume_reading()
            self._read()
            self._close_if_done()

    def _feed(self, piece: bytes) -> None:
        self._piece = len(piece)
        if self._receiving is None:
            self._first = piece[: MAX_KNOWN_HEAD + 1]
        try:
            self.parser.feed_data(piece)
            if self._receiving is not None:
                self._grow()
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(_refusal(error))
        except ServiceError as error:
            self._refuse(error)

    def _grow(self) -> None:
        self._size += self._piece
        if self._in_head:
            self._head_size = self._size
        if self._in_head and self._size > HEAD:
            raise framing.head_too_large()
        self._barren += self._piece
        if self._body is None and self._barren > framing.MAX_HEAD:
            sentence = f"The request has more than {framing.MAX_HEAD:,} bytes that are none of its body's in one place."
            raise HeadTooLarge(sentence, limit=framing.MAX_HEAD)
        if self._size > self._connections.max_message:
            limit = self._connections.max_message
            raise TooLarge(f"The request has more than {limit:,} bytes, which is the limit.", limit=limit)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._receiving = self.loop.time()
        self._in_head = True
        self._begun = False
        self._body = 0
        self._size = self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes after a chunked body is none, and passed over (RFC 9110 section 6.5.1)."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
            if len(self.headers) > framing.MAX_HEADERS:
                raise framing.too_many_headers(len(self.headers))

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or begin a request."""
        self._in_head = False
        self._head_size, self._barren = self._size + self._piece, 0
        by_name, method, version = dict(self.headers), self.parser.get_method(), self.parser.get_http_version()
        if self._size + self._piece > framing.MAX_HEAD:
            framing.check_size(self.url, self.headers)
        framing.check(version, method, self.headers, by_name)
        target = framing.target(self.url, method)
        if target.host is not None or len(by_name) != len(self.headers):
            by_name = framing.joined(self.headers)
            if target.host is not None:  # RFC 9112 section 3.2.2: the header is of no account then
                by_name[b"host"] = target.host
            self.headers[:] = by_name.items()
        self.url = target.url
        if self._hosts is not None:
            self._hosts.check(by_name.get(b"host", b""), self.url)
        if version == "1.0":  # RFC 9110 section 10.1.1
            self.expect_100_continue = False
        self._body = None if b"transfer-encoding" in by_name else int(by_name.get(b"content-length", 0))
        self._upgrades = b"upgrade" in by_name and self.parser.should_upgrade()
        if not self._upgrades:
            self.begin(method, version, by_name)

    def begin(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> None:  # noqa: ARG002 - for who overrides it
        """Begin a request: here, the app does."""
        self.begin_app()

    def begin_app(self) -> None:
        """Let the app have the request."""
        super().on_headers_complete()
        self._begun = True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start the app when it is this request's turn, and tell it since when the request has been coming."""
        cycle.scope["began"] = self.loop.time() if self._receiving is None else self._receiving
        self._running = cycle
        self._start_queue.enqueue(functools.partial(self._start_in_turn, cycle, app), cycle.scope["path"])

    def _start_in_turn(self, cycle: Any, app: Any, refusal: Overloaded | None) -> None:
        if not self.transport.is_closing():
            if refusal is not None:
                cycle.scope["refusal"] = refusal
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._parts += 1
        self._barren = 0
        if self._body is not None:
            self._body -= len(body)
        self.take_body(body)

    def take_body(self, body: bytes) -> None:
        """Take a part of the body: here, for the app."""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._receiving = None
        if not self._upgrades:
            super().on_message_complete()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read a request again as if it did not ask for another protocol: llhttp takes its body for that protocol's."""
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._again = b"\r\n".join([*head, b"", rest])

    def on_response_complete(self) -> None:
        """A request is answered: as uvicorn's, without a timer for each."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._idle = self.loop.time()
        if self.cycle.response_complete and self.cycle.body:
            self.cycle.body = bytearray()
        if self.held:
            self.count()
        if self._receiving is not None and not self.cycle.more_body:  # the next has waited for this one
            self._receiving = self._idle
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._rest:
            self.loop.call_soon(self._read_on)
        else:
            self._close_if_done()

    def pause_writing(self) -> None:
        """Not all of an answer was taken at once; until it is nothing else is written."""
        super().pause_writing()
        self._unsent_since = self.loop.time()
        self._unsent = self._unsent_now()
        self.count()

    def resume_writing(self) -> None:
        """All of it is taken."""
        super().resume_writing()
        self._unsent = 0
        self.count()
        if self._rest:
            self.loop.call_soon(self._read_on)

    def _unsent_now(self) -> int:
        return self.transport.get_write_buffer_size()

    def count(self) -> None:
        """Count what is held; a connection for which there is no room is cut off."""
        held = self._holding()
        if held <= UNCOUNTED_BYTES:
            held = 0
        if held != self.held and not self._connections.hold(self, held) and not self._refused:
            self.let_go(self._connections.full())

    def let_go(self, error: ServiceError) -> None:
        """Drop all that is held: also a request that is whole, where it is not being answered yet."""
        if self._answering() and not (self._unsent or self.pipeline or self.cycle.response_started):
            self._refused, self._rest = True, b""
            self._answer_for_app(error)
        else:
            self.cut_off(error)

    def _holding(self) -> int:
        """Bytes that are held for this connection; of a head they are there in one piece, and in headers."""
        body = 0 if self.cycle is None else len(self.cycle.body)
        return len(self._rest) + 2 * self._head_size + body + self._unsent

    def holding_since(self) -> float:
        """Since when its client makes it hold what it holds, on the loop's clock; infinite where the client does not.

        Who takes answers at the rate that earns more time has just begun.
        """
        if self._unsent:
            return self._unsent_since + (self._unsent - self._unsent_now()) / MIN_BYTES_PER_SECOND
        if self._rest and self._answering():
            return self._rest_since
        return self.waiting_since()

    def waiting_since(self) -> float:
        """Since when it waits for its client, on the loop's clock; infinite where it waits for none."""
        answering = self._answering()
        if self.transport.is_closing():
            return math.inf
        if self._receiving is not None and (not answering or self.cycle.more_body):
            return self._receiving
        return math.inf if answering else self._idle

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def check_timeouts(self, now: float) -> None:
        """Cut it off if its client will be too slow by `now`, when it is checked next."""
        timeout = self._connections.timeout
        if self._hanging_up and not self._holds_answers():
            return
        if self.transport.is_closing() or self._holds_answers():
            taken = _taken(self.transport)
            if self._unsent:
                self._unsent_since += (self._unsent - self._unsent_now()) / MIN_BYTES_PER_SECOND
                self._unsent = self._unsent_now()
                self.count()
            if self._taking is None:  # it may have begun just after the last check
                self._taking = _Taking(now - 2 * self._connections.check_seconds, taken)
            if now > self._taking.since + timeout + (taken - self._taking.taken) / MIN_BYTES_PER_SECOND:
                self._connections.count_slow()
                self._reset()
            return
        self._taking = None
        if self._answering():
            return
        if self._receiving is not None:
            if now > self._receiving + timeout:
                self._connections.count_slow()
                self.cut_off(SlowRequest(f"The request did not arrive within {timeout:g} s.", limit=timeout))
        elif now > self._idle + (timeout if self.cycle is None else self._connections.keep_alive) and not holds(
            self.transport, termios.FIONREAD
        ):
            self.transport.close()

    def cut_off(self, error: ServiceError) -> None:
        """Close a connection that waits for its client, and say why where a request has begun."""
        if self._hanging_up:
            self.transport.close()
        elif self._holds_answers():
            self._reset()
        elif self._receiving is not None or self._answering():
            self._refuse(error)
        elif not self._refused:
            self.transport.close()

    def _holds_answers(self) -> bool:
        """Whether there are answers that the client has not taken, here or in the system."""
        return self.transport.get_write_buffer_size() > 0 or holds(self.transport, termios.TIOCOUTQ)

    def _reset(self) -> None:
        """Close it, and let the system forget what it holds, which it would go on offering to the client."""
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def _refuse(self, error: ServiceError) -> None:
        """Answer what is coming with an error, if no answer is due before it; read no more, and close."""
        self._refused = True
        self._rest = b""
        if self._receiving is None or not self._begun:
            self._observe(error)
        elif self.pipeline:  # the app has it, and has not begun with it
            self.pipeline.popleft()
        elif self.cycle.response_started:
            self.transport.close()
            return
        else:
            self._answer_for_app(error)
            return
        if self._answering():
            (self.pipeline[0][0] if self.pipeline else self.cycle).keep_alive = False
        else:
            self._answer(error)

    def _answer_for_app(self, error: ServiceError) -> None:
        """Answer in place of the app, which hears that the client is gone, and drop what it has not taken."""
        self._answer(error)
        self.cycle.disconnected = True
        self.cycle.body = bytearray()
        self.cycle.message_event.set()

    def _observe(self, error: ServiceError) -> None:
        client, headers = self.client[0] if self.client else None, self.headers or ()
        self._observer.begin()
        request_id = self._request_id()
        self._observer.end("other", "other", error.status, 0.0, request_id=request_id, peer=client, headers=headers)

    def _request_id(self) -> bytes:
        return self._observer.request_id(self.headers or ())

    def _answer(self, error: ServiceError) -> None:
        request_id = self._request_id()
        reply = problems.reply_to(error, self.url.decode("latin-1"), request_id)
        self.transport.write(writing.response(reply, request_id, self.server_state.default_headers, keep_alive=False))
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the connection; one whose client may be sending still, when it has had time to read the answer.

        A connection that is closed over bytes which were not read is reset, and the answer is lost.
        """
        if self._receiving is None or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._hanging_up = True
        self.transport.write_eof()
        self.loop.call_later(HANG_UP_SECONDS, self.transport.close)


def _refusal(error: httptools.HttpParserError) -> ServiceError:
    """What keeps a request from being read, in words."""
    if isinstance(error.__context__, ServiceError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("reading a request failed", exc_info=error)
        return ServiceError(str(problems.FAULT["detail"]))
    return BadFraming(f"This is no HTTP that can be read in one way only: {error}.")


def holds(transport: Transport, queue: int) -> bool:
    """Whether the system holds bytes of this connection: not read yet by us, or not taken yet by the client."""
    count = fcntl.ioctl(transport.get_extra_info("socket").fileno(), queue, bytes(4))
    return struct.unpack("i", count) != (0,)


def _taken(transport: Transport) -> int:
    """Bytes that the client has taken of the connection; 0 where the system does not tell, as outside of Linux."""
    with contextlib.suppress(AttributeError, OSError):
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        return int.from_bytes(info[BYTES_ACKED], sys.byteorder)
    return 0
