"""A version is tried beside the one that serves: compared, given a share of the requests, and stopped if it is bad."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from service.commands.cli import main, run_alone
from service.model.uncertainty import warnings_for
from service.observability.labels import AGREEMENTS
from service.settings import load
from service.versions import choice
from service.versions.canary import WINDOW, CanaryTrial
from tests.support.graphs import Graph, next_digit, not_finite, publish_edited, raises, slow
from tests.support.metrics import Samples, failed_loads, samples, value
from tests.support.pictures import Digits, png
from tests.support.service import MODELS, ROOT, Service, publish, running_service, until
from tests.support.traffic import Traffic
from tests.support.versions import wait_for_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.arrays import Pixels
    from service.model.classifier import Classifier
    from tests.support.traffic import Expected

INFER = "/v2/models/mnist-mlp/infer"
FRESH = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=60)  # a connection for each request


def inked(digits: Digits) -> tuple[int, int, int]:
    """A digit, and the row and column where it has ink, and no golden digit has."""
    with np.load(MODELS / "2" / "golden.npz") as golden:
        free = golden["images"][:, 0].max(axis=0) == 0
    which, row, column = np.argwhere((digits.images == 255) & free)[0]
    return which, row, column


@pytest.fixture
def both(models: Path) -> Path:
    """A model's folder with versions 1 and 2."""
    publish(models, 2)
    return models


def tell(models: Path, *words: str) -> None:
    assert run_alone("canary", [*words, "--model-dir", str(models)]) == 0


def states(service: Service) -> set[str]:
    """The versions that answer, of twenty new connections, of which one at least reaches each worker."""
    indices = [FRESH.post(f"{service.url}/v2/repository/index").json() for _ in range(20)]
    return {"".join(entry["version"] for entry in index if entry["state"] == "READY") for index in indices}


def predict(service: Service, images: Pixels, **headers: str) -> str:
    """The version that answers these pixels."""
    headers = {"content-type": "application/octet-stream", **headers}
    answer = FRESH.post(f"{service.url}/predict", content=images.tobytes(), headers=headers)
    return str(answer.raise_for_status().json()["model"]["version"])


def ask_until(service: Service, images: Pixels, true: Callable[[Samples], object], what: str) -> Samples:
    """Ask again and again until the metrics say so; they are returned."""
    found: Samples = {}

    def one_more() -> bool:
        nonlocal found
        predict(service, images)
        found = samples(f"{service.url}/metrics")
        return bool(true(found))

    until(one_more, what)
    return found


def rolled_back(found: Samples, reason: str) -> float:
    return value(found, "mnist_canary_rollbacks_total", {"reason": reason})


def compared(found: Samples, agreement: str) -> float:
    return value(found, "mnist_shadow_answers_total", {"agreement": agreement})


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_shadow_is_compared_and_answers_nobody(
    both: Path, digits: Digits, version_2: Classifier, fast_path: bool
) -> None:
    """The same pictures again and again: each comparison counts as many that agree as there are offline."""
    other = type(version_2).load(MODELS, "1")
    one, two = (version.predict(digits.images[:, None]) for version in (other, version_2))
    agree = one.argmax(axis=1) == two.argmax(axis=1)
    chosen = np.argsort(agree, kind="stable")[:64]  # those that differ come first
    images = digits.images[chosen]
    doubted = np.array([bool(warnings) for warnings in warnings_for(two[chosen])])
    differing = int((~doubted & ~agree[chosen]).sum())
    assert doubted.sum() > 2
    assert differing > 10
    with running_service(model_dir=both, model_version="latest", fast_path=fast_path) as service:
        tell(both, "1")
        until(lambda: states(service) == {"21"}, "the shadow is not there")
        rounds = 0
        while rounds < 5:
            assert predict(service, images) == "2"
            found = samples(f"{service.url}/metrics")
            rounds = int(sum(compared(found, agreement) for agreement in AGREEMENTS)) // 64
        assert compared(found, "different") == rounds * differing
        assert compared(found, "doubted") == rounds * doubted.sum()
        assert compared(found, "failed") == 0
        assert value(found, "mnist_shadow_inference_seconds_count", {"version": "canary"}) == rounds
        assert value(found, "mnist_shadow_inference_seconds_sum", {"version": "served"}) > 0
        assert value(found, "mnist_canary_version") == 1
        tell(both, "--off")
        until(lambda: states(service) == {"2"}, "the shadow is still there")


