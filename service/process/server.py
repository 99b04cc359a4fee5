"""uvicorn's server, as every process of the service runs it.

In: an app, and the bound sockets. Out: HTTP until a signal comes, then the exit code. It knows no other worker, and
no route.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from ..api.metrics_port import MetricsProtocol
from ..connection.drain import LAST_SECONDS
from ..connection.fast_path import FastPath
from ..connection.handshake import Handshake
from . import ports
from .accept import Acceptor
from .connection_counts import ConnectionCounts

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable
    from types import FrameType

    from fastapi import FastAPI

    from ..settings import Settings
    from .watchdog import Watchdog

ROUND_SECONDS = 0.3  # that uvicorn takes in addition to what it waits for


class Server(uvicorn.Server):
    """uvicorn's server, with our own acceptor, and a watchdog that ends its process in time."""

    def __init__(
        self,
        settings: Settings,
        app: FastAPI,
        counts: ConnectionCounts,
        watchdog: Watchdog,
        on_serving: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_serving` is called when this process accepts connections."""
        super().__init__(_config(settings, app))
        self._counts = counts
        self._watchdog = watchdog
        self._on_serving = on_serving

    def run_to_end(self, listeners: list[socket.socket]) -> int:
        """Serve until a signal comes; 0, or STARTUP_FAILURE where the app could not start. Raises `PortRefused`."""
        try:
            self.run(listeners)
        except SystemExit:
            return STARTUP_FAILURE
        return 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes."""
        async with self._watchdog.watching():
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, then listen and accept connections on the service's port, and on the metrics' port."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        assert sockets
        try:
            ports.listen(sockets)
        except ports.PortRefused:
            await self.lifespan.shutdown()
            raise
        listener, *others = sockets
        state = self.lifespan.state
        protocol_class = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        self.servers = [self._acceptor(listener, protocol_class, self._counts, state)]  # type: ignore[list-item]
        for metrics_port in others:
            acceptor = self._acceptor(metrics_port, MetricsProtocol, ConnectionCounts(1), state["metrics_port"])
            self.servers.append(acceptor)  # type: ignore[arg-type]
        self.started = True
        self._watchdog.ready()
        self._on_serving()

    def _acceptor(
        self,
        listener: socket.socket,
        protocol_class: Callable[..., asyncio.Protocol],
        counts: ConnectionCounts,
        state: dict[str, Any],
    ) -> Acceptor:
        protocol = functools.partial(
            protocol_class, config=self.config, server_state=self.server_state, app_state=state
        )
        return Acceptor(listener, protocol, counts, state["connections"], state["drain"])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown: a signal came, or the drain after it is over."""
        self._watchdog.end_in_time()
        super().handle_exit(sig, frame)


def _config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    # Connections that are open then are cut off, with some time left to close what the app has opened.
    margin = min(1.0, settings.shutdown_seconds / 5) + LAST_SECONDS + ROUND_SECONDS
    return uvicorn.Config(
        app,
        http=FastPath if settings.tls_cert_file is None else Handshake,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=False,  # `service.access.proxies` reads them, on both paths
        server_header=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=max(0.0, settings.shutdown_seconds - settings.drain_seconds - margin),  # type: ignore[arg-type]
    )
