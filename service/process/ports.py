"""The service's ports: reserve them at the start, and listen on them when a worker can answer.

In: addresses. Out: sockets that all workers share, or the error that names the setting. Until one worker listens, the
system refuses connections, and a proxy gives the request to another service; where a socket listens, clients wait.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = ("MNIST_PORT", "MNIST_METRICS_PORT")  # in the order of the sockets to listen on
BACKLOG = 2048  # connections that wait to be accepted


class PortRefused(OSError):
    """The system does not give the service a port."""

    def __init__(self, setting: str, host: str, port: int, reason: str | None) -> None:
        super().__init__(f"{setting}: cannot listen on {host} port {port}: {reason}")


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Return a bound socket, which refuses connections; raises `PortRefused`.

    It reserves gRPC's port too, on which the workers listen with SO_REUSEPORT, as long as it is open.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise PortRefused(setting, host, port, error.strerror) from None
    return bound


def listen(bound: Sequence[socket.socket]) -> None:
    """Listen on the sockets; raises `PortRefused`. For sockets on which another worker listens, nothing changes.

    The system lets two programs bind one port as long as neither listens: the second one to listen is refused.
    """
    for setting, port in zip(SETTINGS, bound, strict=False):
        try:
            port.listen(BACKLOG)
        except OSError as error:
            host, number, *_ = port.getsockname()
            raise PortRefused(setting, host, number, error.strerror) from None
