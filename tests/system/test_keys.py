"""API keys: none are needed unless a file of them is set; then each request is let in by its key's scopes and rate."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import grpc
import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.access import keys
from service.access.authorisation import scope_of
from service.app import create_app
from service.codec import inference_pb2 as pb
from service.connection.drain import Drain
from service.settings import load
from service.v2.grpc.calls import SERVICE
from service.versions.manager import VersionManager
from service.versions.shared_state import SharedState
from tests.support.http import LOAD, OCTETS, UNLOAD, connect, post, read_response
from tests.support.pictures import SEVEN, Digits, png
from tests.support.service import ROOT, Service, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INFER = "/v2/models/mnist-mlp/infer"
STRANGER = "mnist_" + "A" * 43


class Kept(NamedTuple):
    """A service with a file of keys, and the keys."""

    service: Service
    file: Path
    shop: str  # infer
    prometheus: str  # metrics
    operator: str  # infer, metrics, admin
    slow: str  # infer, one request in 1,000 seconds


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """One service, with gRPC, that logs all it can."""
    made = [
        keys.new("shop", "infer", None),
        keys.new("prometheus", "metrics", None),
        keys.new("operator", "infer,metrics,admin", None),
        keys.new("slow", "infer", "0.001"),
    ]
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text("# whose, what for, the key's SHA-256\n\n" + "".join(f"{line}\n" for _, line in made))
    with running_service(api_keys_file=file, grpc_port=0, access_log=1, log_level="debug") as service:
        yield Kept(service, file, *(key for key, _ in made))


@pytest.fixture
def client(kept: Kept) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=kept.service.url, timeout=60) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def requests_by_key(text: str) -> dict[tuple[str, str], float]:
    found = re.findall(r'mnist_key_requests_total\{key="(.*)",result="(.*)"\} (\S+)', text)
    return {(key, result): float(value) for key, result, value in found}


def test_without_a_key_only_health_and_the_page_answer(kept: Kept, client: httpx.Client) -> None:
    """Probes and the page's files are open; what the page asks for is not."""
    ready = "/v2/models/mnist-mlp/ready"
    docs = ("/docs", "/docs/", "/openapi.json", "/static-offline-docs/swagger-ui-bundle.js", "/page/docs.js")
    pages = ("/", "/card", "/page/page.js", *docs)
    for path in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready", ready, f"{ready}/", *pages):
        assert client.get(path).status_code == 200, path
    for path in ("/model", "/metrics", "/v1/models", "/v2", "/v2/models/mnist-mlp", "/v2/models/stats"):
        assert client.get(path).status_code == 401, path


def test_every_route_asks_for_a_key_or_is_known_to_be_open(kept: Kept) -> None:
    """Of all the routes that there are; a new one is closed unless it is named here."""
    settings = load(["--api-keys-file", str(kept.file)])
    paths = create_app(
        settings, VersionManager(settings, SharedState(shared=False)), CollectorRegistry(), Drain(0)
    ).openapi()["paths"]
    assert all(operation.get("security") for path in paths.values() for operation in path.values())
    assert {path for path in paths if scope_of(path) is None} == {
        "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready",
        "/v1/models/{model}", "/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready",
    }  # fmt: skip
    assert [path for path in paths if scope_of(path) == "metrics"] == ["/metrics"]


@pytest.mark.parametrize("how", ["fast", "normal"])
def test_a_key_lets_in_by_either_header(kept: Kept, client: httpx.Client, how: str) -> None:
    """Authorization and X-API-Key, on the fast path and beside it; another Authorization beside X-API-Key is let be."""
    path = "/predict" if how == "fast" else "/predict?explain=1"
    for headers in (
        bearer(kept.shop),
        {"Authorization": f"bearer {kept.shop}"},
        {"X-API-Key": kept.shop},
        {"X-API-Key": kept.shop, "Authorization": "Basic Zm9vOmJhcg=="},
        {"Authorization": "Bearer of.something.else", "X-API-Key": kept.shop},
    ):
        answer = client.post(path, content=SEVEN, headers=headers)
        assert (answer.status_code, answer.json()["predictions"][0]["digit"]) == (200, 7)


