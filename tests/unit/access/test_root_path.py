"""Below a path of a proxy: every route answers with the path and without it, and documents name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from service.access.proxies import TrustedProxies
from service.access.root_path import RootPath
from tests.support.http import post, responses
from tests.support.pictures import SEVEN
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

TRUSTED = "127.0.0.1"
PATHS = ("/", "/docs", "/livez", "/model", "/v2/models/mnist-mlp", "/v2/health/ready", "/page/page.js", "/openapi.json")


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "app alone"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service with a path of its own, behind a trusted proxy, which is this test."""
    with running_service(root_path="/digits/", trusted_proxies=TRUSTED, fast_path=request.param) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60, headers={"X-Request-ID": "a"}) as client:
        yield client


def test_every_route_answers_with_the_path_and_without(service: Service, client: httpx.Client) -> None:
    """Whether the proxy removes it or not: the same answer, with a slash at the end and a query too."""
    for path in PATHS:
        expected = client.get(path)
        assert expected.status_code == 200, path
        for end in ("", "?x=/digits", *(["/"] if path != "/" else [])):
            found = client.get(f"/digits{path}{end}")
            assert (found.status_code, found.content) == (200, expected.content), path + end
    sent = post(SEVEN)
    below = sent.replace(b" /predict", b" /digits/predict")
    absolute = sent.replace(b" /predict", b" http://x/digits/predict")
    (expected_answer,) = responses(service, sent)
    assert expected_answer.status == 200
    assert responses(service, below + absolute + below) == [expected_answer] * 3


@pytest.mark.parametrize(
    "path",
    ["/digit/livez", "/digitslivez", "/digits//livez", "//digits/livez", "/digits/digits/livez", "/DIGITS/livez",
     "/dig%69ts/livez", "/digits%2flivez", "/digits/../livez", "/other/livez"],
)  # fmt: skip
def test_nothing_else_is_the_path(service: Service, path: str) -> None:
    """404 for what only looks like it."""
    (answer,) = responses(service, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    assert answer.status == 404


def test_the_path_without_a_slash_leads_to_the_page(service: Service, client: httpx.Client) -> None:
    """The page's URLs are relative: a browser is sent to the path with its slash, relative to what it asked for."""
    found = client.get("/digits?x")
    assert (found.status_code, found.headers["location"]) == (307, "digits/")
    assert "Content-Security-Policy" in found.headers
    assert client.get("/digits", follow_redirects=True).content == client.get("/").content
    (absolute,) = responses(service, b"GET http://x/digits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert absolute.status == 307


def test_a_request_that_asks_for_http2_is_read_as_any_other(service: Service) -> None:
    """Java's client and `curl --http2` do: the path is removed once, and without its slash it leads to the page."""
    for path in ("/digits", "/digits/digits/livez", "/digits/livez"):
        for headers in ("", "X-Forwarded-Prefix: /digits\r\n"):
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n{headers}"
            (expected,) = responses(service, f"{head}\r\n".encode())
            (found,) = responses(service, f"{head}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n".encode())
            assert found == expected, path


def servers(client: httpx.Client, path: str = "/openapi.json", forwarded: bytes | None = None) -> object:
    headers = {} if forwarded is None else {b"X-Forwarded-Prefix": forwarded}
    return client.get(path, headers=headers).json().get("servers")


def test_openapi_names_the_path(client: httpx.Client) -> None:
    """By the setting, or by what a trusted proxy says; what is no path is passed over."""
    assert servers(client) == servers(client, "/digits/openapi.json") == [{"url": "/digits"}]
    for forwarded in ("/a", "/a/", "/a/b-c_d~e.f", "/" + "a" * 99):
        assert servers(client, forwarded=forwarded.encode()) == [{"url": forwarded.rstrip("/")}], forwarded
    for forwarded in ("", "/", "a", "//a", "/a//b", "/..", "/a/../b", "/.a", "/a?b", '/"', "/a b", "/" + "a" * 100,
                      "https://a", "/a, /b", "/%61", "/é"):  # fmt: skip
        assert servers(client, forwarded=forwarded.encode()) == [{"url": "/digits"}], forwarded


def test_a_forwarded_path_is_removed_as_the_setting_is(client: httpx.Client) -> None:
    """It takes the setting's place."""
    forwarded = {"X-Forwarded-Prefix": "/a/b"}
    assert client.get("/a/b/livez", headers=forwarded).status_code == 200
    assert client.get("/livez", headers=forwarded).status_code == 200
    assert client.get("/digits/livez", headers=forwarded).status_code == 404
    assert client.get("/a/b", headers=forwarded).headers["location"] == "b/"
    assert client.get("/a/b/livez").status_code == 404


def test_nobody_else_may_forward_a_path() -> None:
    """Without the setting, or from an address that is not trusted, the header means nothing."""
    forwarded = [("X-Forwarded-Prefix", "/a")]
    for settings in ({}, {"trusted_proxies": "192.0.2.1"}):
        with running_service(**settings) as service, httpx.Client(base_url=service.url) as client:
            assert client.get("/a/livez", headers=forwarded).status_code == 404
            assert "servers" not in client.get("/openapi.json", headers=forwarded).json()


def test_the_setting_alone_is_enough() -> None:
    """No proxy need be trusted for it; a path of several segments, and one without a name in the setting."""
    path = RootPath("/a/b", TrustedProxies(None))
    assert path.split(b"/a/b/livez?x", None, "127.0.0.1") == (b"/livez?x", "/a/b")
    assert path.split(b"/a/b", b"/c", "127.0.0.1") == (b"/", "/a/b")
    assert path.split(b"/a/b?x", None, None) == (b"/?x", "/a/b")
    assert path.split(b"*", None, None) == (b"*", "/a/b")
    assert RootPath("", TrustedProxies(None)).split(b"/livez", b"/a", "127.0.0.1") == (b"/livez", "")
