"""The gRPC server of one worker: opened and closed with the app, in its event loop.

In: what the app has. Out: the port, answered until the drain lets no more connections in, or the block ends; what was
accepted by then is answered first. All workers listen on one port (SO_REUSEPORT), which `service.__main__` keeps for
them. It knows no method.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from service.drain import refuse_connections
from service.grpc import health
from service.grpc.calls import SERVICE, Calls
from service.grpc.methods import Methods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.access import Access
    from service.drain import Drain
    from service.lifecycle import Models
    from service.metrics import Metrics
    from service.observe import Observer
    from service.predict import Predictor
    from service.settings import Settings


@contextlib.asynccontextmanager
async def serving(
    *,
    settings: Settings,
    models: Models,
    predictor: Predictor,
    observer: Observer,
    access: Access | None,
    watched: Metrics,
    drain: Drain,
    unready: Callable[[], str | None],
) -> AsyncIterator[None]:
    """Inference and health at `settings.grpc_port`."""
    methods = Methods(predictor, models, settings, watched, unready)
    calls = Calls(methods, observer, access, watched)
    # The limit holds for a message that came compressed, too, before and after it is unpacked.
    options = [("grpc.max_receive_message_length", settings.max_body_bytes), ("grpc.so_reuseport", 1)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers([calls.handler(), health.handler({"", SERVICE.full_name}, unready, drain.closing)])
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    if settings.tls_cert_file is None:
        server.add_insecure_port(address)
    else:
        chain, key = settings.tls_cert_file, settings.tls_key_file or settings.tls_cert_file
        server.add_secure_port(address, grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())]))
    await server.start()

    # No answer takes longer than `timeout_seconds`: what is still open then waits for its client.
    grace = min(max(0, settings.shutdown_seconds - settings.drain_seconds), settings.timeout_seconds)

    async def end() -> None:
        await drain.closing.wait()
        # Connections that gRPC has not accepted when it stops would be reset. Those that are refused now come again
        # when this socket is closed, to other workers.
        _refuse_connections(settings.grpc_port)
        async with calls.held():
            stopped = asyncio.create_task(server.stop(grace))
            await asyncio.sleep(0)  # now the clients are told, before they are answered
        await stopped

    ending = asyncio.create_task(end())
    yield
    drain.closing.set()
    await ending


def _refuse_connections(port: int | None) -> None:
    """Refuse them where this process listens on a port: gRPC keeps its socket to itself. Nothing outside of Linux."""
    with contextlib.suppress(FileNotFoundError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # not a socket, or closed meanwhile
                found = socket.socket(fileno=int(descriptor.name))
                try:
                    if _listens(found) and found.getsockname()[1] == port:
                        refuse_connections(found)
                finally:
                    found.detach()


def _listens(found: socket.socket) -> bool:
    internet = found.family in {socket.AF_INET, socket.AF_INET6}
    return internet and bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