WRONG = {
    "none": {},
    "one that nobody has": bearer(STRANGER),
    "empty": {"X-API-Key": ""},
    "too long": bearer("mnist_" + "A" * 5000),
    "no text": {"X-API-Key": "mnist_\u00e9"},
    "in another scheme": {"Authorization": f"Basic {STRANGER}"},
}


@pytest.mark.parametrize("case", WRONG)
def test_without_the_right_key_it_is_401(client: httpx.Client, case: str) -> None:
    """A problem, or below /v2 {"error": …}, and a challenge; the body is not looked at."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in WRONG[case].items()]
    answer = client.post("/predict", content=SEVEN, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="mnist-mlp"')
    assert answer.json()["reason"] == "unauthorized"
    answer = client.post(INFER, content=b"nothing of this is read", headers=headers)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


def test_a_key_in_the_url_is_none(kept: Kept, client: httpx.Client) -> None:
    """URLs get into logs, so keys are not taken from there."""
    for name in ("key", "api_key", "access_token"):
        assert client.post("/predict", params={name: kept.shop}, content=SEVEN).status_code == 401


def test_scopes_are_apart(kept: Kept, client: httpx.Client) -> None:
    """403 says what the key is for and what was asked; no scope holds another."""
    body = SEVEN
    for key, method, path, status in (
        (kept.shop, "GET", "/metrics", 403),
        (kept.prometheus, "GET", "/metrics", 200),
        (kept.prometheus, "POST", "/predict", 403),
        (kept.operator, "POST", "/predict", 200),
        (kept.shop, "POST", UNLOAD, 403),
    ):
        answer = client.request(method, path, content=body, headers=bearer(key))
        assert answer.status_code == status, path
    assert (
        "of prometheus is for metrics; this asks for infer"
        in client.post("/predict", headers=bearer(kept.prometheus)).json()["detail"]
    )
    assert "asks for admin" in client.post(UNLOAD, headers=bearer(kept.shop)).json()["error"]


def test_the_scope_admin_lets_load_and_unload(kept: Kept, client: httpx.Client) -> None:
    """Over HTTP and gRPC, where MNIST_ADMIN is off; where it is on, a key without the scope still does not."""
    assert client.post(UNLOAD, headers=bearer(kept.operator)).status_code == 200
    assert client.post("/predict", content=SEVEN, headers=bearer(kept.shop)).status_code == 503
    assert client.post(LOAD, headers=bearer(kept.operator)).status_code == 200
    assert client.post("/predict", content=SEVEN, headers=bearer(kept.shop)).status_code == 200
    with grpc.insecure_channel(kept.service.grpc) as channel:
        repository = pb.RepositoryModelLoadRequest(model_name="mnist-mlp").SerializeToString()
        for method in ("RepositoryModelUnload", "RepositoryModelLoad"):
            assert call(channel, method, ("x-api-key", kept.operator), message=repository) == "OK"
    with running_service(api_keys_file=kept.file, admin=True) as service:
        assert httpx.post(service.url + UNLOAD, headers=bearer(kept.shop)).status_code == 403


def test_a_rate_is_kept(kept: Kept, client: httpx.Client) -> None:
    """The first request is answered, the next is 429 with Retry-After, on every way in; other keys go on."""
    body = SEVEN
    assert client.post("/predict", content=body, headers=bearer(kept.slow)).status_code == 200
    for path in ("/predict", "/predict?explain=1", INFER):
        answer = client.post(path, content=body, headers=bearer(kept.slow))
        assert answer.status_code == 429
        assert 900 < int(answer.headers["retry-after"]) <= 1000
    assert client.post("/predict", content=body, headers=bearer(kept.shop)).status_code == 200


def test_requests_are_counted_by_whose_key_they_had(kept: Kept, client: httpx.Client) -> None:
    """By the names in the file, and `-` for none that is known: the labels are as many as the lines."""

    def now() -> dict[tuple[str, str], float]:
        return requests_by_key(client.get("/metrics", headers=bearer(kept.prometheus)).text)

    before = now()
    for headers in (bearer(kept.shop), bearer(kept.shop), bearer(kept.prometheus), bearer(STRANGER), {}):
        client.post("/predict", content=SEVEN, headers=headers)
    client.post(INFER, content=bytes(784), headers=bearer(kept.operator))
    after = now()
    new = {key: after[key] - before[key] for key in after if after[key] != before[key]}
    assert new == {
        ("shop", "accepted"): 2, ("prometheus", "forbidden"): 1, ("prometheus", "accepted"): 1,
        ("-", "unknown"): 1, ("-", "missing"): 1, ("operator", "accepted"): 1,
    }  # fmt: skip
    assert {key for key, _ in after} == {"shop", "prometheus", "operator", "slow", "-"}


def call(channel: grpc.Channel, method: str, *metadata: tuple[str, str], message: bytes = b"") -> str:
    """The status of a call."""
    try:
        channel.unary_unary(f"/{SERVICE.full_name}/{method}")(message, metadata=metadata, timeout=60)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_grpc_asks_for_keys_too(kept: Kept) -> None:
    """From the metadata, by the same scopes; health stays open, gRPC's own too."""
    by_bearer, by_name = ("authorization", f"Bearer {kept.shop}"), ("x-api-key", kept.shop)
    with grpc.insecure_channel(kept.service.grpc) as channel:
        assert [call(channel, method) for method in ("ServerLive", "ServerReady")] == ["OK", "OK"]
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=60)
        assert call(channel, "ServerMetadata") == "UNAUTHENTICATED"
        assert call(channel, "ServerMetadata", ("authorization", f"Bearer {STRANGER}")) == "UNAUTHENTICATED"
        assert call(channel, "ModelInfer") == "UNAUTHENTICATED"
        assert [call(channel, "ServerMetadata", header) for header in (by_bearer, by_name)] == ["OK", "OK"]
        assert call(channel, "RepositoryModelUnload", by_name) == "PERMISSION_DENIED"
        assert call(channel, "ServerMetadata", ("x-api-key", kept.prometheus)) == "PERMISSION_DENIED"
        assert call(channel, "ServerMetadata", ("x-api-key", kept.slow)) in {"OK", "RESOURCE_EXHAUSTED"}
        assert call(channel, "ServerMetadata", ("x-api-key", kept.slow)) == "RESOURCE_EXHAUSTED"
        request = pb.ModelInferRequest(
            model_name="mnist-mlp",
            inputs=[pb.ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=[1, 1, 28, 28])],
            raw_input_contents=[bytes(784)],
        )
        infer = channel.unary_unary(f"/{SERVICE.full_name}/ModelInfer", pb.ModelInferRequest.SerializeToString)
        assert infer(request, metadata=[by_bearer], timeout=60)


