"""uvicorn's HTTP protocol, guarded: it reads one request after the other, and refuses ambiguous ones.

In: bytes of a connection. Out: requests with valid heads, started by `begin`; or an error response.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import httptools

from ..errors import BadFraming, HeadTooLarge, ServiceError, TooLarge
from . import framing
from .holding import Holding
from .limits import MAX_KNOWN_HEAD_BYTES
from .problems import FAULT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..access.origins import AllowedHosts
    from ..access.root_path import RootPath
    from ..errors import Overloaded
    from .start_queue import StartQueue

HEAD_END = b"\r\n\r\n"
CHUNKED_READ_BYTES = 4096  # of a chunked body, parsed at once before the end of the request is checked
PARTS_PER_TURN = 512  # body parts parsed in one turn: a chunk of one byte costs a microsecond
MAX_RAW_HEAD_BYTES = framing.MAX_HEAD_BYTES + 8192  # with separators and spaces

log = logging.getLogger("service")


class Guarded(Holding):
    """The protocol with framing limits; it reads a request when the previous ones have their responses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_queue: StartQueue = self.app_state["start_queue"]
        self._hosts: AllowedHosts | None = self.app_state.get("hosts")
        self._root_path: RootPath | None = self.app_state.get("root_path")
        self._reparse = b""  # data to parse once more
        self._in_head = False
        self._body_left: int | None = 0  # bytes of the body still to come; None for a chunked body
        self._size = 0  # bytes of this request, with those before it in the same piece
        self._overhead = 0  # bytes since the last byte of a body
        self._parts = 0  # body parts in this turn
        self._first = b""  # the piece in which the request began, if it is short
        self._piece = 0  # bytes of the piece that is parsed now
        self._upgrades = False
        self._sent = b""  # the request's target as it was sent
        self._eof = False  # the client sends no more

    def data_received(self, data: bytes) -> None:
        """Read data from the connection."""
        self._unset_keepalive_if_required()
        self._rest = self._rest + data if self._rest else data
        self._rest_since = self.loop.time()
        self._read()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection half open for its responses, unless TLS forbids that."""
        self._eof = True
        self._close_if_done()
        return self.scheme == "http"

    def _close_if_done(self) -> None:
        """Close the connection after the client's last request has its response."""
        if not self._eof or self._rest or self._refused:
            return
        if self._receiving is not None:
            self._refuse(BadFraming("The request breaks off."))
        elif not self._responding():
            self.transport.close()

    def _read(self) -> None:
        """Parse buffered data, within the limit of one turn of the loop."""
        rest, at, self._parts = self._rest, 0, 0
        while at < len(rest) and not (self._refused or self._must_wait()):
            if self._parts >= PARTS_PER_TURN:
                self._start_queue.enqueue(self._read_in_turn, "")
                break
            piece = rest[at : at + self._next_size(rest, at)]
            at += len(piece)
            self._feed(piece)
            if self._reparse:
                rest, at, self._reparse = self._reparse + rest[at:], 0, b""
        self._rest = b"" if self._refused else rest[at:]
        self.flow.full = bool(self._rest)
        if self._rest:
            self.flow.pause_reading()
        self.count()
        if self.held and self._responding():
            self.loop.call_soon(self.count)  # after the app has received the body's bytes and counts them itself

    def _must_wait(self) -> bool:
        """Return whether the next request waits until the previous response is written and the client has read it."""
        return self._receiving is None and (self.flow.write_paused or self._responding())

    def _next_size(self, rest: bytes, at: int) -> int:
        """Return how many bytes to parse before the end of the request is checked."""
        if self._receiving is not None and not self._in_head:
            return self._body_left or CHUNKED_READ_BYTES
        end = rest.find(HEAD_END, at, at + MAX_RAW_HEAD_BYTES)
        return MAX_RAW_HEAD_BYTES if end < 0 else end + len(HEAD_END) - at

    def _read_in_turn(self, refusal: Overloaded | None) -> None:
        if refusal is None:
            self.loop.call_soon(self._read_on)
        elif not self.transport.is_closing():
            self._refuse(refusal)

    def _read_on(self) -> None:
        """Continue with buffered data."""
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.flow.full = False
            self.flow.resume_reading()
            self._read()
            self._close_if_done()

    def _feed(self, piece: bytes) -> None:
        self._piece = len(piece)
        if self._receiving is None:
            self._first = piece[: MAX_KNOWN_HEAD_BYTES + 1]
        try:
            self.parser.feed_data(piece)
            if self._receiving is not None:
                self._add_size()
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(_refusal(error))
        except ServiceError as error:
            self._refuse(error)

    def _add_size(self) -> None:
        self._size += self._piece
        if self._in_head:
            self._head_size = self._size
        if self._in_head and self._size > MAX_RAW_HEAD_BYTES:
            raise framing.head_too_large()
        self._overhead += self._piece
        limit = framing.MAX_HEAD_BYTES
        if self._body_left is None and self._overhead > limit:
            raise HeadTooLarge(f"A chunk extension or the trailers have more than {limit:,} bytes.", limit=limit)
        if self._size > self._connections.max_message:
            limit = self._connections.max_message
            raise TooLarge(f"The request has more than {limit:,} bytes, which is the limit.", limit=limit)

    def on_message_begin(self) -> None:
        """Begin to parse a request, at its first byte."""
        super().on_message_begin()
        self._receiving = self.loop.time()
        self._in_head = True
        self._begun = False
        self._body_left = 0
        self._size = self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers of a chunked body are ignored (RFC 9110 section 6.5.1)."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
            if len(self.headers) > framing.MAX_HEADERS:
                raise framing.too_many_headers(len(self.headers))

    def on_headers_complete(self) -> None:
        """Check the complete head, and begin the request."""
        self._in_head = False
        self._head_size, self._overhead = self._size + self._piece, 0
        by_name, method, version = dict(self.headers), self.parser.get_method(), self.parser.get_http_version()
        if self._size + self._piece > framing.MAX_HEAD_BYTES:
            framing.check_size(self.url, self.headers)
        framing.check(version, method, self.headers, by_name)
        target = framing.target(self.url, method)
        if target.host is not None or len(by_name) != len(self.headers):
            by_name = framing.join(self.headers)
            if target.host is not None:  # it overrides the header (RFC 9112 section 3.2.2)
                by_name[b"host"] = target.host
            self.headers[:] = by_name.items()
        self._sent, self.url = self.url, target.url
        if self._root_path is not None:
            self._remove_root_path(self._root_path, by_name)
        if self._hosts is not None:
            self._hosts.check(by_name.get(b"host", b""), self.url)
        if version == "1.0":  # RFC 9110 section 10.1.1
            self.expect_100_continue = False
        self._body_left = None if b"transfer-encoding" in by_name else int(by_name.get(b"content-length", 0))
        self._upgrades = b"upgrade" in by_name and self.parser.should_upgrade()
        if not self._upgrades:
            self.begin(method, version, by_name)

    def _remove_root_path(self, root_path: RootPath, headers: Mapping[bytes, bytes]) -> None:
        """Remove a proxy's path from the target.

        The scope gets the path as `root`. Its `bare` is true if the target is the path without a slash at the end,
        against which a page's relative URLs would be wrong.
        """
        peer = self.client[0] if self.client else None
        self.url, path = root_path.split(self.url, headers.get(b"x-forwarded-prefix"), peer)
        bare = self.url.partition(b"?")[0] == b"/" and not self._sent.partition(b"?")[0].endswith(b"/")
        self.scope |= {"root": path, "bare": bare}  # type: ignore[misc]  # members of our own

    def begin(self, method: bytes, version: str, headers: dict[bytes, bytes]) -> None:  # noqa: ARG002 - for subclasses
        """Begin a request in the app."""
        self.begin_app()

    def begin_app(self) -> None:
        """Start the app with the request."""
        super().on_headers_complete()
        self._begun = True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start the app when it is this request's turn; the scope gets the time of the request's first byte."""
        cycle.default_headers = self._default_headers(cycle.scope["raw_path"], cycle.scope["headers"])
        cycle.scope["began"] = self.loop.time() if self._receiving is None else self._receiving
        self._running = cycle
        self._start_queue.enqueue(functools.partial(self._start_in_turn, cycle, app), cycle.scope["path"])

    def _start_in_turn(self, cycle: Any, app: Any, refusal: Overloaded | None) -> None:
        if not self.transport.is_closing():
            if refusal is not None:
                cycle.scope["refusal"] = refusal
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Count a part of the body, and pass it on."""
        self._parts += 1
        self._overhead = 0
        if self._body_left is not None:
            self._body_left -= len(body)
        self.add_body(body)

    def add_body(self, body: bytes) -> None:
        """Pass a part of the body to the app."""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a complete request."""
        self._receiving = None
        if not self._upgrades:
            super().on_message_complete()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its Upgrade header: llhttp would treat the body as data of that protocol."""
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self._sent, version)]
        head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._reparse = b"\r\n".join([*head, b"", rest])

    def on_response_complete(self) -> None:
        """Continue after a response, as uvicorn does, but without a timer for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._idle = self.loop.time()
        if self.cycle.response_complete and self.cycle.body:
            self.cycle.body = bytearray()
        if self.held:
            self.count()
        if self._receiving is not None and not self.cycle.more_body:  # the next request has waited for this one
            self._receiving = self._idle
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._rest:
            self.loop.call_soon(self._read_on)
        else:
            self._close_if_done()

    def resume_writing(self) -> None:
        """Continue to read after the client has read a response."""
        super().resume_writing()
        if self._rest:
            self.loop.call_soon(self._read_on)


def _refusal(error: httptools.HttpParserError) -> ServiceError:
    """Return the error for a request that the parser rejects."""
    if isinstance(error.__context__, ServiceError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("reading a request failed", exc_info=error)
        return ServiceError(str(FAULT["detail"]))
    return BadFraming(f"The request is not valid HTTP/1.1, or it is ambiguous: {error}.")