def test_an_id_stays_on_its_side(both: Path, digits: Digits, version_2: Classifier) -> None:
    """Over two workers, both protocols and a restart; more percent keep who was there; without ids it is a share."""
    ids = [f"client-{number}" for number in range(40)]

    def expected(percent: float) -> list[str]:
        canary = CanaryTrial(type(version_2).load(MODELS, "1"), choice.CanarySpec(1, percent, 0))
        return ["1" if canary.answers(name) else "2" for name in ids]

    def sides() -> list[str]:
        return [predict(service, digits.images[0], **{"x-request-id": name}) for name in ids]

    few, many = expected(30), expected(60)
    assert 6 <= few.count("1") <= 18
    assert all(after == "1" for before, after in zip(few, many, strict=True) if before == "1")
    settings: dict[str, Any] = {"model_dir": both, "model_version": "latest", "workers": 2}
    with running_service(**settings) as service:
        tell(both, "1", "--percent", "30")
        until(lambda: states(service) == {"21"}, "the canary is not there")
        assert [sides() for _ in range(3)] == [few] * 3
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": digits.images[0].tolist()}
        asked = [FRESH.post(f"{service.url}{INFER}", json={"id": name, "inputs": [tensor]}).json() for name in ids]
        assert [answer["model_version"] for answer in asked] == few
        named = httpx.post(f"{service.url}/v2/models/mnist-mlp/versions/1/infer", json={"inputs": [tensor]})
        assert named.json()["model_version"] == "1"
        found = [predict(service, digits.images[0]) for _ in range(100)]
        assert 10 < found.count("1") < 50
        tell(both, "1", "--percent", "60")
        until(lambda: sides() == many, "the share has not changed")
    with running_service(**settings) as service:
        until(lambda: states(service) == {"21"}, "the canary is not there")
        assert sides() == many


def test_nothing_is_lost_while_a_canary_comes_grows_and_is_promoted(both: Path, expected: Expected) -> None:
    """Two workers under load: every answer is the one that the version it names gives offline."""
    tell(both, "2")
    with (
        running_service(model_dir=both, model_version="latest", workers=2) as service,
        Traffic(service.url, expected) as traffic,
    ):
        assert httpx.get(f"{service.url}/model").json()["version"] == 1  # not the newest, which is tried
        until(lambda: states(service) == {"21"}, "the shadow is not there")
        assert set(traffic.answered) == {"1"}
        for percent in ("10", "50"):
            tell(both, "2", "--percent", percent)
            before = traffic.answered["2"]
            until(lambda: traffic.answered["2"] > before + 20, "the canary does not answer")  # noqa: B023 - until returns
        tell(both, "--promote")
        wait_for_version(service, "2")
        until(lambda: states(service) == {"2"}, "the canary is still tried")
        traffic.stop()
        found = samples(f"{service.url}/metrics")
    assert traffic.failures == []
    assert traffic.refused == 0
    assert not (both / "PINNED").exists()  # latest comes to it by itself
    assert value(found, "mnist_canary_requests_total", {"result": "answered"}) >= 40
    assert sum(rolled_back(found, reason) for reason in ("errors", "latency", "agreement")) == 0


def test_one_that_says_other_digits_is_rolled_back(
    both: Path, digits: Digits, capfd: pytest.CaptureFixture[str]
) -> None:
    """In both workers, with one line in the log, until it is told again; it is not `latest` meanwhile."""
    images = digits.images[:64]
    publish_edited(both, 3, next_digit)
    tell(both, "3")
    with running_service(model_dir=both, model_version="latest", workers=2) as service:
        until(lambda: states(service) == {"32"}, "the shadow is not there")
        ask_until(service, images, lambda found: compared(found, "different") > 3 * WINDOW, "it is not compared")
        tell(both, "3", "--percent", "100")
        found = ask_until(service, images, lambda found: rolled_back(found, "agreement"), "it is not stopped")
        until(lambda: states(service) == {"2"}, "it is not stopped everywhere")
        time.sleep(1.2)  # two looks
        assert states(service) == {"2"}
        assert rolled_back(samples(f"{service.url}/metrics"), "agreement") == 1
        assert compared(found, "same") == 0
        tell(both, "3")
        until(lambda: states(service) == {"32"}, "it is not tried again")
    lines = [line for line in capfd.readouterr().err.splitlines() if "rolled back" in line]
    why = "the canary, version 3, is rolled back: it agrees on 0.0% of 200 pictures; the limit is 90%"
    assert [json.loads(line)["message"] for line in lines] == [why]


