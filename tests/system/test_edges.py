"""The proxies of deploy/, each by its own program: what they let through, tell the service, and repeat.

tests/system/test_scale.py has what they lose.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest

from benchmarks.serving.processes import free_port
from service.settings import Settings
from tests.support.edges import DEPLOY, PROGRAMS, Edge, configure, each_program, running_edge
from tests.support.grpc import infer, probabilities, request
from tests.support.names import running_names
from tests.support.pictures import Digits, png
from tests.support.service import Service, running_service, until
from tests.support.upstream import BREAK, Upstream, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKS = {"nginx": ["-t"], "haproxy": ["-c"], "envoy": ["--mode", "validate"]}
LIMIT = Settings.model_validate({}).max_body_bytes


class Behind(NamedTuple):
    """An edge, and what is behind it."""

    edge: Edge
    client: httpx.Client
    service: Service
    upstream: Upstream  # behind an edge of its own
    shown: httpx.Client  # by that edge


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service(grpc_port=0, timeout_seconds=60) as service:
        yield service


def asking(edge: Edge) -> httpx.Client:
    return httpx.Client(base_url=edge.url, verify=ssl.create_default_context(cafile=str(edge.certificate)), timeout=60)


@pytest.fixture(scope="module", params=PROGRAMS)
def behind(request: pytest.FixtureRequest, service: Service) -> Iterator[Behind]:
    """The service, and beside it an address where nobody listens; and two upstreams that show what they get."""
    if PROGRAMS[request.param] is None:
        pytest.skip(f"{request.param} is not installed")
    nobody = f"127.0.0.1:{free_port()}"
    with (
        running_edge(request.param, [service.url, f"http://{nobody}"], [service.grpc, nobody]) as edge,
        running_upstream() as upstream,
        running_edge(request.param, [upstream.url, upstream.url]) as other,
        asking(edge) as client,
        asking(other) as shown,
    ):
        until(lambda: client.get("/readyz").status_code == 200, "the edge finds no service")
        until(lambda: shown.get("/x").status_code == 200, "the edge finds no upstream")
        yield Behind(edge, client, service, upstream, shown)


def is_envoy(edge: Edge) -> bool:
    return "envoy" in str(edge.process.args)


@each_program
def test_the_configuration_has_neither_errors_nor_warnings(name: str, tmp_path: Path) -> None:
    """The program's own check accepts it, and says nothing else."""
    command = configure(name, tmp_path, free_port(), ["http://127.0.0.1:1", "http://127.0.0.1:2"])
    run = subprocess.run([*command, *CHECKS[name]], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    said = [line for line in (run.stdout + run.stderr).splitlines() if re.search("warn|deprecat", line, re.IGNORECASE)]
    # nginx 1.25 on has another word for it, which Debian 12's does not know.
    assert [line for line in said if '"listen ... http2" directive is deprecated' not in line] == []


def test_every_request_is_answered_although_an_address_is_dead(behind: Behind, digits: Digits) -> None:
    """A refused connection is passed over: nothing had been sent."""
    for index in range(30):
        answer = behind.client.post("/predict", content=png(digits.images[index]))
        assert answer.status_code == 200, answer.text


def test_grpc_passes(behind: Behind, digits: Digits) -> None:
    """A call over TLS is answered as the service answers it, on one connection with others."""
    target = behind.edge.url.removeprefix("https://")
    with (
        grpc.secure_channel(target, grpc.ssl_channel_credentials(behind.edge.certificate.read_bytes())) as channel,
        grpc.insecure_channel(behind.service.grpc) as direct,
    ):
        asked = request(digits.images[:3].tobytes())
        for _ in range(5):
            assert np.array_equal(probabilities(infer(channel, asked)), probabilities(infer(direct, asked)))


def test_http_2_passes(behind: Behind) -> None:
    """A client that can speak HTTP/2 does."""
    command = [
        "curl",
        "--silent",
        "--cacert",
        str(behind.edge.certificate),
        "--write-out",
        "%{http_version} %{http_code}",
    ]
    run = subprocess.run(
        [*command, "--output", "/dev/null", f"{behind.edge.url}/model"], capture_output=True, check=True
    )
    assert run.stdout == b"2 200"


def test_the_edge_says_who_the_client_is(behind: Behind) -> None:
    """A client's own address and prefix are dropped; its host and its id pass, and without an id the edge makes one."""
    lies = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Prefix": "/evil",
        "X-Request-ID": "abc",
        "Host": "digits.example:1",
    }
    seen: dict[str, Any] = behind.shown.post("/x", headers=lies, content=b"x").json()
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert "x-forwarded-prefix" not in seen
    assert (seen["x-request-id"], seen["host"]) == ("abc", "digits.example:1")
    made = {behind.shown.get("/x").json()["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    answer = behind.client.post("/predict", content=b"x")
    assert re.fullmatch(r"[0-9a-f-]{32,36}", answer.headers["X-Request-ID"])  # the edge's, which the service takes


def test_a_request_that_was_sent_is_not_sent_again(behind: Behind) -> None:
    """A service that ends in the middle of a POST has had it once; the client gets an error, and can ask on."""
    behind.upstream.requests.clear()
    for _ in range(3):
        # HAProxy closes the client's connection too, where the one to the service had been used before.
        with contextlib.suppress(httpx.RemoteProtocolError):
            assert behind.shown.post(BREAK, content=b"x" * 1000).status_code in {502, 503}
        assert behind.shown.get("/x").status_code == 200
    assert Counter(behind.upstream.requests)[f"POST {BREAK}"] == 3


def test_a_body_beyond_the_limit_is_refused_by_the_edge(behind: Behind) -> None:
    """413, as the service would say; a body of the limit passes."""
    assert behind.shown.post("/x", content=bytes(LIMIT)).json()["length"] == LIMIT
    behind.upstream.requests.clear()
    head = f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n".encode()
    rest = bytes(LIMIT + 1) if is_envoy(behind.edge) else b""  # which counts, and does not read what the head says
    assert b" 413 " in exchange(behind.shown, head + rest)
    assert behind.upstream.requests == []


def test_a_head_beyond_the_limit_is_refused_by_the_edge(behind: Behind) -> None:
    """A head that the service would refuse never reaches it."""
    behind.upstream.requests.clear()
    lines = "".join(f"X-{number}: {'x' * 1000}\r\n" for number in range(40))
    assert re.search(rb" 4\d\d ", exchange(behind.shown, f"GET /x HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()))
    assert behind.upstream.requests == []
    assert behind.shown.get("/x", headers={f"X-{number}": "x" * 1000 for number in range(12)}).status_code == 200


def exchange(client: httpx.Client, data: bytes) -> bytes:
    """The first bytes that come back on a connection of its own."""
    port = client.base_url.port or 0
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(data)
        return connection.recv(65536)


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics/",
        "//metrics",
        "/%6detrics",
        "/metrics?a=b",
        "/./metrics",
        "/x/../metrics",
        "/x//..//metrics",
    ],
)
def test_metrics_are_not_published(behind: Behind, path: str) -> None:
    """However the path is written."""
    answer = exchange(behind.client, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.1 [34]\d\d", answer), answer[:200]


def test_errors_of_the_edge_are_problems(behind: Behind) -> None:
    """nginx and HAProxy refuse a body in the service's own form; Envoy has a form of its own."""
    if is_envoy(behind.edge):
        pytest.skip("Envoy answers in plain text")
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n".encode()
    headers, _, body = exchange(behind.client, head).partition(b"\r\n\r\n")
    assert b"application/problem+json" in headers
    problem = json.loads(body)
    assert (problem["status"], problem["reason"], problem["limit"]) == (413, "too_large", LIMIT)


def test_an_id_that_the_service_would_not_take_is_replaced(behind: Behind) -> None:
    """So that a client writes nothing of its own into the problems and the log of the edge, which have the id."""
    if "nginx" not in str(behind.edge.process.args):
        pytest.skip("the others do not write the id")
    for given in ('x","reason":"mine', "x" * 65, "ä", "a b"):
        lines = f"Host: x\r\nX-Request-ID: {given}\r\nContent-Length: {LIMIT + 1}\r\n"
        body = exchange(behind.client, f"POST /predict HTTP/1.1\r\n{lines}\r\n".encode()).partition(b"\r\n\r\n")[2]
        problem = json.loads(body)
        assert problem["reason"] == "too_large"
        assert re.fullmatch("[0-9a-f]{32}", problem["request_id"])


@pytest.mark.skipif(PROGRAMS["haproxy"] is None, reason="haproxy is not installed")
def test_haproxy_follows_the_names_of_compose(tmp_path: Path) -> None:
    """A service whose address is new gets requests, and one whose address is gone gets none, without a restart."""
    port, edge_port = free_port(), free_port()
    with (
        running_upstream("127.0.0.2", port) as first,
        running_upstream("127.0.0.3", port) as second,
        running_names(["127.0.0.2"]) as names,
    ):
        command = configure("haproxy", tmp_path, edge_port, ["http://127.0.0.1:1"])
        servers = (DEPLOY / "haproxy" / "servers.cfg").read_text()
        servers = servers.replace("127.0.0.11:53", names.address).replace("service:8000", f"service:{port}")
        (tmp_path / "servers.cfg").write_text(servers)
        with (
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
            httpx.Client(base_url=f"https://127.0.0.1:{edge_port}", verify=False) as client,  # noqa: S501
        ):
            try:
                until(lambda: _reaches(client, first), "HAProxy does not find the first address")
                names.addresses = ["127.0.0.2", "127.0.0.3"]
                until(lambda: _reaches(client, second), "HAProxy does not find the second address")
                names.addresses = ["127.0.0.3"]
                until(lambda: not _reaches(client, first), "HAProxy asks an address that is gone")
                assert _reaches(client, second)
            finally:
                process.terminate()


def _reaches(client: httpx.Client, upstream: Upstream) -> bool:
    """Whether one of a few requests comes to this server."""
    upstream.requests.clear()
    with contextlib.suppress(httpx.TransportError):  # the edge does not listen yet
        for _ in range(4):
            client.get("/x")
    return upstream.requests != []


def test_limits_and_times_fit_the_settings() -> None:
    """The proxies' bodies are the service's; they close idle connections before it, and wait longer than it answers."""
    settings = Settings.model_validate({})
    nginx = (DEPLOY / "nginx" / "nginx.conf").read_text()
    upstreams = (DEPLOY / "nginx" / "upstreams.conf").read_text()
    haproxy = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    envoy = (DEPLOY / "envoy" / "envoy.yaml").read_text()

    def numbers(pattern: str, text: str) -> set[int]:
        found = {int(value) for value in re.findall(pattern, text)}
        assert found, pattern
        return found

    assert {size * 2**20 for size in numbers(r"client_max_body_size (\d+)m", nginx)} == {settings.max_body_bytes}
    assert numbers(r"gt (\d+) ", haproxy) == numbers(r"max_request_bytes: (\d+)", envoy) == {settings.max_body_bytes}
    idle = numbers(r"keepalive_timeout (\d+)s", upstreams) | numbers(r"http-keep-alive (\d+)s", haproxy)
    assert max(idle | numbers(r"http_protocol_options: \{idle_timeout: (\d+)s", envoy)) < settings.keep_alive_seconds
    waits = numbers(r"proxy_read_timeout (\d+)s", nginx) | numbers(r"timeout server (\d+)s", haproxy)
    assert min(waits | numbers(r"cluster: mnist, timeout: (\d+)s", envoy)) > settings.timeout_seconds
