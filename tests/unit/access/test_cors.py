"""Pages of other origins: closed unless a setting names them; then open for all but loading, unloading and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.access import keys
from tests.support.http import LOAD, connect, post, read_response, responses
from tests.support.pictures import SEVEN
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP, EVIL = "https://app.example", "https://evil.example"
INFER = "/v2/models/mnist-mlp/infer"
ALLOW = "access-control-allow-origin"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}


@pytest.fixture(scope="module")
def key_and_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    key, line = keys.new("page", "infer,metrics,admin", None)
    slow, slow_line = keys.new("slow", "infer", "0.001")
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text(f"{line}\n{slow_line}\n")
    (file.parent / "slow").write_text(slow)
    return key, file


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "app alone"])
def service(request: pytest.FixtureRequest, key_and_file: tuple[str, Path]) -> Iterator[Service]:
    """A service with keys, open to two origins."""
    settings = {
        "cors_origins": f"{APP}, http://localhost:3000",
        "api_keys_file": key_and_file[1],
        "fast_path": request.param,
        "max_body_bytes": 70_000,
    }
    with running_service(**settings) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service, key_and_file: tuple[str, Path]) -> Iterator[httpx.Client]:
    """A page of an allowed origin, which has a key."""
    with httpx.Client(base_url=service.url, headers={"X-API-Key": key_and_file[0], "Origin": APP}) as client:
        yield client


def varies(answer: httpx.Response) -> bool:
    return "Origin" in answer.headers.get_list("vary", split_commas=True)


GOOD: dict[str, dict[str, Any]] = {
    "a picture": {"method": "POST", "url": "/predict", "content": SEVEN},
    "a picture, explained": {"method": "POST", "url": "/predict?explain=1", "content": SEVEN},
    "a tensor": {
        "method": "POST",
        "url": INFER,
        "content": bytes(784),
        "headers": {"Inference-Header-Content-Length": "0"},
    },
    "instances": {"method": "POST", "url": "/v1/models/mnist-mlp:predict", "json": {"instances": [[0] * 784]}},
    "a file": {"method": "PUT", "url": "/predictions/mnist-mlp", "content": SEVEN},
    "the card": {"method": "GET", "url": "/model"},
    "health": {"method": "GET", "url": "/readyz"},
    "a file of the page": {"method": "GET", "url": "/page/page.js"},
}


@pytest.mark.parametrize("name", GOOD)
def test_an_allowed_origin_reads_the_answer(client: httpx.Client, name: str) -> None:
    """Each answer names the origin, varies by it, and exposes what clients read; for others it only varies."""
    answer = client.request(**GOOD[name])
    assert answer.status_code == 200, answer.text
    assert answer.headers[ALLOW] == APP
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"x-request-id", "retry-after", "inference-header-content-length"} <= set(exposed)
    assert varies(answer)
    for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Origin": f"{APP}.evil.example"}, {"Origin": ""}):
        other = client.request(**(GOOD[name] | {"headers": GOOD[name].get("headers", {}) | headers}))
        assert (other.status_code, other.content) == (200, answer.content) or "explain" in GOOD[name]["url"]
        assert ALLOW not in other.headers
        assert varies(other)


def test_errors_are_readable_too(service: Service, client: httpx.Client, key_and_file: tuple[str, Path]) -> None:
    """A browser would hide them from the page: of access, of the body, of a route, of the connection."""
    found: dict[str, int] = {}
    slow = (key_and_file[1].parent / "slow").read_text()
    requests: dict[str, dict[str, Any]] = {
        "no key": {"headers": {"X-API-Key": ""}},
        "another key": {"headers": {"X-API-Key": "mnist_" + "A" * 43}},
        "no picture": {"content": b"x", "headers": {"content-type": "image/png"}},
        "no JSON": {"content": b"{", "headers": {"content-type": "application/json"}},
        "scaled": {"json": {"image": [0.5] * 784}},
        "too large": {"content": bytes(100_000)},
        "too late": {"content": SEVEN, "headers": {"X-Request-Timeout-Ms": "1"}},
        "no route": {"url": "/nowhere"},
        "no method": {"method": "DELETE"},
        "rate": {"content": SEVEN, "headers": {"X-API-Key": slow}},
        "rate again": {"content": SEVEN, "headers": {"X-API-Key": slow}},
    }
    for name, request in requests.items():
        answer = client.request(**({"method": "POST", "url": "/predict"} | request))
        found[name] = answer.status_code
        if answer.status_code >= 400:
            assert (answer.headers[ALLOW], varies(answer)) == (APP, True), name
    assert found.pop("too late") in {200, 503, 504}
    assert found == {
        "no key": 401, "another key": 401, "no picture": 415, "no JSON": 400, "scaled": 422, "too large": 413,
        "no route": 404, "no method": 405, "rate": 200, "rate again": 429,
    }  # fmt: skip


def test_errors_of_the_connection_are_readable_too(service: Service, key_and_file: tuple[str, Path]) -> None:
    """Those that no route sees: an ambiguous head, a head that is too large, a body that does not arrive."""
    page = (f"Origin: {APP}", f"X-API-Key: {key_and_file[0]}")
    for name, sent, status in (
        ("two types", post(SEVEN, *page, "Content-Type: image/jpeg"), 400),
        ("large head", post(SEVEN, *page, f"X-Large: {'x' * 40_000}"), 431),
        ("half a body", post(SEVEN, *page)[:-9], 400),
    ):
        (answer,) = responses(service, sent)
        assert answer.status == status, name
        assert b"access-control-allow-origin: %b" % APP.encode() in answer.headers, name


def test_a_request_that_does_not_arrive_gets_a_readable_error() -> None:
    """408, to whoever has sent the origin."""
    with running_service(cors_origins=APP, timeout_seconds=0.5) as service, connect(service) as connection:
        connection.sendall(post(SEVEN, f"Origin: {APP}")[:-9])
        status, headers, _ = read_response(connection.makefile("rb"))
    assert (status, headers[ALLOW]) == (408, APP)


def preflight(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    """As a browser sends it: without the page's key."""
    with httpx.Client(base_url=client.base_url) as browser:
        return browser.options(path, headers={"Origin": APP} | PREFLIGHT | headers)


