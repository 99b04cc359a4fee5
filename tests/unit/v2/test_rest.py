"""The Open Inference Protocol, asked by the clients that people use: Triton's and KServe's, and by hand."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from tests.support.clients import facts
from tests.support.pictures import SEVEN, SEVEN_FILE, Digits, png
from tests.support.service import VERSION, running_service

if TYPE_CHECKING:
    from pathlib import Path

    from service.arrays import Probabilities
    from service.model.classifier import Classifier

MODEL = "mnist-mlp"
INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "app alone"])
def triton(some: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What Triton's clients found, asking a service of two workers, with the fast path and without."""
    with running_service(workers=2, fast_path=request.param) as service:
        return facts("triton", service.url.removeprefix("http://"), str(some), str(SEVEN_FILE))


def test_triton_learns_what_is_served(triton: dict[str, Any]) -> None:
    """Health, metadata, configuration and repository, as Triton's client asks for them."""
    assert triton["live"]
    assert triton["ready"]
    assert triton["metadata"]["versions"] == [VERSION]
    assert triton["metadata"]["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert triton["config"]["max_batch_size"] == 64
    assert triton["config"]["input"][0]["format"] == "FORMAT_NCHW"
    assert triton["repository"][0]["state"] == "READY"
    assert "binary_tensor_data" in triton["server"]["extensions"]


def test_triton_gets_the_offline_answer(triton: dict[str, Any], offline: Probabilities) -> None:
    """Tensors as bytes or JSON, in and out, compressed or not: the offline probabilities, the version and the id."""
    assert len(triton["asked"]) == 12
    for answer in triton["asked"]:
        assert np.abs(np.array(answer["probabilities"]) - offline).max() < 1e-6, answer["way"]
        assert (answer["id"], answer["model_version"]) == ("mine", VERSION)


def test_tritons_asyncio_client(triton: dict[str, Any], offline: Probabilities) -> None:
    """Twenty requests at once through the asyncio client: each gets its own answer."""
    assert np.abs(np.array(triton["at_once"]) - offline).max() < 1e-6


def test_triton_may_ask_for_classes_alone(triton: dict[str, Any], offline: Probabilities) -> None:
    """The classification extension: "value:index:label" of the three best digits, best first."""
    rows = [[text.split(":") for text in row] for row in triton["classes"]]
    assert [int(row[0][1]) for row in rows] == offline.argmax(1).tolist()
    assert all(len(row) == 3 and float(row[0][0]) >= float(row[1][0]) >= float(row[2][0]) for row in rows)
    assert all(index == label for row in rows for _, index, label in row)


def test_triton_may_send_encoded_pictures(triton: dict[str, Any]) -> None:
    """BYTES elements are PNG or JPEG files, read as /predict reads them: the page's seven is a 7."""
    assert np.argmax(triton["encoded"]) == 7


def test_a_picture_without_ink_has_even_probabilities(client: httpx.Client) -> None:
    """In its place in a batch of BYTES; the form and the types are as ever. A tensor of pixels is the network's."""
    blank = png(np.full((60, 40), 255, np.uint8))
    files = [base64.b64encode(file).decode() for file in (blank, SEVEN, blank)]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [3], "data": files}
    (output,) = client.post(INFER, json={"inputs": [tensor]}).json()["outputs"]
    rows = np.reshape(output.pop("data"), (3, 10))
    assert output == {"name": "probabilities", "datatype": "FP32", "shape": [3, 10]}
    assert rows[[0, 2]].tolist() == [[0.1] * 10] * 2
    assert rows[1].argmax() == 7
    tensor |= {"shape": [1], "data": files[:1]}
    (output,) = client.post(INFER, json={"inputs": [tensor]}).json()["outputs"]
    assert output["data"] == [0.1] * 10


