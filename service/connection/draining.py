"""The end of a connection while the service stops: it loses no request that its client has sent.

In: a connection, and whether the service ends. Out: the last answer closes the connection; a quiet one is closed after
a while. It knows HTTP framing, and nothing of what is answered.
"""

from __future__ import annotations

import termios
from typing import TYPE_CHECKING, Any

from .guard import Guarded
from .holding import holds

if TYPE_CHECKING:
    from asyncio import Transport

    from .drain import Drain

QUIET_SECONDS = 0.5  # without a request, after which a connection is closed when the service ends


class Draining(Guarded):
    """The guarded protocol, with an end that loses nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._drain: Drain = self.app_state["drain"]
        self._last: object = None  # the request whose answer closes the connection because the service ends

    def begin_app(self) -> None:
        """Let the app have the request; while the service ends, the last of those on the connection closes it."""
        before = self.cycle
        super().begin_app()
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

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection is there; one of the last is told apart from those that `shutdown` is called for."""
        super().connection_made(transport)
        if self._drain.closing.is_set():
            self._close_when_quiet()

    def shutdown(self) -> None:
        """The service ends: what is coming is still waited for, and what is there is read."""
        if self.cycle is None or self.cycle.response_complete:
            self._close_when_quiet()
        elif not self._rest:
            self._close_after(self.cycle)

    def _close_when_quiet(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(QUIET_SECONDS, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing has come for a while: close the connection, unless something has come that was not read yet."""
        if not self.transport.is_closing() and (self._rest or holds(self.transport, termios.FIONREAD)):
            self._close_when_quiet()
        else:
            super().timeout_keep_alive_handler()
            if self._drain.closing.is_set():
                self.loop.call_later(QUIET_SECONDS, self._abort)

    def _abort(self) -> None:
        """Over TLS a closed connection waits for its client to close it too, who may not read: only for its answers."""
        if self not in self.connections:
            return
        if holds(self.transport, termios.TIOCOUTQ):
            self.loop.call_later(QUIET_SECONDS, self._abort)
        else:
            self.transport.abort()
