"""`python -m service`: read the settings, check the model, run uvicorn.

On stdout: where to find what, for people. On stderr: JSON lines, for collectors. Exit codes: 0 ended by a signal, 1
blocked, or its workers failed to start, 2 a setting that cannot be used, 3 a model that must not serve, 4 an address
that cannot be listened on; each of the last three with one clear line on stderr. Code that never lets go of the
interpreter is ended by a signal: SIGKILL when it has hung for too long, SIGALRM at the end of the time to end.
"""

from __future__ import annotations

from .system import signals

if __name__ == "__main__":  # before the imports below, which take their time
    signals.install()

import contextlib
import functools
import os
import resource
import secrets
import shutil
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from . import settings as settings_module
from .access import keys
from .connection import certificate
from .errors import ModelError
from .observability import logs
from .process.exit_codes import run_command
from .system import orphans
from .versions.bundled import or_bundled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Settings
    from .versions.manager import VersionManager
    from .versions.shared_state import SharedState

BACKLOG = 2048
FILES = 64  # that a process may open at the least
METRICS_BYTES = 8 * 2**20  # of files in which one worker shares its metrics
WELCOME = """\
mnist-mlp {state} at

  page     {url}/
  API      {url}/docs
  metrics  {metrics_url}/metrics
{grpc}
  curl -s {url}/page/seven.png | curl --data-binary @- {url}/predict

Ctrl-C ends it."""


def main(arguments: list[str]) -> int:
    """Serves until a signal comes; returns the exit code."""
    return run_command("service", lambda: _serve(arguments))


def _serve(arguments: list[str]) -> int:
    settings = settings_module.load(arguments)
    logs.start(settings.log_level)
    settings = or_bundled(settings)
    _check_descriptors()
    _check_certificate(settings)
    if settings.api_keys_file is not None:
        keys.read(settings.api_keys_file)
    with contextlib.ExitStack() as stack:
        ports = [settings.port] if settings.metrics_port is None else [settings.port, settings.metrics_port]
        listeners = [stack.enter_context(contextlib.closing(_listen(settings.host, port))) for port in ports]
        grpc_port = stack.enter_context(_grpc_port(settings))
        stack.enter_context(_metrics_folder(settings))
        return _run(settings.model_copy(update={"grpc_port": grpc_port}), listeners)


def _check_descriptors() -> None:
    """One clear line, where connections and model files would fail one by one."""
    may, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if may < FILES:
        raise OSError(f"a process may open {may} files (RLIMIT_NOFILE); at least {FILES} are needed")


def _check_certificate(settings: Settings) -> None:
    """One clear line, where a worker would show a stack."""
    try:
        certificate.context(settings)
    except (OSError, ValueError) as error:
        raise settings_module.SettingsError(
            f"MNIST_TLS_CERT_FILE: {settings.tls_cert_file}: expected a certificate and its key, found {error}"
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything else so that a taken port is told at once."""
    listener = _bound(host, port)
    # From here on connections wait instead of being refused, also while the workers start.
    listener.listen(BACKLOG)
    return listener


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return bound


@contextlib.contextmanager
def _grpc_port(settings: Settings) -> Iterator[int | None]:
    """With gRPC: the port that its workers will share, kept from others, who would be let in by SO_REUSEPORT."""
    if settings.grpc_port is None:
        yield None
        return
    if not (find_spec("grpc") and find_spec("grpc_health")):
        raise settings_module.SettingsError("MNIST_GRPC_PORT: gRPC is not installed; pip install '.[grpc]'")
    # Bound, not listening: so it takes no connection, and lets those listen who share it.
    with contextlib.closing(_bound(settings.host, settings.grpc_port)) as reserved:
        yield reserved.getsockname()[1]


@contextlib.contextmanager
def _metrics_folder(settings: Settings) -> Iterator[None]:
    """With several workers: a folder in memory where they share their metrics, gone when the service ends."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if settings.workers == 1:
        yield
        return
    place = _roomy(settings.workers * METRICS_BYTES)
    with signals.held():
        folder = tempfile.mkdtemp(prefix="mnist-metrics-", dir=place)
        signals.at_end.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    yield


def _roomy(size: int) -> Path:
    """A folder for temporary files, in memory if that has room: a worker dies that writes to a file without any."""
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


def _run(settings: Settings, listeners: list[socket.socket]) -> int:
    # Imported here, and each where it is needed: prometheus_client looks for its folder when it is imported, and the
    # parent of several workers starts them sooner without the app.
    from .versions.manager import VersionManager
    from .versions.shared_state import SharedState

    orphans.adopt()
    shared_state = SharedState(shared=settings.workers > 1)
    models = VersionManager(settings, shared_state)
    version = None
    # Checked here for all workers: one line and one exit code, before any worker is started.
    with contextlib.suppress(ModelError) if settings.model_wait else contextlib.nullcontext():
        begin = models.start if settings.workers == 1 else models.check
        version = begin(functools.partial(_import, settings))
    logs.say(_welcome(settings, listeners, version), sys.stdout)
    return _one(settings, listeners, models) if settings.workers == 1 else _several(settings, listeners, shared_state)


def _import(settings: Settings) -> None:
    """What is needed next, while the model is checked by another process."""
    from .process import worker

    if settings.workers == 1:
        with worker.uncollected():
            from . import app  # noqa: F401


def _one(settings: Settings, listeners: list[socket.socket], models: VersionManager) -> int:
    from .process import worker

    with worker.uncollected():
        from . import app
        from .connection.drain import Drain
        from .observability import metrics
        from .process.connection_counts import ConnectionCounts
        from .process.server import Server
        from .process.watchdog import OuterWatchdog, Watchdog

        seconds = settings.stall_seconds
        watchdog = Watchdog(seconds, settings.shutdown_seconds, functools.partial(OuterWatchdog, seconds))
        drain = Drain(settings.drain_seconds, listeners[0], watchdog.end_in_time)
        server = Server(
            settings, app.create_app(settings, models, metrics.registry(), drain), ConnectionCounts(1), watchdog
        )
    return min(1, server.run_to_end(listeners))


def _several(settings: Settings, listeners: list[socket.socket], shared_state: SharedState) -> int:
    from .process.connection_counts import ConnectionCounts
    from .process.supervisor import Supervisor
    from .process.worker_process import Job
    from .reader import token

    os.environ[token.NAME] = secrets.token_hex(8)
    counts = ConnectionCounts(settings.workers)
    assert shared_state.descriptor is not None
    assert counts.descriptor is not None
    ports = [listener.fileno() for listener in listeners]
    job = Job(settings, ports, shared_state.descriptor, shared_state.checked_files.descriptor, counts.descriptor)
    return Supervisor(settings, job, listeners[0], counts).run()


def _welcome(settings: Settings, listeners: list[socket.socket], version: str | None) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.tls_cert_file is None else "https"
    url, *others = [f"{host}:{listener.getsockname()[1]}" for listener in listeners]
    url = f"{scheme}://{url}"
    metrics_url = f"http://{others[0]}" if others else url
    grpc = "" if settings.grpc_port is None else f"  gRPC     {host}:{settings.grpc_port}\n"
    state = f"version {version} answers" if version else "waits for a version, and will answer"
    return WELCOME.format(state=state, url=url, metrics_url=metrics_url, grpc=grpc)


if __name__ == "__main__":
    signals.end(main(sys.argv[1:]))
