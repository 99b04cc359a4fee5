"""The service keeps what its schemas say, asked by Schemathesis and by tools of other model servers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.conformance import PROTOCOL, explored
from tests.support.pictures import SEVEN, SEVEN_FILE, Digits, png
from tests.support.service import VERSION, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from service.arrays import Probabilities
    from tests.support.service import Service

MODEL = "mnist-mlp"
# Few and always the same; `make conformance` makes up others for ten minutes.
QUICKLY = ("--generation-deterministic", "--max-examples", "4")
# `make conformance` makes it: it is large, and `make test` is to be quick.
TOOLS = Path(sys.prefix) / "conformance"
# CUDA's run time is a package there, which the binary does not find by itself.
LIBRARIES = [*map(str, TOOLS.glob("lib/python*/site-packages/nvidia/*/lib")), os.environ.get("LD_LIBRARY_PATH", "")]
ENVIRONMENT = os.environ | {"LD_LIBRARY_PATH": ":".join(LIBRARIES)}


@pytest.mark.parametrize("schema", ["/openapi.json", PROTOCOL], ids=["its own schema", "the protocol's"])
def test_requests_made_up_from_a_schema_are_answered_as_it_says(server_url: str, schema: object) -> None:
    """Requests that keep to the schema or break it, one by one and in sequence: each answer is one that it declares."""
    run = explored(PROTOCOL if schema is PROTOCOL else f"{server_url}{schema}", server_url, *QUICKLY)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_example_in_openapi_is_answered(client: httpx.Client) -> None:
    """Whoever copies an example from /docs gets a digit."""
    paths = client.get("/openapi.json").json()["paths"]
    bodies = [
        (path.format(model=MODEL, version=VERSION), example["value"])
        for path, operations in paths.items()
        for content in operations.get("post", {}).get("requestBody", {}).get("content", {}).values()
        for example in content.get("examples", {}).values()
    ]
    assert len(bodies) == 2 * 4 + 2 * 2 + 2
    for path, body in bodies:
        assert client.post(path, json=body).status_code == 200, path


def test_torchserves_route_answers_as_predict_does(client: httpx.Client) -> None:
    """/predictions/{model} takes the same bodies, a form's file without a name too; another model is not found."""
    answer = client.post("/predict", content=SEVEN).json()
    assert client.post(f"/predictions/{MODEL}", content=SEVEN).json() == answer
    assert client.post(f"/predictions/{MODEL}", files={"data": (None, SEVEN)}).json() == answer
    refused = client.post("/predictions/other", content=SEVEN)
    assert refused.status_code == 404
    assert "unknown model: other" in refused.json()["detail"]


@pytest.mark.parametrize("form", ["pixels", "pixels as bytes", "files"])
def test_mlservers_batch_client(
    server_url: str, digits: Digits, offline: Probabilities, tmp_path: Path, form: str
) -> None:
    """`mlserver infer` over REST, twenty requests, eight at a time merged to one: each gets its own offline answer."""
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(f"{json.dumps(request(form, image, i))}\n" for i, image in enumerate(digits.images[:20])))
    words = ["--binary-data"] if form == "pixels as bytes" else []
    words += ["--url", server_url.removeprefix("http://"), "--model-name", MODEL, "--batch-size", "8"]
    run(tool("mlserver"), "infer", *words, "-i", str(asked), "-o", str(tmp_path / "answers.jsonl"))
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert sorted(int(answer["id"]) for answer in answers) == list(range(20))
    for answer in answers:
        found = np.array(answer["outputs"][0]["data"])
        assert np.abs(found - offline[int(answer["id"])]).max() < 1e-6


def request(form: str, image: Any, number: int) -> dict[str, Any]:
    """One of the protocol's requests, in JSON."""
    tensor: dict[str, Any] = {"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8"}
    if form == "files":
        tensor |= {"shape": [1], "datatype": "BYTES", "data": [base64.b64encode(png(image)).decode()]}
    else:
        tensor["data"] = image.ravel().tolist()
    return {"id": str(number), "inputs": [tensor]}


@pytest.fixture(scope="module")
def measured() -> Iterator[Service]:
    """A service that answers both ways."""
    with running_service(grpc_port=0) as service:
        yield service


@pytest.mark.parametrize(
    "words",
    [
        ["-a", "-b", "8", "--concurrency-range", "8"],
        ["--input-tensor-format", "json", "--output-tensor-format", "json"],
        ["-i", "grpc", "--concurrency-range", "4"],
        ["-i", "grpc", "--streaming", "--concurrency-range", "4"],
        ["--service-kind", "torchserve"],
    ],
    ids=["bytes", "JSON", "gRPC", "a stream", "TorchServe"],
)
def test_tritons_perf_analyzer_measures_it(measured: Service, tmp_path: Path, words: list[str]) -> None:
    """perf_analyzer sends 200 requests, reads the statistics between, and gives its table."""
    address = measured.grpc if "grpc" in words else measured.url.removeprefix("http://")
    if "torchserve" in words:
        pictures = {"data": [{"TORCHSERVE_INPUT": [str(SEVEN_FILE)]}]}
        (tmp_path / "pictures.json").write_text(json.dumps(pictures))
        words = [*words, "--input-data", str(tmp_path / "pictures.json")]
    analyzer = tool("perf_analyzer")
    if "libb64.so.0d => not found" in run("ldd", analyzer):
        pytest.skip("perf_analyzer needs Debian's libb64-0d")
    found = run(analyzer, "-m", MODEL, "-u", address, "--request-count", "200", "--max-trials", "1", *words)
    assert "Request count: 200" in found
    assert "Throughput: " in found


def tool(name: str) -> str:
    """A program of the environment that `make conformance` makes."""
    path = TOOLS / "bin" / name
    if not path.exists():
        pytest.skip("make conformance installs it")
    return str(path)


def run(*command: str) -> str:
    """What a program prints; it must end well."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
