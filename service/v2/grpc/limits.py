"""What the gRPC of one worker has room for.

In: settings, and the bytes that a worker may hold. Out: the limits of calls, streams, watchers, messages and
connections. It knows what each is worth, and not who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...connection.connections import grpc_descriptors
from .arrivals import Arrivals
from .departures import Departures
from .room import Room
from .sockets import Sockets

if TYPE_CHECKING:
    from ...connection.body_budget import BodyBudget
    from ...observability.metrics import Metrics
    from ...settings import Settings

CALLS = 1024
STREAMS = 128
WATCHERS = 512
STREAMS_OF_ONE = 256  # calls at once over one connection; a client's others wait in it
CONNECTIONS = 512  # some 40 KiB each


class Limits:
    """All of them."""

    def __init__(self, settings: Settings, bodies: BodyBudget, metrics: Metrics) -> None:
        assert settings.grpc_port is not None
        self.sockets = Sockets(settings.grpc_port)
        self.most_connections = max(1, min(settings.max_connections or CONNECTIONS, CONNECTIONS, grpc_descriptors()))
        self.arrivals = Arrivals(bodies, self.sockets, settings.timeout_seconds, settings.max_body_bytes)
        self.departures = Departures(self.sockets, settings.timeout_seconds, self.most_connections, metrics)
        self.calls = Room("calls", CALLS)
        self.streams = Room("streams", STREAMS)
        self.watchers = Room("watchers", WATCHERS)
