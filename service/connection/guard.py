"""uvicorn's HTTP protocol, guarded: it reads one request after the other, and none that can be read in two ways.

In: bytes of a connection. Out: requests whose heads are good, started by `begin`; or a refusal. It knows HTTP framing,
and neither routes nor pictures.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import httptools

from ..errors import BadFraming, HeadTooLarge, ServiceError, TooLarge
from . import framing
from .holding import Holding
from .limits import MAX_KNOWN_HEAD
from .problems import FAULT

if TYPE_CHECKING:
    from ..access.origins import AllowedHosts
    from ..errors import Overloaded
    from .start_queue import StartQueue

HEAD_END = b"\r\n\r\n"
CHUNKS = 4096  # bytes of a body in chunks that are read without looking whether a request is whole
PARTS_A_TURN = 512  # parts of a body that are read in one turn: in chunks of one byte each costs a microsecond
HEAD = framing.MAX_HEAD + 8192  # bytes of a head with all that is no name and no value

log = logging.getLogger("service")


class Guarded(Holding):
    """The protocol with limits of framing, which reads a request when those before it are answered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_queue: StartQueue = self.app_state["start_queue"]
        self._hosts: AllowedHosts | None = self.app_state.get("hosts")
        self._again = b""  # what was read, and is to be read once more
        self._in_head = False
        self._body: int | None = 0  # bytes of this request's body that are to come; None: it comes in chunks
        self._size = 0  # bytes of this request, with what came before it in the same piece
        self._barren = 0  # bytes since the last of a body
        self._parts = 0  # of bodies, in this turn
        self._first = b""  # the piece that it began in, if it is short
        self._piece = 0  # bytes that are being read now
        self._upgrades = False
        self._ended = False  # the client sends no more

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

    def resume_writing(self) -> None:
        """All of an answer is taken: read on."""
        super().resume_writing()
        if self._rest:
            self.loop.call_soon(self._read_on)


def _refusal(error: httptools.HttpParserError) -> ServiceError:
    """What keeps a request from being read, in words."""
    if isinstance(error.__context__, ServiceError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("reading a request failed", exc_info=error)
        return ServiceError(str(FAULT["detail"]))
    return BadFraming(f"This is no HTTP that can be read in one way only: {error}.")
