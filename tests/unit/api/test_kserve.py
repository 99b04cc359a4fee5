"""KServe's protocol, version 1: asked by its own client, and in the forms that TensorFlow Serving's users send."""

from __future__ import annotations

import base64
import io
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.clients import facts
from tests.support.http import LOAD, UNLOAD, post, responses
from tests.support.metrics import samples
from tests.support.pictures import SEVEN, Digits, png
from tests.support.service import running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.arrays import Pixels, Probabilities
    from tests.support.service import Service

MODEL = "/v1/models/mnist-mlp"
PREDICT = f"{MODEL}:predict"


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "app alone"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service with the fast path, and one without; clients may unload the model."""
    with running_service(fast_path=request.param, admin=True) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def test_kserves_client(service: Service, some: Path, offline: Probabilities) -> None:
    """KServe's REST client with its first protocol: the model is ready, and the answers are the offline ones."""
    found = facts("kserve", service.url, str(some), "v1")
    assert found["model_ready"]
    assert len(found["asked"]) == 2
    for answer in found["asked"]:
        assert np.abs(np.array(answer) - offline).max() < 1e-6
    assert "unknown model" in found["refused"]


def text(pixels: Pixels) -> str:
    return base64.b64encode(png(pixels)).decode()


FORMS: dict[str, Callable[[Pixels], Any]] = {
    "rows": lambda x: x.tolist(),
    "numbers": lambda x: x.ravel().tolist(),
    "base64": text,
    "a data URL": lambda x: f"data:image/png;base64,{text(x)}",
    "TensorFlow Serving's binary": lambda x: {"b64": text(x)},
    "a named input": lambda x: {"image": x.tolist(), "key": "1"},
    "a named input, binary": lambda x: {"image_bytes": {"b64": text(x)}},
    "KServe's example for TorchServe": lambda x: {"data": text(x), "target": 0},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_instance_is_read(client: httpx.Client, digits: Digits, form: str) -> None:
    """One and several, with the keys that TensorFlow Serving's clients add: the digits, as /predict answers them."""
    images = digits.images[:3]
    instances = [FORMS[form](image) for image in images]
    answer = client.post(PREDICT, json={"signature_name": "serving_default", "instances": instances})
    assert answer.status_code == 200, answer.text
    predicted = client.post("/predict", json={"images": [image.tolist() for image in images]}).json()["predictions"]
    assert answer.json()["predictions"] == predicted
    assert [one["digit"] for one in predicted] == digits.labels[:3].tolist()
    assert client.post(PREDICT, json={"instances": instances[:1]}).json()["predictions"] == predicted[:1]


def test_curl_sends_instances_without_a_type(service: Service, digits: Digits) -> None:
    """As in TensorFlow Serving's documents: `curl -d '{"instances": …}'`, which calls it a form."""
    body = f'{{"instances": [{digits.images[0].tolist()}]}}'
    command = ["curl", "-s", "-d", body, f"{service.url}{PREDICT}"]
    found = httpx.Response(200, content=subprocess.run(command, capture_output=True, check=True).stdout).json()
    assert found["predictions"][0]["digit"] == digits.labels[0]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no instances": ({"json": {"instances": []}}, 400, '"instances"'),
    "columns": ({"json": {"inputs": [[0] * 784]}}, 400, '"instances"'),
    "two kinds": ({"json": {"instances": [[0] * 784], "image": [0] * 784}}, 400, '"instances"'),
    "an instance of no name": ({"json": {"instances": [{"pixels": [0] * 784}]}}, 400, "image, image_bytes, data, b64"),
    "an instance of two names": ({"json": {"instances": [{"b64": "", "data": ""}]}}, 400, "found ['data', 'b64']"),
    "objects in objects": ({"json": {"instances": [{"data": {"data": {"data": ""}}}]}}, 400, "found dict"),
    "no base64": ({"json": {"instances": [{"b64": "&"}]}}, 400, "base64"),
    "scaled": ({"json": {"instances": [[0.5] * 784]}}, 422, "multiply them by 255"),
    "too many": ({"json": {"instances": [1] * 65}}, 413, "limit is 64"),
    "no JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "JSON"),
    "no picture": ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "text/plain"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_instances_get_the_protocols_error(client: httpx.Client, case: str) -> None:
    """{"error": …}, with a sentence."""
    request, status, words = REFUSED[case]
    answer = client.post(PREDICT, **request)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"]


def test_among_several_instances_a_bad_one_has_its_error_in_its_place(client: httpx.Client, digits: Digits) -> None:
    """As in a batch of /predict."""
    good = digits.images[0].tolist()
    answer = client.post(PREDICT, json={"instances": [good, {"b64": "&"}, good]}).json()["predictions"]
    assert [one.get("digit") for one in answer] == [digits.labels[0], None, digits.labels[0]]
    assert answer[1]["error"]["status"] == 400


def test_an_instance_without_ink_has_no_digit(client: httpx.Client, digits: Digits) -> None:
    """As in /predict: version 1 gives no form to a prediction."""
    instances = [[0] * 784, digits.images[0].tolist()]
    blank, digit = client.post(PREDICT, json={"instances": instances}).json()["predictions"]
    assert blank == {"digit": None, "confidence": 0.1, "probabilities": [0.1] * 10, "warnings": ["no_ink"]}
    assert digit["digit"] == digits.labels[0]


def test_models_are_listed_and_are_ready_or_not(client: httpx.Client) -> None:
    """The name, its readiness, and 503 while no version is loaded."""
    assert client.get("/v1/models").json() == {"models": ["mnist-mlp"]}
    assert client.get(MODEL).json() == {"name": "mnist-mlp", "ready": True}
    other = client.get("/v1/models/other")
    assert (other.status_code, set(other.json())) == (404, {"error"})
    assert client.post("/v1/models/other:predict", json={"instances": [[0] * 784]}).status_code == 404
    assert client.post(UNLOAD).status_code == 200
    for refused in (client.get(MODEL), client.post(PREDICT, json={"instances": [[0] * 784]})):
        assert (refused.status_code, set(refused.json())) == (503, {"error"})
    assert client.post(LOAD).status_code == 200
    assert client.get(MODEL).json()["ready"]


def test_a_put_with_the_file_is_answered_as_a_post(service: Service, client: httpx.Client, tmp_path: Path) -> None:
    """`curl -T digit.png`, as TorchServe's users do; a large one waits for 100 first. Another model is not found."""
    file = tmp_path / "digit.png"
    for picture in (SEVEN, png(np.random.default_rng(0).integers(0, 255, (1200, 1200), np.uint8))):
        file.write_bytes(picture)
        command = ["curl", "-s", "-T", str(file), f"{service.url}/predictions/mnist-mlp"]
        found = subprocess.run(command, capture_output=True, check=True).stdout
        assert found == client.post("/predict", content=picture).content
    assert client.put("/predictions/other", content=SEVEN).status_code == 404
    assert client.put("/predictions/mnist-mlp", content=b"x").status_code == 415
    assert client.put("/predict", content=SEVEN).status_code == 405


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_error_for_what_curl_d_makes_of_a_picture_says_what_to_do(
    service: Service, digits: Digits, tmp_path: Path, kind: str
) -> None:
    """`curl -d @file` removes line ends: the picture is damaged, and `--data-binary` is the cure."""
    stream = io.BytesIO()
    Image.fromarray(np.kron(digits.images[0], np.ones((9, 9), np.uint8))).save(stream, kind)
    assert b"\n" in stream.getvalue()
    file = tmp_path / "digit"
    file.write_bytes(stream.getvalue())
    command = ["curl", "-s", "-d", f"@{file}", f"{service.url}/predict"]
    found = httpx.Response(200, content=subprocess.run(command, capture_output=True, check=True).stdout).json()
    assert found["status"] == 415
    assert "--data-binary @FILE" in found["detail"]


def test_a_request_by_an_encoded_path_counts_as_one_with_pictures(service: Service) -> None:
    """`%3a` is the colon: the same route, by its template."""
    path = PREDICT.replace(":", "%3a").encode()
    request = post(b'{"instances": [7]}', kind="application/json").replace(b"/predict", path)
    before = samples(f"{service.url}/metrics")
    assert responses(service, request)[0].status == 400
    after = samples(f"{service.url}/metrics")
    grown = {key for key, value in after.items() if value > before.get(key, 0)}
    labels = (("code", "400"), ("method", "POST"), ("route", "/v1/models/{model}:predict"))
    assert ("mnist_http_requests_total", labels) in grown
    assert ("mnist_inference_request_seconds_total", (("result", "failure"),)) in grown