def test_base64_may_be_url_safe_and_without_padding(client: httpx.Client) -> None:
    """A file in either alphabet of base64, padded or not: the same answer."""
    texts = [encode(SEVEN) for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    texts += [text.rstrip(b"=") for text in texts]
    assert len(set(texts)) == 4
    answers = [
        client.post(INFER, json=tensor(datatype="BYTES", shape=[1], data=[text.decode()])).json() for text in texts
    ]
    assert answers[1:] == answers[:1] * 3
    assert np.argmax(answers[0]["outputs"][0]["data"]) == 7


def test_tritons_errors_are_sentences(triton: dict[str, Any]) -> None:
    """What Triton's client raises says what was wrong."""
    model, batch, unload = triton["refused"]
    assert "unknown model: other" in model
    assert "limit is 64" in batch
    assert "clients may not load or unload models" in unload


def test_triton_reads_statistics(triton: dict[str, Any]) -> None:
    """Counts and times over both workers: of pictures, requests that went well or ill, and each part; whole numbers."""
    (statistics,) = triton["statistics"]["model_stats"]
    assert statistics["inference_count"] == 20 * 12 + 20 + 1 + 20
    parts = statistics["inference_stats"]
    assert parts["success"]["count"] == 12 + 1 + 1 + 20
    assert parts["fail"]["count"] == 2
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert parts[name]["ns"] > 0, name
    # perf_analyzer ends where these differ; requests at once are answered by one run of the model.
    assert {parts[f"compute_{name}"]["count"] for name in ("input", "infer", "output")} == {12 + 1 + 1 + 20}
    assert len(parts) == 8
    assert abs(statistics["last_inference"] / 1000 - time.time()) < 120
    assert all(type(number) is int for part in parts.values() for number in part.values())


def test_statistics_begin_at_zero_and_count_what_is_refused() -> None:
    """A service that nobody has asked has no success, no failure and no last inference; a refusal is then counted, on a
    path with a slash at its end as without, and as a picture that was refused."""
    with running_service() as service, httpx.Client(base_url=service.url) as client:
        (fresh,) = client.get("/v2/models/stats").json()["model_stats"]
        assert all(part == {"count": 0, "ns": 0} for part in fresh["inference_stats"].values())
        assert fresh["last_inference"] == fresh["inference_count"] == fresh["execution_count"] == 0
        assert client.post(f"{INFER}/", content=b"{}").status_code == 400
        (then,) = client.get("/v2/models/stats").json()["model_stats"]
        assert then["inference_stats"]["fail"]["count"] == 1
        assert 'mnist_rejected_images_total{reason="malformed"} 1.0' in client.get("/metrics").text


def test_statistics_are_of_the_requests_themselves(digits: Digits) -> None:
    """A slow failure leaves a success's time alone, which is no longer than its client saw, and holds its parts."""
    spoilt = bytearray(png(np.random.default_rng(0).integers(0, 255, (3000, 3000), np.uint8)))
    spoilt[-200:-100] = bytes(100)
    with running_service() as service, httpx.Client(base_url=service.url, timeout=60) as client:
        assert client.post("/predict", content=bytes(spoilt)).status_code == 415
        started = time.perf_counter()
        client.post("/predict", content=png(digits.images[0])).raise_for_status()
        seen = time.perf_counter() - started
        parts = client.get("/v2/models/stats").json()["model_stats"][0]["inference_stats"]
    whole = parts["success"]["ns"]
    assert parts["fail"]["ns"] > 0
    assert 0 < sum(parts[f"compute_{name}"]["ns"] for name in ("input", "infer", "output")) < whole < seen * 1e9


def test_kserves_client(server_url: str, some: Path, offline: Probabilities) -> None:
    """KServe's REST client: health, and the offline answer in JSON and as bytes."""
    found = facts("kserve", server_url, str(some))
    assert found["live"]
    assert found["ready"]
    assert found["model_ready"]
    for answer in found["asked"]:
        assert answer["id"] == "mine"
        assert np.abs(np.array(answer["probabilities"]) - offline).max() < 1e-6


def test_a_whole_body_may_be_the_tensor(client: httpx.Client, classifier: Classifier, digits: Digits) -> None:
    """Header length 0: the body is the one input, and the answer's output comes as bytes after its JSON."""
    headers = {"Inference-Header-Content-Length": "0"}
    answer = client.post(INFER, content=digits.images[:4].tobytes(), headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 160}
    found = np.frombuffer(answer.content[length:], "<f4").reshape(4, 10)
    assert np.abs(found - classifier.predict(digits.images[:4, None])).max() < 1e-6


@pytest.mark.parametrize(
    "path", ["/v2", f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/{VERSION}", "/v2/models/stats"]
)
def test_paths_are_answered_with_and_without_a_slash(client: httpx.Client, path: str) -> None:
    """No redirect, which clients would not follow."""
    assert client.get(path).status_code == client.get(f"{path}/").status_code == 200


def tensor(**changes: object) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784} | changes]}


