"""Paths: each route with and without a slash at its end, none redirected, and none by a way around."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from service.api.pages import HEADERS
from tests.support.metrics import samples
from tests.support.service import VERSION, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.service import Service

ELSEWHERE = "elsewhere.example"


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "normal way"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One service of each kind."""
    with running_service(fast_path=request.param) as service:
        yield service


def ask(service: Service, method: str, path: str) -> tuple[int, bytes]:
    """Status and whole answer to a request whose path goes out as it is, from somebody who asks another host."""
    host, port = service.url.removeprefix("http://").split(":")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {ELSEWHERE}", "Content-Length: 0", "X-Request-ID: a"]
    received = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        while piece := connection.recv(65536):
            received += piece
    return int(received.split()[1]), re.sub(rb"date: [^\r]+", b"", received)


def test_every_route_is_answered_with_and_without_a_slash(service: Service, client: httpx.Client) -> None:
    """By the same answer, for the right method and for others, without a redirect, and without the sender's host."""
    pages = ("/", "/docs", "/card", "/openapi.json", "/page/page.js", "/page")
    paths = [*client.get("/openapi.json").json()["paths"], *pages]
    for template in paths:
        path = template.replace("{model}", "mnist-mlp").replace("{version}", VERSION)
        if path in {"/metrics", "/v2/models/stats"} or path.endswith("/stats"):  # these count the requests themselves
            assert ask(service, "GET", f"{path}/")[0] == 200
            continue
        for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
            found = ask(service, method, path)
            assert found == ask(service, method, path.rstrip("/") + "/"), (method, path)
            assert found[0] in {200, 400, 403, 404, 405, 415}, (method, path)
            assert ELSEWHERE.encode() not in found[1]


AROUND = (
    "// /// //livez /livez// /./livez /page/../livez /livez/. /livez%2f /livez%2F %2flivez /%2flivez /livez%0a "
    "/livez%0d /livez%00 /livez%20 /livez%3f /livez%23 /predict;a /page /page/ /page// /page//page.js /page/./page.js "
    "/page/x/../page.js /page/page.js%00 /page/page.js/x /page/%2e/page.js /page/..%2fapp.py /page/%2e%2e/app.py "
    "/page/../app.py /page/..%5capp.py /page%2fpage.js /static-offline-docs /static-offline-docs/ "
    "/static-offline-docs/../core.py /docs// /docs/x /docs/oauth2-redirect /predictions/mnist-mlp%2f "
    "/v2/models/mnist-mlp%2fready /elsewhere.example/ //elsewhere.example/livez"
).split()


@pytest.mark.parametrize("path", AROUND)
def test_ways_around_lead_nowhere(service: Service, path: str) -> None:
    """404, and no redirect; what does not begin as a path is 400."""
    status, answer = ask(service, "GET", path)
    assert status == (405 if path.startswith("/predictions/") else 404 if path.startswith("/") else 400)
    assert b"location:" not in answer


def test_a_slash_makes_no_new_label(service: Service) -> None:
    """Metrics know a route by its template, however it was asked for."""
    for path in ("/livez", "/livez/", "/v2", "/v2/", "/docs/", "/predict/"):
        ask(service, "GET", path)
    found = {value for _, labels in samples(f"{service.url}/metrics") for name, value in labels if name == "route"}
    assert {"/livez", "/v2", "/docs", "/predict"} <= found
    assert not [route for route in found if route.endswith("/") and route != "/"]


@pytest.mark.parametrize(
    "path", ["/", "/page/page.js", "/card", "/docs", "/docs/", "/static-offline-docs/swagger-ui.css"]
)
def test_pages_let_nobody_in(client: httpx.Client, path: str) -> None:
    """The drawing page and the documentation may be framed by nobody, and load nothing from elsewhere."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
