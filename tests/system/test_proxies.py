"""Behind nginx and haproxy: no request reaches the service that they have not seen, and none is lost when it ends."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from benchmarks.serving.processes import free_port
from tests.support.hostile_bodies import SMUGGLED, wrong_framing
from tests.support.metrics import predictions, samples
from tests.support.pictures import Digits, png
from tests.support.proxies import PROXIES, running_proxy
from tests.support.service import VERSION, Service, running_service, until
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.traffic import Expected

SHAPES = wrong_framing()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The service behind both."""
    with running_service() as service:
        yield service


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, service: Service) -> Iterator[str]:
    """A proxy before it; its address."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with running_proxy(request.param, service.url) as url:
        yield url


def smuggled(service: Service) -> float:
    """How many times the request that was hidden has been answered."""
    text = httpx.get(f"{service.url}/metrics").text
    found = re.findall(r'mnist_http_requests_total\{code="\d+",method="GET",route="/model"\} (\S+)', text)
    return sum(map(float, found))


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_smuggled(service: Service, proxy: str, name: str) -> None:
    """The service answers no request that the proxy has not seen: each hidden one that it answers comes back as such.

    Both proxies mend some of what they pass on, and may well see two requests where we would refuse the first.
    """
    before = smuggled(service)
    received = b""
    port = int(proxy.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(SHAPES[name] + SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while piece := connection.recv(65536):
            received += piece
    statuses = re.findall(rb"HTTP/1\.[01] (\d+)", received)
    assert statuses.count(b"200") == smuggled(service) - before


def test_a_good_request_passes(proxy: str, digits: Digits) -> None:
    """The proxies work: a picture is answered through them."""
    answer = httpx.post(f"{proxy}/predict", content=png(digits.images[0]))
    assert answer.json()["predictions"][0]["digit"] == digits.labels[0]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_service_that_ends_behind_nginx_loses_nothing(service: Service, expected: Expected) -> None:
    """nginx keeps connections to two services; one of them ends under load, and comes again."""
    port = free_port()
    with running_proxy("nginx", service.url, f"http://127.0.0.1:{port}") as url, Traffic(url, expected) as traffic:
        for _ in range(2):
            with running_service(port=port) as ending:
                until(lambda: predictions(samples(f"{ending.url}/metrics")) > 50, "nginx does not ask it")
                assert ending.stop() == 0
        traffic.stop()
    assert traffic.failures == []
    assert traffic.answered[VERSION] > 100