def binary(header: str, size: object, data: bytes) -> dict[str, Any]:
    """A request whose input's bytes follow the JSON."""
    part = {"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [part]}).encode()
    return {"content": text + data, "headers": {"Inference-Header-Content-Length": header.format(len(text))}}


CUT_OFF = zlib.compress(b"x" * 999)[:-6]
ABUSE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"content": b""}, "not JSON"),
    "no object": ({"json": [1]}, "JSON object"),
    "no inputs": ({"json": {}}, "inputs"),
    "two inputs": ({"json": {"inputs": tensor()["inputs"] * 2}}, "found 2"),
    "another input": ({"json": tensor(name="x")}, "'images'"),
    "another datatype": ({"json": tensor(datatype="FP32")}, "UINT8"),
    "another shape": ({"json": tensor(shape=[1, 784])}, "[N,1,28,28]"),
    "a shape that overflows": ({"json": tensor(shape=[2**62, 2**62, 28, 28])}, "limit is 64"),
    "a negative dimension": ({"json": tensor(shape=[-1, 1, 28, 28])}, "whole numbers of 1 or more"),
    "a shape of truths": ({"json": tensor(shape=[True, 1, 28, 28])}, "whole numbers"),
    "no shape": ({"json": tensor(shape=None)}, "shape"),
    "too few numbers": ({"json": tensor(data=[0] * 783)}, "783"),
    "a number over 255": ({"json": tensor(data=[256] * 784)}, "0 to 255"),
    "a text among the numbers": ({"json": tensor(data=["0"] * 784)}, "0 to 255"),
    "mixed nesting": ({"json": tensor(data=[[0] * 392, 0])}, "mixes"),
    "five sides": ({"json": tensor(shape=[1, 1, 1, 28, 28])}, "5 sides; the limit is 4"),
    "a shape of 60,000 sides of 2^62": (
        {"content": gzip.compress(json.dumps(tensor(shape=[1] + [2**62] * 60_000)).encode()),
         "headers": {"Content-Encoding": "gzip"}}, "60,001 sides|values"),
    "numbers nested six deep": ({"json": tensor(data=[[[[[[0] * 784]]]]])}, "whole numbers"),
    "one number more than the shape says": ({"json": tensor(data=[0] * 785)}, "785 numbers; its shape says 784"),
    "one text more than the shape says": (
        {"json": tensor(datatype="BYTES", shape=[1], data=["AAAA"] * 2)}, "more elements than its shape"),
    "texts in a row, more than the shape says": (
        {"json": tensor(datatype="BYTES", shape=[1], data=[["AAAA"] * 2])}, "more elements than its shape says"),
    "an id of 1,025 bytes": ({"json": tensor() | {"id": "é" * 512 + "a"}}, "id has more than 1,024 bytes"),
    "no data": ({"json": tensor(data=None)}, "must have data"),
    "nested 1,000 deep": ({"content": b'{"inputs":' + b"[" * 1000 + b"]" * 1000 + b"}"}, "inputs|JSON"),
    "an id that is no text": ({"json": tensor() | {"id": 7}}, "id must be"),
    "parameters that are no object": ({"json": tensor(parameters=[])}, "parameters must be a JSON object"),
    "another output": ({"json": tensor() | {"outputs": [{"name": "x"}]}}, "'probabilities'"),
    "duplicate outputs": ({"json": tensor() | {"outputs": [{"name": "probabilities"}] * 2}}, "one output"),
    "a huge header length": (binary("99999999999", 784, bytes(784)), "no length within"),
    "a header length of thousands of digits": (binary("9" * 5000, 784, bytes(784)), "no length within"),
    "a header length of words": (binary("many", 784, bytes(784)), "no length within"),
    "bytes that are missing": (binary("{}", 784, bytes(10)), "784, and 10"),
    "bytes that nobody asked for": (binary("{}", None, bytes(10)), "must have data"),
    "a size of text": (binary("{}", "x", bytes(784)), "binary_data_size is x"),
    "a raw body that is no picture": ({"content": b"abc", "headers": {"Inference-Header-Content-Length": "0"}}, "784"),
    "gzip that is none": ({"content": b"abc", "headers": {"Content-Encoding": "gzip"}}, "not gzip"),
    "zlib that breaks off": ({"content": CUT_OFF, "headers": {"Content-Encoding": "deflate"}}, "breaks off"),
    "more BYTES than the limit in another dimension": (
        {"json": tensor(datatype="BYTES", shape=[1, 1000], data=["AAAA"] * 1000)}, "expected [N] for BYTES"),
    "BYTES that are no base64": ({"json": tensor(datatype="BYTES", shape=[1], data=["&"])}, "base64"),
}  # fmt: skip