@pytest.mark.parametrize("fast_path", [True, False])
def test_an_expired_key_is_401_and_told(tmp_path: Path, fast_path: bool) -> None:
    """Over HTTP and gRPC, by a sentence with its last day; a key of the same name that is good lets in."""
    made = [
        keys.new("shop", "infer", None, "2026-01-31"),
        keys.new("shop", "infer,metrics", None, "2999-01-31"),
    ]
    (old, _), (new, _) = made
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"{line}\n" for _, line in made))
    with running_service(api_keys_file=file, grpc_port=0, fast_path=fast_path) as service:
        refusals = [
            httpx.post(f"{service.url}/predict", content=SEVEN, headers=bearer(old)),
            httpx.post(f"{service.url}/predict?explain=1", content=SEVEN, headers=bearer(old)),
            httpx.get(f"{service.url}/metrics", headers=bearer(old)),
        ]
        for refusal in refusals:
            assert refusal.status_code == 401
            assert refusal.json()["detail"] == "The key of shop has expired: its last day was 2026-01-31."
            assert refusal.headers["WWW-Authenticate"] == 'Bearer realm="mnist-mlp", error="invalid_token"'
        assert httpx.post(f"{service.url}/predict", content=SEVEN, headers=bearer(new)).status_code == 200
        with grpc.insecure_channel(service.grpc) as channel:
            assert call(channel, "ServerMetadata", ("x-api-key", old)) == "UNAUTHENTICATED"
            assert call(channel, "ServerMetadata", ("x-api-key", new)) == "OK"
        counted = requests_by_key(httpx.get(f"{service.url}/metrics", headers=bearer(new)).text)
        assert (counted["shop", "expired"], counted["shop", "accepted"]) == (4, 3)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline


