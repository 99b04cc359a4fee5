"""Pages of other sites: they load and unload nothing, and may be kept to the hosts that a service has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from service.access import keys
from tests.support.http import LOAD, UNLOAD, responses
from tests.support.pictures import SEVEN
from tests.support.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service import Service

REBOUND = "rebound.example"


class Open(NamedTuple):
    """A service whose model clients may unload, and the headers that they need for it."""

    service: Service
    host: str
    needed: dict[str, str]


@pytest.fixture(scope="module", params=["MNIST_ADMIN", "keys"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """By the setting, and by a key."""
    key, line = keys.new("operator", "infer,admin", None)
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text(line)
    by_key = request.param == "keys"
    with running_service(**({"api_keys_file": file} if by_key else {"admin": True})) as service:
        yield Open(service, service.url.removeprefix("http://"), {"X-API-Key": key} if by_key else {})


def statuses(opened: Open, headers: dict[str, str]) -> set[int]:
    """What orders to load, which change nothing, are answered on each path to them."""
    urls = [f"{opened.service.url}{LOAD}", f"{opened.service.url}{LOAD}/", f"{opened.service.url}{LOAD}?x"]
    return {httpx.post(url, headers=opened.needed | headers).status_code for url in urls}


CROSS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "CROSS-SITE"},
    {"Sec-Fetch-Site": "something new"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "null", "Host": ""},
    {"Origin": ""},
    {"Origin": "{host}"},
    {"Origin": "http://{host}.evil.example"},
    {"Origin": "http://{host}@evil.example"},
    {"Origin": "http://evil.example/{host}"},
    {"Origin": "http://localhost"},
    {"Origin": "http://a.example", "Host": "a.example:8000"},
]
SAME: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://a.example", "Host": "a.example"},
    {"Origin": "https://A.example", "Host": "a.example:443"},
    {"Origin": "http://a.example:80", "Host": "a.example"},
    {"Origin": "http://[::1]:8000", "Host": "[::1]:8000"},
]


def with_host(headers: dict[str, str], host: str) -> dict[str, str]:
    return {name: value.format(host=host) for name, value in headers.items()}


@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_pages_of_others_load_nothing(opened: Open, headers: dict[str, str]) -> None:
    """403, with a key too, which a proxy may add for whoever visits another's page."""
    assert statuses(opened, with_host(headers, opened.host)) == {403}


@pytest.mark.parametrize("headers", SAME, ids=str)
def test_own_pages_and_other_clients_do(opened: Open, headers: dict[str, str]) -> None:
    """A page of the service itself, and who tells no origin, as clients that are no browsers."""
    assert statuses(opened, with_host(headers, opened.host)) == {200}


def test_pages_of_others_unload_nothing(opened: Open) -> None:
    """By a form or a script: the model goes on to answer; and digits they may ask for."""
    cross = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
    answer = httpx.post(opened.service.url + UNLOAD, headers=opened.needed | cross)
    assert answer.status_code == 403
    assert answer.json() == {"error": "Pages of other sites may not load or unload models."}
    cross["Content-Type"] = "image/png"
    assert httpx.post(f"{opened.service.url}/predict", content=SEVEN, headers=opened.needed | cross).status_code == 200


HOSTS = "digits.example, [::1],10.0.0.1"
PROBES = ["/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready", "/livez/", "/livez?x"]


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "normal way"])
def named(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service that has names."""
    with running_service(allowed_hosts=HOSTS, fast_path=request.param) as service:
        yield service


def ask(service: Service, target: str, host: str | None, version: str = "1.1") -> tuple[int, bytes]:
    """Status and answer to a picture that is sent to this host."""
    lines = [f"{'POST' if 'predict' in target else 'GET'} {target} HTTP/{version}", f"Content-Length: {len(SEVEN)}"]
    lines += [] if host is None else [f"Host: {host}"]
    (answer,) = responses(service, "\r\n".join([*lines, "", ""]).encode() + SEVEN)
    return answer.status, b"".join([*answer.headers, answer.body])


@pytest.mark.parametrize("host", ["digits.example", "DIGITS.example:8000", "digits.example.", "[::1]:80", "10.0.0.1"])
def test_a_service_answers_to_its_hosts(named: Service, host: str) -> None:
    """With any port, as they are written."""
    for target in ("/predict", "/predict?x", "/model", "/", "/metrics"):
        assert ask(named, target, host)[0] == 200


@pytest.mark.parametrize(
    "host", [REBOUND, f"{REBOUND}:80", f"digits.example.{REBOUND}", "xdigits.example", "", "[::2]"]
)
def test_other_hosts_are_400(named: Service, host: str) -> None:
    """On all routes and none, but on probes, which are often sent to an address; the host is not repeated."""
    for target in ("/predict", "/predict/", "/predict?x", "/model", "/", "/metrics", "/nowhere", "/livez/x"):
        status, answer = ask(named, target, host)
        assert status == 400, target
        assert b'"unknown_host"' in answer
        assert b"example" not in answer
    assert b"other" not in ask(named, "/v2", host)[1]
    for target in PROBES:
        assert ask(named, target, host)[0] == 200


def test_the_targets_host_counts(named: Service) -> None:
    """Where a target names one, the header is of no account; and without both there is no host."""
    assert ask(named, "http://digits.example/predict", REBOUND)[0] == 200
    assert ask(named, f"http://{REBOUND}/predict", "digits.example")[0] == 400
    assert ask(named, "/predict", None, "1.0")[0] == 400
    assert ask(named, "/livez", None, "1.0")[0] == 200
