"""Handshakes of TLS, which count among the connections, and wait for their clients no longer than those.

In: new connections. Out: those whose handshake ended well, decrypted. It does not know what is said over them.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # it has no types

from service.errors import ServiceError
from service.protocol import Protocol

if TYPE_CHECKING:
    from asyncio import Transport

    from service.connections import Connections


class Handshake(SSLProtocol):  # type: ignore[misc]
    """A new connection over TLS, one of the open ones until HTTP takes its place there.

    uvicorn's own way, a server with `ssl`, tells of a connection after its handshake only: until then nothing would
    count it, or could cut it off.
    """

    def __init__(self, *, app_state: dict[str, Any], **given: Any) -> None:
        """What uvicorn gives to a protocol."""
        self._connections: Connections = app_state["connections"]
        loop = asyncio.get_running_loop()
        protocol = _Decrypted(self, app_state=app_state, **given)
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
            super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.end()
        super().connection_lost(exc)

    def end(self) -> None:
        """It has ended, well or not."""
        self._connections.leave(self)

    def waiting_since(self) -> float:
        """Since when it waits for its client, on the loop's clock; infinite where it waits no longer."""
        return math.inf if self._below.is_closing() else self._since

    def look(self, now: float) -> None:
        """Cut it off if its client will be too slow by `now`, when it is looked at next."""
        if now > self._since + self._connections.timeout:
            self._connections.count_slow()
            self._below.abort()

    def cut_off(self, _: ServiceError) -> None:
        """Close it, for another; before the handshake has ended nothing can be said."""
        self._below.abort()


class _Decrypted(Protocol):
    """HTTP after a handshake, which ends when this begins."""

    def __init__(self, handshake: Handshake, **given: Any) -> None:
        super().__init__(**given)
        self._handshake = handshake

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._handshake.end()
        super().connection_made(transport)