def test_keys_are_changed_without_a_restart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A new line lets in, a line that is gone does not, and a file that cannot be read changes nothing but the log."""
    (old, old_line), (new, new_line) = keys.new("shop", "infer", None), keys.new("shop", "infer", None)
    file = tmp_path / "keys.txt"
    file.write_text(old_line)
    with running_service(api_keys_file=file) as service, httpx.Client(base_url=service.url) as client:

        def status(key: str) -> int:
            return client.post("/predict", content=SEVEN, headers=bearer(key)).status_code

        assert (status(old), status(new)) == (200, 401)
        file.write_text(f"{old_line}\n{new_line}\n")
        until(lambda: status(new) == 200)
        assert status(old) == 200
        (tmp_path / "next.txt").write_text(new_line)
        (tmp_path / "next.txt").replace(file)
        until(lambda: status(old) == 401)
        assert status(new) == 200
        logged = ""
        file.write_text(f"{new_line}\nmnist_a-key-by-mistake infer\n")
        while "line 2" not in logged:
            assert status(new) == 200
            logged += capfd.readouterr().err
    assert "by-mistake" not in logged


@pytest.mark.parametrize("workers", [1, 2])
def test_the_metrics_have_the_last_day_of_keys(tmp_path: Path, workers: int) -> None:
    """Of keys that have one, and the later of two lines with one name; a name without a last day, or gone, has none."""
    key, scraper = keys.new("prometheus", "metrics", None)
    lines = [keys.new("shop", "infer", None, day)[1] for day in ("2027-01-31", "2999-12-31")]
    lines += [keys.new("bank", "infer", None, "2030-01-01")[1]]
    half = [keys.new("mixed", "infer", None, "2030-01-01")[1], keys.new("mixed", "infer", None)[1]]
    file = tmp_path / "keys.txt"
    file.write_text("\n".join([scraper, *lines, *half]))

    def expiries() -> dict[str, float]:
        text = httpx.get(f"{service.url}/metrics", headers=bearer(key)).raise_for_status().text
        found = re.findall(r'^mnist_api_key_expiry_timestamp_seconds{key="(.*)"} (.*)$', text, re.MULTILINE)
        return {name: float(seconds) for name, seconds in found}

    def last_moment(year: int, month: int, day: int) -> float:
        return datetime(year, month, day, 23, 59, 59, 999_999, UTC).timestamp()

    with running_service(api_keys_file=file, workers=workers) as service:
        until(lambda: expiries() == {"shop": last_moment(2999, 12, 31), "bank": last_moment(2030, 1, 1)})
        file.write_text("\n".join([scraper, lines[0]]))
        until(lambda: expiries() == {"shop": last_moment(2027, 1, 31)})


def test_a_swapped_secret_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a Secret as links over a link, which it exchanges: the new keys count, and the old no more."""
    (old, old_line), (new, new_line) = keys.new("shop", "infer", None), keys.new("shop", "infer", None)
    for name, line in (("..2025_01", old_line), ("..2025_02", new_line)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.txt").write_text(line)
    (tmp_path / "..data").symlink_to("..2025_01")
    (tmp_path / "keys.txt").symlink_to("..data/keys.txt")
    with running_service(api_keys_file=tmp_path / "keys.txt") as service:

        def status(key: str) -> int:
            return httpx.post(f"{service.url}/predict", content=SEVEN, headers=bearer(key)).status_code

        assert (status(old), status(new)) == (200, 401)
        (tmp_path / "..data_tmp").symlink_to("..2025_02")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        until(lambda: status(new) == 200)
        assert status(old) == 401


def test_without_its_file_a_service_lets_nobody_in(tmp_path: Path) -> None:
    """For ten seconds the keys stay, and a metric tells; then all is 401, and /readyz says why; until it is back."""
    workers = 2
    made = [keys.new("shop", "infer", None), keys.new("prometheus", "metrics", None)]
    (key, _), (scraper, _) = made
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"{line}\n" for _, line in made))
    with running_service(api_keys_file=file, workers=workers) as service:

        def status(path: str = "/predict") -> int:
            return httpx.post(service.url + path, content=SEVEN, headers=bearer(key)).status_code

        def told() -> bool:
            return "mnist_api_keys_unreadable 1.0" in httpx.get(f"{service.url}/metrics", headers=bearer(scraper)).text

        def loaded() -> bool:
            text = httpx.get(f"{service.url}/metrics", headers=bearer(scraper)).text
            return f'mnist_model_reloads_total{{result="success"}} {workers}.0' in text

        until(loaded)
        assert not told()
        file.rename(tmp_path / "away")
        began = time.monotonic()
        until(told)
        while time.monotonic() - began < 6:
            assert (status(), status("/predict?explain=1")) == (200, 200)
            assert httpx.get(f"{service.url}/readyz").status_code == 200
            time.sleep(0.1)
        until(lambda: {status() for _ in range(20)} == {401})
        until(lambda: all(httpx.get(f"{service.url}/readyz").status_code == 503 for _ in range(20)))
        assert httpx.get(f"{service.url}/readyz").json() == {"status": "the file of API keys is missing"}
        assert httpx.get(f"{service.url}/livez").status_code == 200
        assert status("/predict?explain=1") == 401
        (tmp_path / "away").rename(file)
        until(lambda: {status() for _ in range(20)} == {200})
        until(lambda: all(httpx.get(f"{service.url}/readyz").status_code == 200 for _ in range(20)))
        until(lambda: not told())


