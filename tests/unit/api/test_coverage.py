"""`POST /predict?coverage=`: sets of digits, through the front door, with quantiles that training has measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from service.commands.cli import run_alone
from tests.support.pictures import SEVEN, Digits, png
from tests.support.service import VERSION, publish, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.arrays import Pixels

RAW = {"content-type": "application/octet-stream"}
BLANK = np.full((60, 40), 255, np.uint8)


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "app alone"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client of a service with the newest committed version, which has quantiles on its card."""
    with running_service(fast_path=request.param) as service, httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def ask(client: httpx.Client, images: Pixels, coverage: float) -> list[dict[str, Any]]:
    """The predictions for uint8[N,28,28]."""
    answer = client.post(f"/predict?coverage={coverage}", content=images.tobytes(), headers=RAW)
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


@pytest.mark.parametrize("coverage", [0.99, 0.995, 0.999])
def test_sets_hold_the_right_digit_as_often_as_is_asked(client: httpx.Client, digits: Digits, coverage: float) -> None:
    """Of MNIST's test digits: the coverage less 0.1 point at least; at 99 % most sets have one digit."""
    found: list[list[int]] = []
    for start in range(0, len(digits.images), 64):
        found += [one["set"] for one in ask(client, digits.images[start : start + 64], coverage)]
    assert np.mean([label in one for label, one in zip(digits.labels, found, strict=True)]) >= coverage - 0.001
    if coverage == 0.99:
        assert np.mean([len(one) == 1 for one in found]) > 0.8


def test_a_set_begins_with_the_digit_and_is_in_order(client: httpx.Client, digits: Digits) -> None:
    """Never empty; each digit in it is at least as probable as the next, and than all that are not in it."""
    sizes = set()
    for one in ask(client, digits.images[:64], 0.999):
        inside = [one["probabilities"][digit] for digit in one["set"]]
        outside = [each for digit, each in enumerate(one["probabilities"]) if digit not in one["set"]]
        assert one["set"][0] == one["digit"]
        assert inside == sorted(inside, reverse=True)
        assert max(outside, default=0) <= inside[-1]
        sizes.add(len(one["set"]))
    assert len(sizes) > 1


def test_a_higher_coverage_has_larger_sets(client: httpx.Client, digits: Digits) -> None:
    """Up to 0.9999, for which the pictures of the calibration are too few: then a set has all ten."""
    sizes = [[len(one["set"]) for one in ask(client, digits.images[:64], share)] for share in (0.9, 0.99, 0.9999)]
    assert np.all(np.diff(sizes, axis=0) >= 0)
    assert sizes[0] == [1] * 64
    assert sizes[2] == [10] * 64


@pytest.mark.parametrize("path", ["/predict", "/predictions/mnist-mlp"])
def test_each_picture_of_a_batch_has_its_set(client: httpx.Client, path: str) -> None:
    """All ten where there is no ink, none where there is an error; the same digit as alone."""
    files = [("f", png(BLANK)), ("f", b"no picture"), ("f", SEVEN)]
    blank, bad, seven = client.post(f"{path}?coverage=0.99", files=files).json()["predictions"]
    assert (blank["digit"], blank["set"]) == (None, list(range(10)))
    assert bad.keys() == {"error"}
    assert seven["set"] == [7]
    (alone,) = client.post(f"{path}?coverage=0.99", content=SEVEN).json()["predictions"]
    assert alone == seven


def test_a_set_and_an_explanation_may_be_asked_for_together(client: httpx.Client) -> None:
    """Each is there only where it is asked for."""
    for query, more in (
        ("coverage=0.99&explain=1", {"set", "explain"}),
        ("coverage=0.99&explain=0", {"set"}),
        ("explain=1", {"explain"}),
        ("", set()),
    ):
        (found,) = client.post(f"/predict?{query}", content=SEVEN).json()["predictions"]
        assert found.keys() - {"digit", "confidence", "probabilities", "warnings"} == more


@pytest.mark.parametrize("text", ["", "x", "nan", "1", "0.89", "0.99995", "99%25", "-0.99", "9" * 3000])
def test_another_coverage_is_refused_with_the_limits(client: httpx.Client, text: str) -> None:
    """400, whatever the body is; the error names the value, cut short."""
    answer = client.post(f"/predict?coverage={text}", content=b"no picture")
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed")
    assert "coverage must be a number from 0.9 to 0.9999; found " in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 160


def test_a_picture_that_cannot_be_read_is_refused_as_ever(client: httpx.Client) -> None:
    """By its own error."""
    assert client.post("/predict?coverage=0.99", content=b"no picture").status_code == 415


def test_a_version_without_quantiles_says_so() -> None:
    """Version 2: 422, and the reason, also for a picture without ink; without a coverage it answers."""
    with running_service(model_version=2) as service, httpx.Client(base_url=service.url) as client:
        for body in (SEVEN, png(BLANK)):
            answer = client.post("/predict?coverage=0.99", content=body)
            assert (answer.status_code, answer.json()["reason"]) == (422, "not_calibrated")
            assert answer.json()["detail"].startswith("Version 2 of mnist-mlp makes no sets of digits")
            assert client.post("/predict", content=body).status_code == 200


def test_the_version_that_answers_decides(models: Path) -> None:
    """A canary with quantiles beside version 2, which has none: sets from the one, 422 from the other."""
    publish(models, 2)
    publish(models, int(VERSION))
    assert run_alone("canary", [VERSION, "--percent", "50", "--model-dir", str(models)]) == 0
    with running_service(model_dir=models, model_version="latest") as service, httpx.Client() as client:
        ids = [f"client-{number}" for number in range(20)]

        def ask_all(query: str) -> list[httpx.Response]:
            url = f"{service.url}/predict{query}"
            return [client.post(url, content=SEVEN, headers={"X-Request-ID": name}) for name in ids]

        def versions() -> list[str]:
            return [answer.json()["model"]["version"] for answer in ask_all("")]

        until(lambda: set(versions()) == {"2", VERSION}, "the canary does not answer")
        expected = {"2": 422, VERSION: 200}
        answers = ask_all("?coverage=0.99")
        assert [answer.status_code for answer in answers] == [expected[version] for version in versions()]
