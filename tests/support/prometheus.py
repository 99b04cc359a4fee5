"""A real Prometheus with the committed configuration, and what `promtool` says of it."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.service import ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.service import Service

COMMITTED = ROOT / "deploy" / "prometheus"

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="prometheus is not installed"
)


class Prometheus:
    """A running Prometheus that answers PromQL."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, query: str) -> float | None:
        """The value of a query with one result; None without a result."""
        values = [value for _, value in self.vector(query)]
        assert len(values) < 2, f"{query} has {len(values)} results"
        return values[0] if values else None

    def vector(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each result."""
        answer = self._client.get("/api/v1/query", params={"query": query})
        assert answer.is_success, f"{query}: {answer.text}"
        return [(result["metric"], float(result["value"][1])) for result in answer.json()["data"]["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """The rules that it evaluates, each with its state."""
        groups = self._client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextlib.contextmanager
def running_prometheus(
    folder: Path, service: Service, *, alertmanager: str = "", each_second: bool = False
) -> Iterator[Prometheus]:
    """Starts Prometheus on a free port, which scrapes `service`, and ends it.

    With the address of an Alertmanager, it evaluates each second, and alerts fire in the second evaluation. With
    `each_second`, all rules are evaluated each second.
    """
    config = folder / "config"
    shutil.copytree(COMMITTED, config)
    (config / "targets" / "test.yml").write_text(f'- targets: ["{httpx.URL(service.metrics).netloc.decode()}"]\n')
    if alertmanager:
        (config / "alertmanagers" / "test.yml").write_text(f'- targets: ["{alertmanager}"]\n')
        replace(config / "alerts.yml", r"for: \d+m", "for: 1s")
    if alertmanager or each_second:
        replace(config / "prometheus.yml", r"_interval: 5s", "_interval: 1s")
    if each_second:
        replace(config / "slo.yml", r"interval: 30s", "interval: 1s")
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, folder / "log", f"http://127.0.0.1:{port}") as client:
        yield Prometheus(client)


@contextlib.contextmanager
def running(command: list[str], log: Path, url: str) -> Iterator[httpx.Client]:
    """Starts a program of Prometheus' project, waits until it is ready, and kills it."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
        httpx.Client(base_url=url) as client,
    ):

        def is_ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return client.get("/-/ready").is_success
            return False

        try:
            until(lambda: process.poll() is not None or is_ready(), f"{command[0]} is not ready")
            assert process.poll() is None, log.read_text()
            yield client
        finally:
            process.kill()


def replace(path: Path, pattern: str, by: str) -> None:
    """Replaces what the pattern finds in a file, which must be something."""
    text, found = re.subn(pattern, by, path.read_text())
    assert found, (path, pattern)
    path.write_text(text)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def promtool(*words: str, text: str = "") -> tuple[int, str]:
    """What promtool says; its exit code."""
    run = subprocess.run(["promtool", *words], cwd=COMMITTED, input=text, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr
