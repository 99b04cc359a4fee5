"""Error responses of the connection itself, in place of the app's; then a close that lets the client read them.

In: an error. Out: its response on the connection, unless another response is due before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import problems, writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..access.cors import CrossOrigin
    from ..errors import ServiceError
    from ..observability.requests import Observer

LINGER_SECONDS = 0.5


class Refusing(HttpToolsProtocol):
    """uvicorn's protocol, which can refuse an arriving request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._observer: Observer = self.app_state["observer"]
        self._cross_origin: CrossOrigin | None = self.app_state.get("cross_origin")
        self._rest = b""  # received, and not parsed yet
        self._receiving: float | None = None  # when the arriving request began, on the loop's clock
        self._begun = False  # the app has started with it
        self._running: Any = None  # the cycle of the app's last request
        self._refused = False
        self._lingering = False  # further data is ignored
        self.url = b""

    def _responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Send an error for the arriving request, unless a response is due before it; read no more, and close."""
        self._refused = True
        self._rest = b""
        if self._receiving is None or not self._begun:
            self._observe(error)
        elif self.pipeline:  # it waits behind another request
            self.pipeline.popleft()
        elif self.cycle.response_started:
            self.transport.close()
            return
        else:
            self._respond_for_app(error)
            return
        if self._responding():
            (self.pipeline[0][0] if self.pipeline else self.cycle).keep_alive = False
        else:
            self._respond(error)

    def _respond_for_app(self, error: ServiceError) -> None:
        """Respond in place of the app: for the app, the client has disconnected. Drop the unread body."""
        self._respond(error)
        self.cycle.disconnected = True
        self.cycle.body = bytearray()
        self.cycle.message_event.set()

    def _observe(self, error: ServiceError) -> None:
        client, headers = self.client[0] if self.client else None, self.headers or ()
        record = self._observer.begin(headers)
        request_id, end = self._request_id(), self._observer.end
        end("other", "other", error.status, 0.0, request_id=request_id, peer=client, headers=headers, record=record)

    def _request_id(self) -> bytes:
        return self._observer.request_id(self.headers or ())

    def _respond(self, error: ServiceError) -> None:
        request_id = self._request_id()
        reply = problems.reply_to(error, self.url.decode("latin-1"), request_id)
        defaults = self._default_headers(self.url, self.headers or ())
        self.transport.write(writing.response(reply, request_id, defaults, keep_alive=False))
        self._linger()

    def _default_headers(self, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of every response: uvicorn's, and those by which another origin's page may read it."""
        defaults = self.server_state.default_headers
        return defaults if self._cross_origin is None else [*defaults, *self._cross_origin.headers(url, headers)]

    def _linger(self) -> None:
        """Close the connection; if the client may still be sending, wait until it can have read the response.

        Closing a connection with unread data resets it, and the response is lost.
        """
        if self._receiving is None or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        if self._running is not None:  # whatever the app still sends is for nobody
            self._running.disconnected = True
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