@pytest.mark.parametrize(("fault", "fast_path"), [(raises, True), (not_finite, False)])
def test_what_a_canary_fails_on_is_answered_by_the_other(
    both: Path, digits: Digits, version_2: Classifier, fault: Callable[[Graph, int, int], None], fast_path: bool
) -> None:
    """Nothing is lost: such a request gets the served version's answer, and after the third no more are tried."""
    which, row, column = inked(digits)
    bad, good = digits.images[which], digits.images[digits.images[:, row, column] == 0][0]
    publish_edited(both, 3, lambda graph: fault(graph, row, column))
    tell(both, "3", "--percent", "100")
    with running_service(model_dir=both, model_version="latest", fast_path=fast_path) as service:
        until(lambda: states(service) == {"32"}, "the canary is not there")
        assert predict(service, good) == "3"
        assert predict(service, bad) == "2"
        raw = {"content": bad.tobytes(), "headers": {"Inference-Header-Content-Length": "0"}}
        answer = httpx.post(f"{service.url}{INFER}", **raw)
        header = int(answer.headers["Inference-Header-Content-Length"])
        assert json.loads(answer.content[:header])["model_version"] == "2"
        offline = version_2.predict(bad[None, None])
        assert np.abs(np.frombuffer(answer.content[header:], np.float32) - offline).max() < 1e-5
        assert predict(service, good) == "3"
        assert predict(service, bad) == "2"
        assert predict(service, good) == "2"
        found = samples(f"{service.url}/metrics")
        assert rolled_back(found, "errors") == 1
        assert value(found, "mnist_canary_requests_total", {"result": "failed"}) == 3
        assert value(found, "mnist_canary_requests_total", {"result": "answered"}) == 2


def test_one_that_is_much_slower_is_rolled_back(both: Path, digits: Digits) -> None:
    """Its answers are right, and take many times as long."""
    publish_edited(both, 3, slow)
    tell(both, "3", "--percent", "50")
    with running_service(model_dir=both, model_version="latest") as service:
        until(lambda: states(service) == {"32"}, "the canary is not there")
        found = ask_until(service, digits.images[:1], lambda found: rolled_back(found, "latency"), "it is not stopped")
        until(lambda: states(service) == {"2"}, "it is still there")
    assert compared(found, "different") == 0


def test_a_spoilt_canary_is_refused(both: Path) -> None:
    """By the command; and by the service, which tells it once, and serves on."""
    publish_edited(both, 3, next_digit)
    (both / "3" / "golden.npz").write_bytes(b"")
    assert run_alone("canary", ["3", "--model-dir", str(both)]) == 3
    assert not (both / "CANARY").exists()
    choice.write_canary(load(["--model-dir", str(both)]), 3, 50)
    with running_service(model_dir=both, model_version="latest") as service:
        until(lambda: failed_loads(service), "it is not refused")
        time.sleep(1.2)  # two looks more
        assert failed_loads(service) == 1
        assert states(service) == {"2"}
        index = httpx.post(f"{service.url}/v2/repository/index").json()
        assert "models/3/golden.npz: expected sha256" in index[0]["reason"]


def test_what_is_told_of_a_canary(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is held back from `latest` and from rollbacks until it is promoted, by `latest` or by the pin."""
    flags = ["--model-dir", str(both)]
    settings = load(flags)
    assert run_alone("canary", ["--off", *flags]) == 3
    assert "CANARY: expected a canary, found none" in capsys.readouterr().err
    tell(both, "2", "--percent", "12.5")
    assert (both / "CANARY").read_text() == "2 12.5\n"
    assert "version 2 answers 12.5 % of the requests" in capsys.readouterr().out
    assert choice.latest_candidates(settings) == [1]
    assert run_alone("rollback", flags) == 3  # there is none below version 1
    tell(both, "--off")
    assert not (both / "CANARY").exists()
    assert (both / "HELD").read_text() == "2\n"
    assert choice.latest_candidates(settings) == [1]
    assert run_alone("canary", ["--promote", *flags]) == 3  # it is no canary any more
    tell(both, "2")
    assert choice.latest_candidates(settings) == [1]
    tell(both, "--promote")
    assert not (both / "CANARY").exists()
    assert not (both / "HELD").exists()
    assert not (both / "PINNED").exists()
    tell(both, "2")
    tell(both, "1")
    assert (both / "HELD").read_text() == "2\n"  # it was never promoted
    assert main(["promote", "2", *flags]) == 0
    assert (both / "CANARY").read_text() == "1 0\n"
    tell(both, "--promote")  # latest would not come to it
    assert (both / "PINNED").read_text() == "1\n"
    (both / "CANARY").write_text("2 101")
    start = [sys.executable, "-m", "service", "--port", "0", *flags]
    ended = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (
        3,
        "service: CANARY: expected a version's number, and 0 to 100 or held, found something else\n",
    )


def test_pictures_are_compared_too(both: Path, digits: Digits) -> None:
    """What comes as a PNG is compared as the pixels that were answered."""
    tell(both, "1")
    with running_service(model_dir=both, model_version="latest") as service:
        until(lambda: states(service) == {"21"}, "the shadow is not there")

        def one_more() -> float:
            httpx.post(f"{service.url}/predict?explain=1", content=png(digits.images[0])).raise_for_status()
            return compared(samples(f"{service.url}/metrics"), "same")

        until(one_more, "nothing is compared")
