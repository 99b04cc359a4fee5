"""TLS handshakes, which count as connections and have the same timeouts.

In: new connections. Out: decrypted connections, after a successful handshake.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # it has no types

from ..errors import ServiceError
from .fast_path import FastPath
from .limits import TLS_CONNECTION_BYTES

if TYPE_CHECKING:
    from asyncio import Transport

    from .connections import Connections


class Handshake(SSLProtocol):  # type: ignore[misc]
    """A new TLS connection, which counts as open until the HTTP connection replaces it.

    A uvicorn server with `ssl` reports a connection only after its handshake; until then nothing could count it or cut
    it off.
    """

    cost = TLS_CONNECTION_BYTES

    def __init__(self, *, app_state: dict[str, Any], **given: Any) -> None:
        self._connections: Connections = app_state["connections"]
        loop = asyncio.get_running_loop()
        protocol = _Decrypted(self, app_state=app_state, **given)
        self._decrypted: _Decrypted | None = None  # set while HTTP is connected
        self._paused = False
        super().__init__(loop, protocol, app_state["certificate"].context, None, server_side=True)

    def connection_made(self, transport: Transport) -> None:
        """Begin the handshake, unless there are too many connections."""
        self._below = transport
        self._since = asyncio.get_running_loop().time()
        try:
            self._connections.enter(self, self._since)
        except ServiceError:
            transport.abort()
        else:
            transport.set_write_buffer_limits(0)
            super().connection_made(transport)

    def pause_writing(self) -> None:
        """Pause HTTP too: by itself it sees only the buffer of data that is not encrypted yet."""
        super().pause_writing()
        self._paused = True
        if self._decrypted is not None:
            self._decrypted.pause_writing()

    def resume_writing(self) -> None:
        """Resume HTTP too, unless TLS writes more at once."""
        self._paused = False
        super().resume_writing()
        if not self._paused and self._decrypted is not None:
            self._decrypted.resume_writing()

    def unsent(self) -> int:
        """Return the encrypted bytes that the system has not accepted yet."""
        return self._below.get_write_buffer_size()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the handshake, or the connection after it."""
        self.end(None)
        super().connection_lost(exc)

    def end(self, decrypted: _Decrypted | None) -> None:
        """End the handshake; `decrypted` replaces it, or None if the connection is lost."""
        self._decrypted = decrypted
        self._connections.leave(self)

    def waiting_since(self) -> float:
        """Return when the handshake began, on the loop's clock; infinite if the connection is closing."""
        return math.inf if self._below.is_closing() else self._since

    def check_timeouts(self, now: float) -> None:
        """Cut the handshake off if its client is too slow at `now`, the time of the next check."""
        if now > self._since + self._connections.timeout:
            self._connections.count_slow()
            self._below.abort()

    def cut_off(self, _: ServiceError) -> None:
        """Close the connection without an error: before the end of the handshake none can be sent."""
        self._below.abort()


class _Decrypted(FastPath):
    """HTTP over TLS, after the handshake."""

    cost = TLS_CONNECTION_BYTES

    def __init__(self, handshake: Handshake, **given: Any) -> None:
        super().__init__(**given)
        self._handshake = handshake
        self._largest = 0  # bytes of the largest piece: several buffers of TLS keep that size

    def data_received(self, data: bytes) -> None:
        """Read decrypted data."""
        self._largest = max(self._largest, len(data))
        super().data_received(data)

    def _held_bytes(self) -> int:
        return super()._held_bytes() + 4 * self._largest

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._handshake.end(self)
        super().connection_made(transport)

    def cut_off(self, error: ServiceError) -> None:
        """Close the connection, without waiting for the client to close it too."""
        super().cut_off(error)
        self.loop.call_soon(self.transport.abort)

    def let_go(self, error: ServiceError) -> None:
        """Drop all held bytes."""
        super().let_go(error)
        self.loop.call_soon(self.transport.abort)

    def _watch_writing(self, transport: Transport) -> None:
        """Disable this layer's own limit: the handshake pauses HTTP by the buffer of encrypted data."""
        transport.set_write_buffer_limits(2**30)

    def _unsent_now(self) -> int:
        return super()._unsent_now() + self._handshake.unsent()