@pytest.mark.parametrize(
    "path", ["/predict", "/predict/", "/predict?explain=1", INFER, "/v1/models", "/model", "/none"]
)
def test_a_preflight_needs_no_key(client: httpx.Client, path: str) -> None:
    """204 with methods, headers and how long that holds; nothing is read of it but its head."""
    answer = preflight(client, path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers[ALLOW] == APP
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PUT"
    assert answer.headers["access-control-allow-headers"] == "*, Authorization"
    assert int(answer.headers["access-control-max-age"]) == 7200
    assert varies(answer)
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Origin": "null"}, {"Access-Control-Request-Method": ""}, {}])
def test_no_other_request_is_a_preflight(client: httpx.Client, headers: dict[str, str]) -> None:
    """Of another origin, or without the header that makes it one: the app answers, as it does without CORS."""
    with httpx.Client(base_url=client.base_url) as other:
        sent = {"Origin": APP} if headers == {} else PREFLIGHT | {"Origin": APP} | headers
        if "" in headers.values():
            del sent["Access-Control-Request-Method"]
        answer = other.options("/predict", headers=sent)
    assert answer.status_code == 405
    assert "access-control-allow-methods" not in answer.headers


WRITTEN_OTHERWISE = [LOAD.replace("repo", "%72epo"), "/metric%73"]
CLOSED = [LOAD, LOAD.replace("load", "unload"), "/v2/repository/index", "/metrics"]


@pytest.mark.parametrize(
    "path", [*CLOSED, *(f"{path}/" for path in CLOSED), LOAD.replace("repo", "%72epo"), "/metric%73"]
)
def test_operators_routes_stay_closed(client: httpx.Client, path: str) -> None:
    """Loading, unloading and the metrics, however their path is written: no page of another origin is let in."""
    assert preflight(client, path).status_code == 405
    for method in ("GET", "POST"):
        answer = client.request(method, path)
        assert answer.status_code in ({403, 405} if "models" in path else {200, 405}), answer.text
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert not varies(answer)


def test_every_origin_may_be_allowed() -> None:
    """With an asterisk, for all and for none alike, so that a cache need not tell them apart."""
    with running_service(cors_origins="*") as service, httpx.Client(base_url=service.url) as client:
        for headers in ({"Origin": EVIL}, {"Origin": "null"}, {}):
            answer = client.post("/predict", content=SEVEN, headers=headers)
            assert (answer.status_code, answer.headers[ALLOW], varies(answer)) == (200, "*", False)
        assert client.options("/predict", headers={"Origin": EVIL} | PREFLIGHT).headers[ALLOW] == "*"
        refused = client.post(LOAD, headers={"Origin": EVIL})
        assert (refused.status_code, ALLOW in refused.headers) == (403, False)
        packed = client.get("/page/page.js", headers={"Origin": EVIL, "Accept-Encoding": "gzip"})
        assert (packed.headers[ALLOW], packed.headers["vary"]) == ("*", "Accept-Encoding")


def test_off_nothing_changes(server: Service) -> None:
    """Without the setting no answer has such a header, and a preflight is a method that the route does not have."""
    with httpx.Client(base_url=server.url) as client:
        for answer in (
            client.post("/predict", content=SEVEN, headers={"Origin": APP}),
            client.get("/model", headers={"Origin": APP}),
            client.options("/predict", headers={"Origin": APP} | PREFLIGHT),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert not varies(answer)
        assert answer.status_code == 405
