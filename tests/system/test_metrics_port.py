"""The metrics' own port: it answers scrapers and nobody else, and harms neither them nor the service's port."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from service.connection.connections import METRICS_PORT_CONNECTIONS
from tests.support.http import connect, read_response
from tests.support.metrics import ask, predictions, samples, settled, value
from tests.support.pictures import Digits, png
from tests.support.processes import descriptors, worker_pids
from tests.support.service import ROOT, Service, certificate, running_service, until
from tests.support.slow import Slow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def port_of(service: Service) -> Service:
    """The port of the metrics, as if it were a service."""
    return Service(service.metrics.removesuffix("/metrics"), service.process)


@pytest.fixture(scope="module")
def scraped() -> Iterator[Service]:
    with running_service(metrics_port=0, timeout_seconds=2) as service:
        yield service


def test_it_answers_at_two_paths_and_nowhere_else(scraped: Service, digits: Digits) -> None:
    """/metrics and / have the numbers; other paths and methods are told so, as problems, and counted nowhere."""
    url = port_of(scraped).url
    ask(scraped.url, digits, 3)
    assert predictions(settled(url, 3)) == predictions(samples(f"{url}/")) == 3
    for path, method, status in (("/metrics/x", "GET", 404), ("/predict", "POST", 404), ("/metrics", "POST", 405)):
        told = httpx.request(method, url + path, headers={"X-Request-ID": "mine"})
        assert told.status_code == told.json()["status"] == status
        assert told.headers["content-type"] == "application/problem+json"
        assert told.headers["x-request-id"] == told.json()["request_id"] == "mine"
        assert told.headers.get("allow") == ("GET" if status == 405 else None)
    routes = {dict(labels).get("route") for _, labels in samples(f"{url}/metrics")}
    assert "/predict" in routes and not {"/metrics", "other"} & routes
    assert httpx.get(f"{scraped.url}/metrics").status_code == 404


def test_scrapers_keep_their_connection(scraped: Service) -> None:
    """One connection is asked again and again, by requests that come one behind the other, too."""
    with connect(port_of(scraped)) as connection:
        connection.sendall(3 * GET)
        stream = connection.makefile("rb")
        for _ in range(3):
            assert read_response(stream)[0] == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_silent_connections_take_no_descriptors_from_the_service(digits: Digits, workers: int) -> None:
    """With 256 of them and 247 silent scrapers, pictures are answered, metrics too, and few descriptors are used."""
    under = ["prlimit", "--nofile=256:256"]
    with running_service(workers=workers, metrics_port=0, timeout_seconds=60, under=under) as service:
        ask(service.url, digits, 10)
        url = port_of(service).url
        settled(url, 10)
        base = descriptors(service)
        with Slow(url, "silent", 247) as silent:
            until(
                lambda: len(silent.lived) >= 247 - METRICS_PORT_CONNECTIONS * workers,
                "there are more connections than may be",
            )
            ask(service.url, digits, 10)
            until(lambda: _predictions(url) == 20, "the metrics are not answered")
            assert descriptors(service) <= base + 20


def _predictions(url: str) -> float:
    try:
        return predictions(samples(f"{url}/metrics"))
    except httpx.HTTPError:  # it was full, until those that are silent have been so for a while
        return 0.0


def test_few_descriptors_are_enough_for_both_ports(digits: Digits) -> None:
    """With 64 of them and 200 silent scrapers, pictures are answered."""
    under = ["prlimit", "--nofile=64:64"]
    with running_service(metrics_port=0, under=under) as service, Slow(port_of(service).url, "silent", 200):
        ask(service.url, digits, 10)
        assert descriptors(service) < 64


@pytest.mark.parametrize("sort", ["silent", "head", "body nobody waits for"])
def test_slow_scrapers_are_cut_off_in_time(scraped: Service, sort: str) -> None:
    """Each after the time to send a request, as on the service's port."""
    with Slow(port_of(scraped).url, sort, 5) as slow:
        until(lambda: len(slow.lived) == 5, "they are not cut off")
    assert min(slow.lived) > 1


def test_it_has_neither_keys_nor_tls(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the service asks for both: the port is for a private network."""
    chain, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    (tmp_path / "keys").write_text("")
    keys = tmp_path / "keys"
    with running_service(metrics_port=0, tls_cert_file=chain, tls_key_file=key, api_keys_file=keys) as service:
        assert service.url.startswith("https://")
        assert service.metrics.startswith("http://")
        assert httpx.get(f"{service.url}/model").status_code == 401
        assert value(samples(service.metrics), "mnist_key_requests_total", {"key": "-", "result": "missing"}) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_is_told(workers: str) -> None:
    """One line, and exit code 4, before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "service", "--port", "0", "--metrics-port", str(port), "--workers", workers]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 4
    assert (
        ended.stderr == f"service: MNIST_METRICS_PORT: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    )
    assert ended.stdout == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_scrapers_do_not_hold_the_end_up(workers: int) -> None:
    """Some have been answered and keep their connection, some have said nothing: SIGTERM ends it as ever."""
    with running_service(workers=workers, metrics_port=0, keep_alive_seconds=60, timeout_seconds=60) as service:
        connections = [connect(port_of(service)) for _ in range(6)]
        for connection in connections[:3]:
            connection.sendall(GET)
            assert read_response(connection.makefile("rb"))[0] == 200
        assert service.stop() == 0
        for connection in connections:
            connection.close()


def test_another_worker_answers_where_one_is_stuck(digits: Digits) -> None:
    """The workers share the port, as they share the other: with one stopped the numbers of both are told."""
    with running_service(workers=2, metrics_port=0) as service, contextlib.ExitStack() as opened:
        ask(service.url, digits, 10)
        port = port_of(service)
        settled(port.url, 10)
        until(lambda: len(worker_pids(service)) == 2, "there are no two workers")
        stuck = worker_pids(service)[0]
        os.kill(stuck, signal.SIGSTOP)
        try:
            connections = [opened.enter_context(connect(port)) for _ in range(8)]
            for connection in connections:
                connection.sendall(GET)
            (answered, *_), _, _ = select.select(connections, [], [], 60)
            status, _, content = read_response(answered.makefile("rb"))
        finally:
            os.kill(stuck, signal.SIGCONT)
    assert status == 200
    digits_told = re.findall(rb"mnist_predictions_total{.*} (.*)", content)
    assert sum(map(float, digits_told)) == 10


def test_many_scrapers_leave_the_service_alone(digits: Digits) -> None:
    """Sixty-four at once are answered or refused, and pictures are answered meanwhile."""
    with running_service(metrics_port=0) as service:
        port = port_of(service)
        connections = [connect(port) for _ in range(64)]
        for connection in connections:
            connection.sendall(GET)
        assert httpx.post(f"{service.url}/predict", content=png(digits.images[0])).status_code == 200
        statuses = [read_response(connection.makefile("rb"))[0] for connection in connections]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= METRICS_PORT_CONNECTIONS
        for connection in connections:
            connection.close()
