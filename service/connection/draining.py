"""The end of a connection during shutdown: no request that the client has sent is lost.

In: a connection, and the state of the shutdown. Out: the last response closes the connection, and so does a while
without a request.
"""

from __future__ import annotations

import termios
from typing import TYPE_CHECKING, Any

from .guard import Guarded
from .holding import holds

if TYPE_CHECKING:
    from asyncio import Transport

    from .drain import Drain

IDLE_SECONDS = 0.5  # during shutdown, a connection without a request is closed after this time


class Draining(Guarded):
    """The guarded protocol, with a graceful shutdown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._drain: Drain = self.app_state["drain"]
        self._last: object = None  # the request whose response closes the connection

    def begin_app(self) -> None:
        """Start the app; during shutdown, the connection's last response closes it."""
        previous = self.cycle
        super().begin_app()
        if self._drain.begun:
            if previous is not None and previous is self._last and not previous.response_complete:
                previous.keep_alive = True
            self._close_after(self.cycle)

    def _close_after(self, cycle: Any) -> None:
        """Close the connection with this response, unless another request arrives before it."""
        if cycle.keep_alive:
            cycle.keep_alive = False
            self._last = cycle

    def _read(self) -> None:
        """Read buffered data; a response does not close the connection if more requests follow."""
        super()._read()
        if self._rest and self._must_wait() and self.cycle is self._last and not self.cycle.response_started:
            self.cycle.keep_alive = True

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Close a late connection when it is idle: uvicorn calls `shutdown` only for those that were open before."""
        super().connection_made(transport)
        if self._drain.closing.is_set():
            self._close_when_idle()

    def shutdown(self) -> None:
        """Close the connection when it is idle, or after the response under way."""
        if self.cycle is None or self.cycle.response_complete:
            self._close_when_idle()
        elif not self._rest:
            self._close_after(self.cycle)

    def _close_when_idle(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless unread data has arrived."""
        if not self.transport.is_closing() and (self._rest or holds(self.transport, termios.FIONREAD)):
            self._close_when_idle()
        else:
            super().timeout_keep_alive_handler()
            if self._drain.closing.is_set():
                self.loop.call_later(IDLE_SECONDS, self._abort)

    def _abort(self) -> None:
        """Abort once the client has read its responses: over TLS, closing would wait for the client to close too."""
        if self not in self.connections:
            return
        if holds(self.transport, termios.TIOCOUTQ):
            self.loop.call_later(IDLE_SECONDS, self._abort)
        else:
            self.transport.abort()
