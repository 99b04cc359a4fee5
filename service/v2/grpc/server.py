"""The gRPC server of one worker: opened and closed with the app, in its event loop.

In: the app's parts. Out: a port that accepts connections until the drain refuses new ones, or the context ends;
accepted calls finish first. Workers share the port (SO_REUSEPORT), which `service.process.start` reserves for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc

from . import limits
from .calls import SERVICE, Calls
from .credentials import credentials
from .health import Health
from .limits import Limits
from .methods import Methods
from .requests import Requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ...access.authorisation import Access
    from ...connection.body_budget import BodyBudget
    from ...connection.drain import Drain
    from ...inference.engine import Engine
    from ...observability.metrics import Metrics
    from ...observability.requests import Observer
    from ...settings import Settings
    from ...versions.manager import VersionManager

IDLE_SECONDS = 300  # a connection without calls is closed after this time; its client opens a new one
PENDING_CALLS = 1024  # accepted by core, and not handled yet


@contextlib.asynccontextmanager
async def serving(
    *,
    settings: Settings,
    models: VersionManager,
    engine: Engine,
    observer: Observer,
    access: Access | None,
    metrics: Metrics,
    bodies: BodyBudget,
    drain: Drain,
    unready: Callable[[], str | None],
) -> AsyncIterator[None]:
    """Serve inference and health at `settings.grpc_port` while the context is open."""
    allowed = Limits(settings, bodies, metrics)
    methods = Methods(engine, models, settings, metrics, unready)
    requests = Requests(observer, access, metrics, allowed.departures)
    calls = Calls(methods, observer, requests, allowed)
    health = Health({"", SERVICE.full_name}, unready, drain.closing, allowed)
    server = grpc.aio.server(options=_options(settings, allowed))
    server.add_generic_rpc_handlers([calls.handler(), health.handler()])
    _listen(server, settings)
    await server.start()

    # No response takes longer than `timeout_seconds`: calls that are still open then wait for their clients.
    grace = min(max(0, settings.shutdown_seconds - settings.drain_seconds), settings.timeout_seconds)

    async def end() -> None:
        await drain.closing.wait()
        # Connections that gRPC has not accepted when it stops would be reset. Connections that are refused now are
        # retried by their clients after this socket is closed, and reach other workers.
        allowed.sockets.refuse()
        async with requests.held():
            stopped = asyncio.create_task(server.stop(grace))
            await asyncio.sleep(0)  # gRPC notifies the clients before they get their responses
            calls.end()
        await stopped

    ending = asyncio.create_task(end())
    async with health.following(), allowed.departures.watching():
        yield
        drain.closing.set()
        await ending


def _options(settings: Settings, allowed: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.per_message_decompression", 0),  # `service.codec.compression` decompresses
        ("grpc.http2.bdp_probe", 0),  # it would grow the window for data that is not read
        ("grpc.max_concurrent_streams", limits.CALLS_PER_CONNECTION),
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
        ("grpc.max_allowed_incoming_connections", allowed.max_connections),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ("grpc.server_handshake_timeout_ms", round(settings.timeout_seconds * 1000)),
    ]


def _listen(server: grpc.aio.Server, settings: Settings) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    tls = credentials(settings)
    if tls is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, tls)
