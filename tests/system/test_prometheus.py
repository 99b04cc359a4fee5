"""A real Prometheus, with the committed configuration, watches a real service of two workers.

The only thing added to deploy/prometheus/ is a file in targets/, as the configuration invites anyone to do. Skipped
where `prometheus` and `promtool` are not installed.
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.pictures import SEVEN
from tests.support.processes import worker_pids
from tests.support.prometheus import COMMITTED, needs_prometheus, promtool, running_prometheus
from tests.support.service import running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.prometheus import Prometheus
    from tests.support.service import Service

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service(workers=2) as service:
        yield service


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), service) as prometheus:
        yield prometheus


def predict(service: Service, times: int) -> None:
    """Asks for a seven on connections of their own, so that both workers get some."""
    for _ in range(times):
        httpx.post(f"{service.url}/predict", content=SEVEN, headers={"Content-Type": "image/png"}).raise_for_status()


def predictions(service: Service) -> int:
    text = httpx.get(f"{service.url}/metrics").text
    return round(
        sum(float(value) for value in re.findall(r"^mnist_predictions_total\{.*\} (\S+)$", text, re.MULTILINE))
    )


def test_prometheus_counts_the_predictions_of_all_workers(service: Service, prometheus: Prometheus) -> None:
    """Twenty predictions over two workers are twenty in PromQL, all of them sevens, from one target that is up."""
    predict(service, 20)
    until(lambda: prometheus.ask("sum(mnist_predictions_total)") == 20, "Prometheus does not come to it")
    assert prometheus.ask('mnist_predictions_total{digit="7"}') == 20
    assert prometheus.ask('mnist_http_requests_total{route="/predict", method="POST", code="200"}') == 20
    assert prometheus.ask('count(up{job="mnist"} == 1)') == 1


def test_every_series_that_an_alert_reads_exists(service: Service, prometheus: Prometheus) -> None:
    """The rules name metrics, labels and bucket edges that the service exports: others could never fire."""
    rules = "".join((COMMITTED / name).read_text() for name in ("slo.yml", "alerts.yml"))
    found = set(re.findall(r'(?<![\w:])mnist_\w+(?:\{(?:[^}"]|"[^"]*")*\})?', rules))
    # The service has given no errors yet, so their codes have no series; nor do keys and certificates, without any.
    series = {re.sub(r', code=~"5\.\."', "", selector) for selector in found}
    series -= {selector for selector in series if re.match("mnist_(key|api_key|certificate)_", selector)}
    assert len(series) > 15
    predict(service, 1)
    until(
        lambda: all(prometheus.ask(f"count({selector})") for selector in series),
        f"one of these has no series: {series}",
    )
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


def test_promtool_accepts_the_committed_configuration() -> None:
    """The configuration is valid, and so are the rules that it names."""
    code, said = promtool("check", "config", "prometheus.yml")
    assert code == 0, said
