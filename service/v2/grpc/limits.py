"""The limits of gRPC in one worker.

In: settings, and the memory budget of bodies. Out: limits of calls, streams, watchers, messages and connections.
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
CALLS_PER_CONNECTION = 256  # at once; a client's other calls wait in the client
CONNECTIONS = 512  # some 40 KiB each


class Limits:
    """The limits of one worker."""

    def __init__(self, settings: Settings, bodies: BodyBudget, metrics: Metrics) -> None:
        assert settings.grpc_port is not None
        self.sockets = Sockets(settings.grpc_port)
        self.max_connections = max(1, min(settings.max_connections or CONNECTIONS, CONNECTIONS, grpc_descriptors()))
        self.arrivals = Arrivals(bodies, self.sockets, settings.timeout_seconds, settings.max_body_bytes)
        self.departures = Departures(self.sockets, settings.timeout_seconds, self.max_connections, metrics)
        self.calls = Room("calls", CALLS)
        self.streams = Room("streams", STREAMS)
        self.watchers = Room("watchers", WATCHERS)
