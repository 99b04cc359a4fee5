"""Start the service's processes: check the model, then serve in this process or in several workers.

In: settings and bound sockets. Out: an exit code, when a signal has ended the service. Modules are imported where
they are needed: `prometheus_client` looks for its folder when it is imported, and the app is imported while another
process checks the model.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError
from ..system import orphans, signals
from . import imports

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from ..settings import Settings
    from ..versions.manager import VersionManager
    from ..versions.shared_state import SharedState

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
METRICS_BYTES = 8 * 2**20  # of the files in which one worker shares its metrics


def make_metrics_folder(workers: int) -> None:
    """Make the folder in which several workers share their metrics; it is removed when the service ends."""
    os.environ.pop(METRICS_FOLDER, None)
    if workers == 1:
        return
    parent = _temporary_folder(workers * METRICS_BYTES)
    with signals.blocking():
        folder = tempfile.mkdtemp(prefix="mnist-metrics-", dir=parent)
        signals.at_end.callback(_remove, folder)
    os.environ[METRICS_FOLDER] = folder


def _remove(folder: str) -> None:
    """Remove a folder, in a second try what the system refused in the first."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder(size: int) -> Path:
    """Return a folder with room for `size` bytes, in memory if possible: without room, a worker that writes dies."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder made in it has a random name and is ours alone
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= size:
        return memory
    disk = Path(tempfile.gettempdir())
    if shutil.disk_usage(disk).free >= size:
        return disk
    raise OSError(
        f"the workers' metrics need {size >> 20} MiB, and neither {memory} nor {disk} has them; "
        "set TMPDIR, or MNIST_WORKERS=1"
    )


def run(settings: Settings, listeners: list[socket.socket], on_serving: Callable[[str | None], None]) -> int:
    """Serve until a signal comes; return the exit code.

    `on_serving` is called when the first worker accepts connections, with the version that serves first.
    """
    from ..versions.manager import VersionManager
    from ..versions.shared_state import SharedState

    orphans.adopt()
    shared_state = SharedState(shared=settings.workers > 1 or settings.model_source is not None)
    start = _Start(settings, listeners, VersionManager(settings, shared_state), shared_state, on_serving)
    return _run_one(start) if settings.workers == 1 else _run_several(start)


class _Start(NamedTuple):
    """What a start has before it serves, with one process or several."""

    settings: Settings
    listeners: list[socket.socket]
    models: VersionManager
    shared_state: SharedState
    on_serving: Callable[[str | None], None]

    def first_version(self, begin: Callable[[], str]) -> str | None:
        """Return the version with which the service begins; None where it may begin without. Raises `ModelError`."""
        may_wait = contextlib.suppress(ModelError) if self.settings.model_wait else contextlib.nullcontext()
        with may_wait, first_pull(self.settings, self.shared_state):
            return begin()
        return None


@contextlib.contextmanager
def first_pull(settings: Settings, shared_state: SharedState) -> Iterator[None]:
    """Pull versions from the source of the settings, if there is one, and go on pulling until this process ends.

    A `ModelError` while the context is open, such as for a folder without versions, names the source's problem too.
    """
    if settings.model_source is None:
        yield
        return
    from ..source import state
    from ..source.fetcher import Fetcher

    with state.naming(Fetcher(settings, shared_state).wait()):
        yield


def _import_app() -> None:
    """Import what is needed next, while another process checks the model."""
    with imports.uncollected(), imports.without_validators():
        from .. import app  # noqa: F401


def _run_one(start: _Start) -> int:
    version = start.first_version(functools.partial(start.models.start, _import_app))
    settings = start.settings
    with imports.uncollected(), imports.without_validators():
        from .. import app
        from ..connection.drain import Drain
        from ..observability import logs, metrics
        from .connection_counts import ConnectionCounts
        from .server import Server
        from .watchdog import OuterWatchdog, Watchdog

        seconds = settings.stall_seconds
        start_heart = functools.partial(OuterWatchdog, seconds, logs.format_of_lines(settings.log_format))
        watchdog = Watchdog(seconds, settings.shutdown_seconds, start_heart)
        drain = Drain(settings.drain_seconds, start.listeners[0], watchdog.end_in_time)
        served = app.create_app(settings, start.models, metrics.registry(), drain)
        server = Server(settings, served, ConnectionCounts(1), watchdog, functools.partial(start.on_serving, version))
    return min(1, server.run_to_end(start.listeners))


def _run_several(start: _Start) -> int:
    version = start.first_version(functools.partial(start.models.check, _import_app))
    settings, shared_state = start.settings, start.shared_state
    with imports.uncollected(), imports.without_validators():
        from ..reader import token
        from .connection_counts import ConnectionCounts
        from .restarts import Restarts
        from .supervisor import Supervisor
        from .worker import Work

    os.environ[token.NAME] = secrets.token_hex(8)
    counts, restarts = ConnectionCounts(settings.workers), Restarts()
    work = Work(settings, start.listeners, shared_state, counts, restarts)
    supervisor = Supervisor(settings, work, start.listeners, counts, restarts, on_hangup=shared_state.ask_for_poll)
    return supervisor.run(functools.partial(start.on_serving, version))
