"""The process of one worker, from its first instruction to its end.

In: its job on stdin, as JSON: settings, and descriptors that it inherits. Out: responses, and heartbeats for the
supervisor, with which it ends. It knows nothing of requests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any

from ..system import confinement, signals
from .imports import uncollected, without_validators


def spawn_main() -> None:
    """Run as a new process, which the supervisor has started with signals blocked."""
    signals.install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.BLOCKED)
    import json

    from .exit_codes import run_command

    message = sys.stdin.buffer.read()
    if not message:  # a signal has ended the parent before it handed over the job
        signals.end(0)
    job = json.loads(message)
    # Without this, workers of a killed supervisor would hold the port, and no new service could start.
    confinement.end_with(job["parent"], signal.SIGTERM)
    signals.end(run_command("worker", lambda: _serve(job)))


def _serve(job: dict[str, Any]) -> int:
    # Imported here: a signal must end the process before these slow imports too.
    with uncollected():
        from ..observability import logs
        from ..settings import Settings

        settings = Settings(**job["settings"])
        logs.start(settings.log_level, settings.log_format)
        with without_validators():
            from ..app import create_app
        from ..connection.drain import Drain
        from ..errors import ModelError
        from ..observability import metrics
        from ..observability.process_metrics import Workers
        from ..versions.manager import VersionManager
        from ..versions.shared_state import SharedState
        from .connection_counts import ConnectionCounts
        from .heartbeat import Heart
        from .ports import PortRefused
        from .restarts import Restarts
        from .server import Server
        from .watchdog import Watchdog
        from .worker_process import PORT_REFUSED

        for descriptor in (*job["listeners"], job["heart"]):
            os.set_inheritable(descriptor, False)
        shared_state = SharedState(shared=True, descriptor=job["shared_state"], checked_files=job["checked_files"])
        models = VersionManager(settings, shared_state)
        if not shared_state.unloaded:
            with contextlib.suppress(ModelError):  # one refused version must not end the other workers
                models.start()
        watchdog = Watchdog(settings.stall_seconds, settings.shutdown_seconds, lambda: Heart(job["heart"]))
        drain = Drain(settings.drain_seconds, on_begin=watchdog.end_in_time)
        counts = ConnectionCounts(settings.workers, job["connection_counts"])
        workers = Workers(counts.pids, Restarts(job["restarts"]).by_reason)
        app = create_app(settings, models, metrics.registry(), drain, workers)
        server = Server(settings, app, counts, watchdog)
    try:
        return server.run_to_end([socket.socket(fileno=listener) for listener in job["listeners"]])
    except PortRefused:
        return PORT_REFUSED  # the supervisor finds the same, and says so once
