"""`serve`, the default command: run the service until a signal ends it.

On stdout: where to find what, for people. On stderr: JSON lines, for collectors; with MNIST_LOG_FORMAT, everything in
one format. Exit codes: 0 ended by a signal, 1 blocked, or its workers failed to start, 2 a bad setting, 3 a model that
must not serve, 4 an address that it cannot listen on; each of the last three with one line on stderr. A process whose
code never lets go of the interpreter is ended by a signal: SIGKILL when it has hung for too long, SIGALRM at the end of
its time to end.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from .. import settings as settings_module
from ..observability import logs
from ..observability.log_format import JSON
from ..process import ports, start
from ..process.exit_codes import run_command
from ..versions.bundled import or_bundled
from .check import check_settings

if TYPE_CHECKING:
    import argparse
    import socket

    from ..settings import Settings

HELP = "Run the service until a signal ends it; this is the default."
WELCOME = """\
mnist-mlp {state} at

  page     {url}/
  API      {url}/docs
  metrics  {metrics_url}/metrics
{grpc}
  curl -s {url}/page/seven.png | curl --data-binary @- {url}/predict

Ctrl-C ends it."""

log = logging.getLogger("service")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    settings_module.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit code."""
    return run_command("service", lambda: _serve(options))


def _serve(options: argparse.Namespace) -> int:
    settings = settings_module.of_flags(options)
    logs.start(settings.log_level, settings.log_format)
    settings = or_bundled(settings)
    check_settings(settings)
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(contextlib.closing(ports.bind(settings.host, port, setting)))
            for setting, port in zip(ports.SETTINGS, (settings.port, settings.metrics_port), strict=True)
            if port is not None
        ]
        if settings.grpc_port is not None:
            bound = ports.bind(settings.host, settings.grpc_port, "MNIST_GRPC_PORT")
            reserved = stack.enter_context(contextlib.closing(bound))
            settings = settings.model_copy(update={"grpc_port": reserved.getsockname()[1]})
        start.make_metrics_folder(settings.workers)
        return start.run(settings, listeners, lambda version: _welcome(settings, listeners, version))


def _welcome(settings: Settings, listeners: list[socket.socket], version: str | None) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.tls_cert_file is None else "https"
    url, *others = [f"{host}:{listener.getsockname()[1]}" for listener in listeners]
    url = f"{scheme}://{url}"
    metrics_url = f"http://{others[0]}" if others else url
    grpc = "" if settings.grpc_port is None else f"  gRPC     {host}:{settings.grpc_port}\n"
    facts = {"url": url, "metrics": f"{metrics_url}/metrics", "grpc": settings.grpc_port, "workers": settings.workers}
    log.info("listening", extra={"fields": facts})
    if settings.log_format == JSON:
        return
    state = f"version {version} answers" if version else "waits for a version, and will answer"
    logs.print_for_people(WELCOME.format(state=state, url=url, metrics_url=metrics_url, grpc=grpc), sys.stdout)
