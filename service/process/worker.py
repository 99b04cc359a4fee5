"""The work of one worker, in a process that its supervisor has forked.

In: settings and listeners; what the workers share; and the pipe for its heartbeats. Out: responses, heartbeats, and an
exit code. It knows no other worker.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from ..app import create_app
from ..connection.drain import Drain
from ..errors import ModelError
from ..observability import logs, metrics
from ..observability.process_metrics import Workers
from ..versions.manager import VersionManager
from .exit_codes import run_command
from .heartbeat import Heart
from .imports import uncollected
from .ports import PortRefused
from .server import Server
from .watchdog import Watchdog
from .worker_process import PORT_REFUSED

if TYPE_CHECKING:
    import socket

    from ..settings import Settings
    from ..versions.shared_state import SharedState
    from .connection_counts import ConnectionCounts
    from .restarts import Restarts


class Work(NamedTuple):
    """The work of each worker of a service."""

    settings: Settings
    listeners: list[socket.socket]
    shared_state: SharedState
    counts: ConnectionCounts
    restarts: Restarts

    def descriptors(self) -> list[int]:
        """Return the descriptors that it needs."""
        return [*(listener.fileno() for listener in self.listeners), self.shared_state.checked_files.descriptor]

    def run(self, heart: int) -> int:
        """Serve until a signal comes, with heartbeats to this descriptor; return the exit code."""
        return run_command("worker", lambda: self._serve(heart))

    def _serve(self, heart: int) -> int:
        with uncollected():
            settings = self.settings
            logs.start(settings.log_level, settings.log_format)  # the supervisor's thread is not in this process
            models = VersionManager(settings, self.shared_state)
            if not self.shared_state.unloaded:
                with contextlib.suppress(ModelError):  # one refused version must not end the other workers
                    models.start()
            watchdog = Watchdog(settings.stall_seconds, settings.shutdown_seconds, lambda: Heart(heart))
            drain = Drain(settings.drain_seconds, on_begin=watchdog.end_in_time)
            workers = Workers(self.counts.pids, self.restarts.by_reason)
            app = create_app(settings, models, metrics.registry(), drain, workers)
            server = Server(settings, app, self.counts, watchdog)
        try:
            return server.run_to_end(self.listeners)
        except PortRefused:
            return PORT_REFUSED  # the supervisor finds the same, and says so once