@pytest.mark.parametrize("case", ABUSE)
def test_abuse_ends_in_400_with_a_sentence(client: httpx.Client, case: str) -> None:
    """Each is refused with 400 and {"error": …}, and the service goes on."""
    request, words = ABUSE[case]
    answer = client.post(INFER, **request)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error"}
    assert any(word in answer.json()["error"] for word in words.split("|")), answer.json()["error"]
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}


def test_a_bomb_is_not_unpacked(client: httpx.Client) -> None:
    """A gigabyte of zeros in a megabyte of zlib: 413, which names the limit."""
    engine = zlib.compressobj(9)
    bomb = b"".join(engine.compress(bytes(2**20)) for _ in range(1024)) + engine.flush()
    answer = client.post(INFER, content=bomb, headers={"Content-Encoding": "deflate"})
    assert answer.status_code == 413
    assert "33,554,432" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", INFER, 405), ("GET", "/v2/nothing", 404), ("POST", "/v2/models/x/infer", 404)],
)
def test_every_error_below_v2_has_its_form(client: httpx.Client, method: str, path: str, status: int) -> None:
    """404 and 405 too: Triton's client looks for ["error"]."""
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_an_id_of_1024_bytes_comes_back_whole(client: httpx.Client) -> None:
    """The longest that may be, with signs that JSON writes as six each."""
    identity = "\x01é" * 341 + "a"
    assert len(identity.encode()) == 1024
    answer = client.post(INFER, json=tensor() | {"id": identity})
    assert answer.json()["id"] == identity


def test_millions_of_empty_elements_are_not_looked_at(client: httpx.Client) -> None:
    """Of eight million BYTES elements in 32 KB of gzip one more than the shape says is read."""
    part = {"name": "images", "shape": [64], "datatype": "BYTES", "parameters": {"binary_data_size": 32_000_000}}
    text = json.dumps({"inputs": [part]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Encoding": "gzip"}
    answer = client.post(INFER, content=gzip.compress(text + bytes(32_000_000)), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"] == "input 'images' holds more elements than its shape says, which is 64."


def test_a_bytes_element_that_breaks_off_is_refused(client: httpx.Client) -> None:
    """A BYTES element that is shorter than it says."""
    part = {"name": "images", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}
    text = json.dumps({"inputs": [part]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    answer = client.post(INFER, content=text + struct.pack("<I", 999) + b"abcde", headers=headers)
    assert answer.status_code == 400
    assert "fewer are left" in answer.json()["error"]
