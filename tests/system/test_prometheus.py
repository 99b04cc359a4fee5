"""A real Prometheus, with the committed configuration, watches a real service of two workers.

The only thing added to deploy/prometheus/ is a file in targets/, as the configuration invites anyone to do. Skipped
where `prometheus` and `promtool` are not installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.pictures import SEVEN
from tests.support.processes import worker_pids
from tests.support.service import running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service import Service

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "deploy" / "prometheus"

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="prometheus is not installed"
)


class Prometheus:
    """A running Prometheus that answers PromQL."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, query: str) -> float | None:
        """The value of a query with one result; None without a result."""
        answer = self._client.get("/api/v1/query", params={"query": query}).raise_for_status().json()
        values = [float(result["value"][1]) for result in answer["data"]["result"]]
        assert len(values) < 2, f"{query} has {len(values)} results"
        return values[0] if values else None

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self._client.get("/-/ready").is_success
        return False


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service(workers=2) as service:
        yield service


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(COMMITTED, folder / "config")
    target = service.url.removeprefix("http://")
    (folder / "config" / "targets" / "test.yml").write_text(f'- targets: ["{target}"]\n')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={folder}/config/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            prometheus = Prometheus(client)
            until(lambda: process.poll() is not None or prometheus.is_ready(), "Prometheus does not come to it")
            assert process.poll() is None, log.read_text()
            yield prometheus
        finally:
            process.kill()


def predict(service: Service, times: int) -> None:
    """Asks for a seven on connections of their own, so that both workers get some."""
    for _ in range(times):
        httpx.post(f"{service.url}/predict", content=SEVEN, headers={"Content-Type": "image/png"}).raise_for_status()


def predictions(service: Service) -> int:
    text = httpx.get(f"{service.url}/metrics").text
    return round(
        sum(float(value) for value in re.findall(r"^mnist_predictions_total\{.*\} (\S+)$", text, re.MULTILINE))
    )


def promtool(*words: str, text: str = "") -> tuple[int, str]:
    """What promtool says; its exit code."""
    run = subprocess.run(["promtool", *words], cwd=COMMITTED, input=text, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def test_prometheus_counts_the_predictions_of_all_workers(service: Service, prometheus: Prometheus) -> None:
    """Twenty predictions over two workers are twenty in PromQL, all of them sevens, from one target that is up."""
    predict(service, 20)
    until(lambda: prometheus.ask("sum(mnist_predictions_total)") == 20, "Prometheus does not come to it")
    assert prometheus.ask('mnist_predictions_total{digit="7"}') == 20
    assert prometheus.ask('mnist_http_requests_total{route="/predict", method="POST", code="200"}') == 20
    assert prometheus.ask('count(up{job="mnist"} == 1)') == 1


def test_every_series_that_an_alert_reads_exists(service: Service, prometheus: Prometheus) -> None:
    """The alerts name metrics, labels and bucket edges that the service exports: one that doesn't could never fire."""
    rules = (COMMITTED / "alerts.yml").read_text()
    # The service has given no errors yet, so their codes have no series.
    series = {re.sub(r', code=~"5\.\."', "", found) for found in re.findall(r"mnist_\w+\{[^}]*\}", rules)}
    assert len(series) == 5
    predict(service, 1)
    until(lambda: all(prometheus.ask(f"count({selector})") for selector in series), "Prometheus does not come to it")
    assert prometheus.ask("count(mnist_drift)") == 5


def test_counters_never_go_back_when_a_worker_is_killed(service: Service, prometheus: Prometheus) -> None:
    """SIGKILL of a worker takes nothing from the counters, and what its successor counts is added."""
    before = predictions(service)
    until(lambda: prometheus.ask("sum(mnist_predictions_total)") == before, "Prometheus does not come to it")
    old = set(worker_pids(service))
    assert len(old) == 2
    os.kill(min(old), signal.SIGKILL)
    until(lambda: len(set(worker_pids(service)) - old) == 1, "Prometheus does not come to it")
    assert predictions(service) == before
    predict(service, 10)
    assert predictions(service) == before + 10
    until(lambda: prometheus.ask("sum(mnist_predictions_total)") == before + 10, "Prometheus does not come to it")
    # `resets` forgets the names, which alone tell some counters apart.
    named = 'label_replace({__name__=~"mnist_.*_total"}, "name", "$1", "__name__", "(.*)")'
    assert prometheus.ask(f"sum(resets({named}[5m:1s]))") == 0
    assert (prometheus.ask(f"count({named})") or 0) > 20


@pytest.mark.parametrize("number", [1, 2])
def test_promtool_finds_no_fault_in_the_metrics(number: int, server: Service, service: Service) -> None:
    """`promtool check metrics` is silent on what one worker exports, and on what two do together."""
    watched = server if number == 1 else service
    predict(watched, 1)
    assert promtool("check", "metrics", text=httpx.get(f"{watched.url}/metrics").text) == (0, "")


@pytest.mark.parametrize(
    "words", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_promtool_accepts_the_committed_files(words: str) -> None:
    """The configuration and the alerts are valid, and the alerts fire when alerts.test.yml says so."""
    code, said = promtool(*words.split())
    assert code == 0, said
