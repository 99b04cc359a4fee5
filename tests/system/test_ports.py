"""The service's ports while it starts: reserved from the start on, and closed until a worker answers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from tests.support.processes import worker_pids
from tests.support.service import PATIENCE, ROOT, running_service
from tests.support.sources import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = ("MNIST_PORT", "MNIST_METRICS_PORT")


class Starting(NamedTuple):
    """A service that waits for its source, until `go_on` is set."""

    process: subprocess.Popen[str]
    ports: list[int]
    go_on: threading.Event


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def starting(folder: Path, workers: int) -> Iterator[Starting]:
    """A service between the binding of its ports and its answers: its source does not answer yet."""
    asked, go_on = threading.Event(), threading.Event()

    def hang(handler: object, _: bytes) -> None:
        asked.set()
        go_on.wait(PATIENCE)
        handler.send_error(503)  # type: ignore[attr-defined]

    (folder / "www").mkdir()
    (folder / "www" / "versions.json").write_text("{}")
    ports = [free_port(), free_port()]
    with WebServer(folder / "www") as source:
        source.faults["versions.json"] = hang
        settings = dict(zip(SETTINGS, ports, strict=True)) | {
            "MNIST_WORKERS": workers,
            "MNIST_MODEL_SOURCE": source.url,
            "MNIST_MODEL_DIR": folder / "cache",
            "MNIST_MODEL_WAIT": "true",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=os.environ | {name: str(value) for name, value in settings.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert asked.wait(PATIENCE)
                yield Starting(process, ports, go_on)
            finally:
                go_on.set()
                process.terminate()


def connects(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), PATIENCE):
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_are_refused_until_a_worker_answers(tmp_path: Path, workers: int) -> None:
    """A proxy asks another service meanwhile. Then it says where it is, answers without a version, and is not ready."""
    with starting(tmp_path, workers) as service:
        for port in service.ports:
            assert not connects(port)
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
        service.go_on.set()
        assert service.process.stdout is not None
        assert "waits for a version" in service.process.stdout.readline()
        port, metrics_port = service.ports
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503
        assert httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("taken", [0, 1])
def test_a_port_that_another_program_listens_on_meanwhile_ends_the_start(
    tmp_path: Path, workers: int, taken: int
) -> None:
    """Linux lets it bind a port that nobody listens on: the same line and exit code as for a port that was taken."""
    with starting(tmp_path, workers) as service, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", service.ports[taken]))
        other.listen()
        service.go_on.set()
        out, err = service.process.communicate(timeout=PATIENCE)
        assert service.process.returncode == 4
        assert out == ""
        lines = [line for line in err.splitlines() if not line.startswith("{")]
        port = service.ports[taken]
        assert lines == [f"service: {SETTINGS[taken]}: cannot listen on 127.0.0.1 port {port}: Address already in use"]
        assert not any('"level":"error"' in line for line in err.splitlines() if "versions.json" not in line)


def test_ports_stay_open_while_workers_are_replaced() -> None:
    """When all workers have died, connections wait for the next ones."""
    with running_service(workers=2) as service:
        for pid in worker_pids(service):
            os.kill(pid, signal.SIGKILL)
        assert httpx.get(f"{service.url}/readyz").status_code == 200