def decoded(service: Service, scraper: str) -> float:
    """How many bodies have been read."""
    text = httpx.get(f"{service.url}/metrics", headers=bearer(scraper)).text
    found = re.search(r'mnist_stage_duration_seconds_count\{stage="decode"\} (\S+)', text)
    assert found
    return float(found[1])


@pytest.mark.parametrize("fast_path", [True, False])
def test_what_is_over_the_rate_is_not_read(tmp_path: Path, fast_path: bool) -> None:
    """The token is taken before the body is looked at: good, bad and broken bodies are 429 alike, and cost no work."""
    made = [keys.new("slow", "infer", "0.001"), keys.new("prometheus", "metrics", None)]
    (slow, _), (scraper, _) = made
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"{line}\n" for _, line in made))
    with running_service(api_keys_file=file, fast_path=fast_path) as service, connect(service) as connection:
        stream = connection.makefile("rb")

        def ask(body: bytes, kind: str = OCTETS) -> int:
            connection.sendall(post(body, f"X-API-Key: {slow}", kind=kind))
            return read_response(stream)[0]

        assert ask(SEVEN) == 200
        before = decoded(service, scraper)
        for body in (SEVEN, bytes(784), b"x" * 784, b"", b"x", bytes(784 * 64), bytes(784 * 999)):
            assert ask(body) == 429
            assert ask(body, "application/json") == 429
        assert decoded(service, scraper) == before


@pytest.mark.parametrize("fast_path", [True, False])
def test_each_request_costs_one_token(tmp_path: Path, digits: Digits, fast_path: bool) -> None:
    """Whichever way it goes, and also where the fast path begins with it and the app ends it."""
    made = [keys.new("shop", "infer", None), keys.new("prometheus", "metrics", None)]
    (key, _), (scraper, _) = made
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"{line}\n" for _, line in made))
    picture = png(digits.images[0])
    pixels = digits.images[:2].tobytes()
    with running_service(api_keys_file=file, fast_path=fast_path) as service, connect(service) as connection:
        stream = connection.makefile("rb")
        header = f"X-API-Key: {key}"
        known, large = post(pixels, header, kind=OCTETS), png(np.kron(digits.images[0], np.ones((30, 30), np.uint8)))
        requests = {
            "a picture": [post(picture, header)],
            "pixels": [known],
            "the same again": [known],
            "no pixels with the same head": [known[:-1568] + b"x" * 1568],
            "what is prepared, with the same head": [known[:-1568] + np.roll(digits.images[2:4], 6, axis=2).tobytes()],
            "no type": [post(picture, header, kind="none/none")],
            "no picture": [post(b"x", header)],
            "no JSON": [post(b"{", header, kind="application/json")],
            "a time that is none": [post(picture, header, "X-Request-Timeout-Ms: x")],
            "a large picture": [post(large, header)],
            "more than is small": [post(bytes(784 * 100), header, kind=OCTETS)],
            "explained": [post(picture, header).replace(b"/predict", b"/predict?explain=1")],
            "an inference": [post(bytes(784), header).replace(b"/predict", INFER.encode())],
            "slowly": [post(picture, header)[:-10], post(picture, header)[-10:]],
            "two at once": [post(picture, header) * 2],
        }
        count = 0
        for what, parts in requests.items():
            for part in parts:
                connection.sendall(part)
                time.sleep(0.1 * (len(parts) - 1))
            for _ in range(1 + (what == "two at once")):
                read_response(stream)
                count += 1
            text = httpx.get(f"{service.url}/metrics", headers=bearer(scraper)).text
            assert requests_by_key(text)["shop", "accepted"] == count, what


