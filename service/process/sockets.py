"""The sockets that the service listens on, made before anything else: a taken port ends the start at once."""

from __future__ import annotations

import socket

BACKLOG = 2048  # connections that wait to be accepted


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `OSError`. Clients wait from here on, also while the workers start."""
    listener = bind(host, port)
    listener.listen(BACKLOG)
    return listener


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket, which accepts no connection; raises `OSError`.

    It reserves gRPC's port, on which the workers listen with SO_REUSEPORT, as long as it is open.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return bound
