"""Handshakes of TLS, which count among the connections, and wait for their clients no longer than those.

In: new connections. Out: those whose handshake ended well, decrypted. It does not know what is said over them.
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
    """A new connection over TLS, one of the open ones until HTTP takes its place there.

    uvicorn's own way, a server with `ssl`, tells of a connection after its handshake only: until then nothing would
    count it, or could cut it off.
    """

    cost = TLS_CONNECTION_BYTES

    def __init__(self, *, app_state: dict[str, Any], **given: Any) -> None:
        """What uvicorn gives to a protocol."""
        self._connections: Connections = app_state["connections"]
        loop = asyncio.get_running_loop()
        protocol = _Decrypted(self, app_state=app_state, **given)
        self._decrypted: _Decrypted | None = None  # while it is connected
        self._paused = False
        super().__init__(loop, protocol, app_state["certificate"].context, None, server_side=True)

    def connection_made(self, transport: Transport) -> None:
        """Begin the handshake, if there are not too many connections."""
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
        """Not all was taken at once: HTTP is told, which looks at what is not encrypted yet alone."""
        super().pause_writing()
        self._paused = True
        if self._decrypted is not None:
            self._decrypted.pause_writing()

    def resume_writing(self) -> None:
        """All was taken, but for what comes after it now."""
        self._paused = False
        super().resume_writing()
        if not self._paused and self._decrypted is not None:
            self._decrypted.resume_writing()

    def unsent(self) -> int:
        """Encrypted bytes that are not taken yet."""
        return self._below.get_write_buffer_size()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.end(None)
        super().connection_lost(exc)

    def end(self, decrypted: _Decrypted | None) -> None:
        """It has ended, well, and this goes on, or not; or what went on has ended, too."""
        self._decrypted = decrypted
        self._connections.leave(self)

    def waiting_since(self) -> float:
        """Since when it waits for its client, on the loop's clock; infinite where it waits no longer."""
        return math.inf if self._below.is_closing() else self._since

    def check_timeouts(self, now: float) -> None:
        """Cut it off if its client will be too slow by `now`, when it is checked next."""
        if now > self._since + self._connections.timeout:
            self._connections.count_slow()
            self._below.abort()

    def cut_off(self, _: ServiceError) -> None:
        """Close it, for another; before the handshake has ended nothing can be said."""
        self._below.abort()


class _Decrypted(FastPath):
    """HTTP after a handshake, which ends when this begins."""

    cost = TLS_CONNECTION_BYTES

    def __init__(self, handshake: Handshake, **given: Any) -> None:
        super().__init__(**given)
        self._handshake = handshake
        self._largest = 0  # bytes that came at once: the buffers of TLS stay as large, and there are several

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._largest = max(self._largest, len(data))
        super().data_received(data)

    def _holding(self) -> int:
        """Bytes that are held for this connection."""
        return super()._holding() + 4 * self._largest

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._handshake.end(self)
        super().connection_made(transport)

    def cut_off(self, error: ServiceError) -> None:
        """Close it, and do not wait for its client to close it too."""
        super().cut_off(error)
        self.loop.call_soon(self.transport.abort)

    def let_go(self, error: ServiceError) -> None:
        """Drop all that is held."""
        super().let_go(error)
        self.loop.call_soon(self.transport.abort)

    def _watch_writing(self, transport: Transport) -> None:
        """The handshake tells, from below: of what lies between, this keeps silent."""
        transport.set_write_buffer_limits(2**30)

    def _unsent_now(self) -> int:
        return super()._unsent_now() + self._handshake.unsent()
