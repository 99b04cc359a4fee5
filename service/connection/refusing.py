"""Refusals: a connection is answered in place of the app, and closed so that its client can read the answer.

In: an error. Out: its reply on the connection, where no other answer is due before it. It knows no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import problems, writing

if TYPE_CHECKING:
    from ..errors import ServiceError
    from ..observability.requests import Observer

HANG_UP_SECONDS = 0.5


class Refusing(HttpToolsProtocol):
    """uvicorn's protocol, which can refuse what is coming."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._observer: Observer = self.app_state["observer"]
        self._rest = b""  # what came, and is not read yet
        self._receiving: float | None = None  # since when a request is coming, on the loop's clock
        self._begun = False  # the app has it
        self._refused = False
        self._hanging_up = False  # what the client sends is passed over
        self.url = b""

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

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