def test_a_head_that_comes_again_needs_its_key_too(tmp_path: Path, digits: Digits) -> None:
    """The same bytes again and again on one connection: answered within the key's rate, and while it is known."""
    file = tmp_path / "keys.txt"
    made = [keys.new("shop", "infer", None), keys.new("slow", "infer", "0.001")]
    file.write_text("".join(f"{line}\n" for _, line in made))
    with running_service(api_keys_file=file) as service:

        def again(key: str) -> Iterator[int]:
            request = post(digits.images[0].tobytes(), f"X-API-Key: {key}", kind=OCTETS)
            with connect(service) as connection:
                stream = connection.makefile("rb")
                while True:
                    connection.sendall(request)
                    yield read_response(stream)[0]

        assert list(itertools.islice(again(made[1][0]), 3)) == [200, 429, 429]
        shop = again(made[0][0])
        assert list(itertools.islice(shop, 3)) == [200, 200, 200]
        file.write_text(made[1][1])
        until(lambda: next(shop) == 401)
        file.write_text(made[0][1])
        until(lambda: next(shop) == 200)


def test_no_key_is_ever_told(kept: Kept, capfd: pytest.CaptureFixture[str]) -> None:
    """With every request logged: no key is in a log, an answer, a header or a metric."""
    texts = []
    with (
        running_service(api_keys_file=kept.file, access_log=1, log_level="debug") as service,
        httpx.Client(base_url=service.url) as client,
    ):
        for key in (kept.shop, STRANGER):
            for method, path in (("POST", "/predict"), ("POST", UNLOAD), ("GET", "/nowhere"), ("GET", "/metrics")):
                answer = client.request(method, path, headers=bearer(key))
                texts.append(f"{answer.text} {answer.headers}")
        texts.append(client.get("/metrics", headers=bearer(kept.prometheus)).text)
    logged = capfd.readouterr().err
    assert logged.count('"route"') == 9 + 1  # and the probe of the start
    assert not any(key[6:] in text for text in (*texts, logged) for key in (kept.shop, STRANGER))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_not_there_ends_the_start_with_exit_code_2(workers: int) -> None:
    """One line names it: a service that was meant to ask for keys never runs without."""
    command = [sys.executable, "-m", "service", "--port", "0", "--api-keys-file", "/nowhere", "--workers", str(workers)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert (
        ended.stderr == "service: MNIST_API_KEYS_FILE: /nowhere: expected a readable file, found No such file or "
        "directory\n"
    )


def test_openapi_tells_of_keys_where_they_are_needed(client: httpx.Client) -> None:
    """Both headers, and 401, 403 and 429 on /predict; probes need none."""
    document = json.loads(client.get("/openapi.json").text)
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    assert {"401", "403", "429"} <= set(document["paths"]["/predict"]["post"]["responses"])
    needed = {path: "security" in next(iter(methods.values())) for path, methods in document["paths"].items()}
    assert needed["/predict"] and needed["/metrics"] and needed["/v2/models/{model}/infer"]
    assert not (needed["/readyz"] or needed["/v2/health/live"] or needed["/v2/models/{model}/ready"])
